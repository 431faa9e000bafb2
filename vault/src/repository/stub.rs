#![allow(missing_docs, unused_variables, clippy::todo)]
use bytes::Bytes;
use secrecy::SecretString;
use tokio::io::{AsyncRead, ReadBuf};

use super::*;
use crate::error::VaultError;
use crate::id::SnapshotId;
use crate::storage::Storage;
use crate::storage::s3::PresignedPut;

#[derive(Clone, Debug)]
pub struct Repository;
#[derive(Debug)]
pub struct BackupWriter;
#[derive(Debug)]
pub struct PreparedSnapshot;
#[derive(Debug, Clone)]
pub struct SnapshotReader;
#[derive(Debug)]
pub struct FileReader;

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum FileKind {
    File,
    Directory,
    Symlink,
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FileEntry {
    pub path: String,
    pub kind: FileKind,
    pub size_bytes: u64,
    pub mtime: jiff::Timestamp,
}

impl Repository {
    pub async fn open(storage: Storage, password: &SecretString) -> Result<Repository, VaultError> {
        todo!()
    }
    pub async fn create(
        storage: Storage,
        password: &SecretString,
    ) -> Result<Repository, VaultError> {
        todo!()
    }
    pub async fn open_or_create(
        storage: Storage,
        password: &SecretString,
    ) -> Result<Repository, VaultError> {
        todo!()
    }
    pub async fn snapshots(&self) -> Result<Vec<SnapshotInfo>, VaultError> {
        todo!()
    }
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Snapshot, VaultError> {
        todo!()
    }
    pub async fn begin_backup(&self, options: BackupOptions) -> Result<BackupWriter, VaultError> {
        todo!()
    }
    pub async fn open_snapshot(&self, id: &SnapshotId) -> Result<SnapshotReader, VaultError> {
        todo!()
    }
}

impl BackupWriter {
    pub async fn write_stream<R: AsyncRead + Unpin + Send>(
        &self,
        path: &str,
        meta: FileMeta,
        chunker: ChunkerKind,
        reader: R,
    ) -> Result<StreamSummary, VaultError> {
        todo!()
    }
    pub async fn write_bytes(
        &self,
        path: &str,
        meta: FileMeta,
        bytes: Bytes,
    ) -> Result<StreamSummary, VaultError> {
        todo!()
    }
    pub async fn finish(self) -> Result<PreparedSnapshot, VaultError> {
        todo!()
    }
    pub async fn abort(self) {
        todo!()
    }
}

impl PreparedSnapshot {
    pub fn id(&self) -> &SnapshotId {
        todo!()
    }
    pub fn bytes(&self) -> &[u8] {
        todo!()
    }
    pub fn summary(&self) -> &BackupSummary {
        todo!()
    }
    /// Writes the snapshot before `deadline` or not at all: by `put` when the coordinator signed one, else with
    /// the repository's own credentials.
    pub async fn commit(
        self,
        deadline: tokio::time::Instant,
        put: Option<PresignedPut>,
    ) -> Result<SnapshotId, VaultError> {
        todo!()
    }
    pub async fn abandon(self) {
        todo!()
    }
}

impl SnapshotReader {
    pub fn snapshot(&self) -> &Snapshot {
        todo!()
    }
    pub async fn files(&self) -> Result<Vec<FileEntry>, VaultError> {
        todo!()
    }
    pub async fn read_file(&self, path: &str) -> Result<FileReader, VaultError> {
        todo!()
    }
    pub async fn read_bytes(&self, path: &str, limit: usize) -> Result<Bytes, VaultError> {
        todo!()
    }
}

impl AsyncRead for FileReader {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        todo!()
    }
}

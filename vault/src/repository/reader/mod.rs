//! Reading a snapshot back.
//!
//! Nothing leaves here that was not verified: every blob's tag, length and hash, every tree, the
//! snapshot itself. A blob that is stored in several packs is taken from the next one when the
//! first is damaged; when all are, the error names the file and the packs.
//!
//! A lock keeps restic's prune away while the snapshot is open. Where none can be written (a vault
//! that is read only, or full: the very moment to restore from it), reading goes on without: what a
//! prune takes away then is an error, never wrong bytes. An exclusive lock that is there is heeded.

mod blobs;
mod entries;
mod file;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;

pub use entries::{FileEntry, FileKind};
pub use file::FileReader;

use super::Inner;
use super::lock::HeldLock;
use super::snapshot::Snapshot;
use super::tree::Node;
use crate::error::{Result, VaultError};
use crate::storage::StorageError;

/// The files of one snapshot. Cheap to clone; the lock is given back with the last clone.
#[derive(Clone)]
pub struct SnapshotReader {
    repository: Arc<Inner>,
    snapshot: Arc<Snapshot>,
    lock: Option<Arc<HeldLock>>,
}

impl fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReader")
            .field("location", &self.repository.storage.location())
            .field("snapshot", &self.snapshot)
            .finish_non_exhaustive()
    }
}

impl SnapshotReader {
    pub(super) async fn open(repository: Arc<Inner>, snapshot: Snapshot) -> Result<SnapshotReader> {
        let lock = lock_if_possible(&repository).await?;
        repository.refresh_index().await?;
        Ok(SnapshotReader {
            repository,
            snapshot: Arc::new(snapshot),
            lock,
        })
    }

    /// What the snapshot says of itself.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Everything in it, directories included, in the order of the tree. Paths are absolute.
    pub async fn files(&self) -> Result<Vec<FileEntry>> {
        entries::list(&self.repository, &self.snapshot.tree).await
    }

    /// Opens a file: an absolute path, or one below the snapshot's own path.
    pub async fn read_file(&self, path: &str) -> Result<FileReader> {
        let (path, node) = self.find_file(path).await?;
        FileReader::open(&self.repository, self.lock.clone(), path, node)
    }

    /// The whole of a file of at most `limit` bytes.
    pub async fn read_bytes(&self, path: &str, limit: usize) -> Result<Bytes> {
        let (path, node) = self.find_file(path).await?;
        let size = usize::try_from(node.size).unwrap_or(usize::MAX);
        if size > limit {
            return Err(VaultError::Refused(format!(
                "{path} is {size} bytes long; no more than {limit} are taken into memory"
            )));
        }
        let mut bytes = BytesMut::with_capacity(size);
        let mut reader = FileReader::open(&self.repository, self.lock.clone(), path, node)?;
        while bytes.len() < size {
            if reader
                .read_buf(&mut bytes)
                .await
                .map_err(file::vault_error)?
                == 0
            {
                break;
            }
        }
        // Its end is checked as well.
        reader
            .read_buf(&mut bytes)
            .await
            .map_err(file::vault_error)?;
        Ok(bytes.freeze())
    }

    /// Gives the lock back now, when this is the last clone, rather than soon.
    pub async fn close(self) {
        if let Some(lock) = self.lock.and_then(Arc::into_inner) {
            lock.release().await;
        }
    }

    async fn find_file(&self, path: &str) -> Result<(String, Node)> {
        let absolute = if path.starts_with('/') {
            path.to_owned()
        } else {
            let root = self.snapshot.paths.first().map_or("", String::as_str);
            format!("{}/{path}", root.trim_end_matches('/'))
        };
        let node = entries::find(&self.repository, &self.snapshot.tree, &absolute).await?;
        if node.kind != "file" {
            return Err(VaultError::Refused(format!(
                "{absolute} is not a file but a {}",
                node.kind
            )));
        }
        Ok((absolute, node))
    }
}

async fn lock_if_possible(repository: &Inner) -> Result<Option<Arc<HeldLock>>> {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let lock = HeldLock::acquire(
        &repository.storage,
        &repository.key,
        &host,
        repository.lock_times,
    );
    match lock.await {
        Ok(lock) => Ok(Some(Arc::new(lock))),
        Err(VaultError::Storage(
            error @ (StorageError::AccessDenied { .. }
            | StorageError::Full { .. }
            | StorageError::Other { .. }),
        )) => {
            tracing::warn!(%error, "no lock can be written here: reading without one");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

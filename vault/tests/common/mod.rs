//! What the tests of the repository share: made-up data, a backup in one call, stock restic.
#![allow(
    dead_code,
    clippy::expect_used,
    reason = "every test uses its own part, and what fails here fails the test"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use holdfast_vault::storage::LocalBackend;
use holdfast_vault::{
    BackupOptions, ChunkerKind, FileMeta, PreparedSnapshot, Repository, SnapshotId, SnapshotReader,
    Storage, VaultError,
};
use secrecy::SecretString;
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

pub const PASSWORD: &str = "correct horse battery staple";
pub const SOURCE: &str = "orders-db";

pub fn password() -> SecretString {
    SecretString::from(PASSWORD)
}

/// Bytes without structure, always the same for a seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Lines as a dump has them: compressible, without repetition.
pub fn text(seed: u64, length: usize) -> Vec<u8> {
    let numbers = noise(seed, length / 8 + 64);
    let mut text = Vec::with_capacity(length + 100);
    for (row, chunk) in numbers.chunks_exact(8).enumerate() {
        let value = u64::from_le_bytes(chunk.try_into().expect("8 bytes"));
        let line = format!(
            "{row}\tcustomer {}\t{value}\tpending\t2024-01-01 00:00:00\n",
            value % 1000
        );
        text.extend_from_slice(line.as_bytes());
        if text.len() >= length {
            break;
        }
    }
    text.truncate(length);
    text
}

pub fn options() -> BackupOptions {
    let mut options = BackupOptions::new("test-host", format!("/{SOURCE}"));
    options.tags = vec!["run:1".to_owned(), "kind:test".to_owned()];
    options.pack_size = 4 << 20;
    options
}

pub async fn repository(storage: &Storage) -> Repository {
    Repository::open_or_create(storage.clone(), &password())
        .await
        .expect("repository")
}

/// Everything written, nothing committed.
pub async fn prepare(
    repository: &Repository,
    files: &[(&str, &[u8])],
) -> Result<PreparedSnapshot, VaultError> {
    let writer = repository.begin_backup(options()).await?;
    for (path, content) in files {
        writer
            .write_stream(
                path,
                FileMeta::default(),
                ChunkerKind::ContentDefined,
                *content,
            )
            .await?;
    }
    writer.finish().await
}

pub async fn back_up(
    repository: &Repository,
    files: &[(&str, &[u8])],
) -> Result<SnapshotId, VaultError> {
    let prepared = prepare(repository, files).await?;
    prepared.commit(soon(), None).await
}

/// A deadline that no test reaches.
pub fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub async fn read(reader: &SnapshotReader, path: &str) -> Result<Vec<u8>, std::io::Error> {
    let mut content = Vec::new();
    let mut file = reader
        .read_file(path)
        .await
        .map_err(std::io::Error::other)?;
    file.read_to_end(&mut content).await?;
    Ok(content)
}

/// A repository in a folder, for stock restic as well as for us.
pub struct Folder {
    pub folder: tempfile::TempDir,
}

impl Folder {
    pub fn new() -> Folder {
        let folder = tempfile::tempdir().expect("temporary folder");
        Folder { folder }
    }

    pub fn storage(&self) -> Storage {
        let backend = LocalBackend::new(self.folder.path().to_owned());
        Storage::from_backend(Arc::new(backend)).subfolder(SOURCE)
    }

    /// The repository's own folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join(SOURCE)
    }

    /// Runs stock restic on it.
    pub fn restic<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Output {
        self.restic_command()
            .args(arguments)
            .output()
            .expect("restic runs (Debian package restic)")
    }

    pub fn restic_command(&self) -> Command {
        let mut command = Command::new("restic");
        command
            .env("RESTIC_PASSWORD", PASSWORD)
            .env("RESTIC_REPOSITORY", self.path())
            .arg("--no-cache");
        command
    }

    /// As [`Folder::restic`], which must succeed; its standard output.
    pub fn restic_ok<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Vec<u8> {
        succeeded(self.restic(arguments))
    }
}

pub fn succeeded(output: Output) -> Vec<u8> {
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Every file below `folder`, relative to it.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(at) = open.pop() {
        for entry in std::fs::read_dir(&at).expect("folder") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(folder).expect("below").to_owned());
            }
        }
    }
    found.sort();
    found
}

//! Files that only their owner may read: keys, passwords, join tokens.
//!
//! Promise: a private file is never read while others could read it, and never seen half-written. A writer
//! fills a temporary file beside the target (mode 0600 from its first byte), syncs it, renames it over the
//! target, and syncs the folder. Rename is last, so a crash at any step leaves the old file whole; the
//! folder is synced after it, so a caller that was told "written" finds the new file after a power cut.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use zeroize::Zeroizing;

/// Longest private file accepted, in bytes: a certificate chain with its key is a few kilobytes.
pub const MAX_PRIVATE_FILE_BYTES: u64 = 1024 * 1024;

/// Permission bits of group and others, none of which a private file may have.
const FORBIDDEN_MODE_BITS: u32 = 0o077;

/// Why a private file was not read or not written.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// There is no such file.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The file asked for.
        path: PathBuf,
    },
    /// Group or others may read or write the file.
    #[error(
        "{} is open to others (mode {mode:04o}); close it with: chmod 600 {}",
        path.display(),
        quoted(path)
    )]
    TooOpen {
        /// The file refused.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The path names a folder, a socket or a device.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path refused.
        path: PathBuf,
    },
    /// The file is far larger than anything private of ours.
    #[error("{} has {bytes} bytes; at most {MAX_PRIVATE_FILE_BYTES} are read here. Is it the right file?", path.display())]
    TooLarge {
        /// The file refused.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The operating system refused.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was being done: "read", "create", "rename to", ...
        action: &'static str,
        /// The file or folder it was done to.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
}

impl PrivateFileError {
    /// True when there is no such file, which many callers take for "not set up yet".
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io {
            action,
            path,
            error,
        }
    }
}

/// Reads a private file whole, after checking that its mode is closed to group and others.
///
/// The check is made on the opened file, so the path cannot be exchanged between check and read.
pub fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let file = File::open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => PrivateFileError::NotFound {
            path: path.to_owned(),
        },
        _ => PrivateFileError::io("open", path)(error),
    })?;
    check_private(path, &file)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_PRIVATE_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(PrivateFileError::io("read", path))?;
    Ok(bytes)
}

fn check_private(path: &Path, file: &File) -> Result<(), PrivateFileError> {
    let metadata = file
        .metadata()
        .map_err(PrivateFileError::io("examine", path))?;
    if !metadata.is_file() {
        return Err(PrivateFileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & FORBIDDEN_MODE_BITS != 0 {
        return Err(PrivateFileError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > MAX_PRIVATE_FILE_BYTES {
        return Err(PrivateFileError::TooLarge {
            path: path.to_owned(),
            bytes: metadata.len(),
        });
    }
    Ok(())
}

/// Writes `bytes` to `path` with mode 0600, replacing what was there in one step that survives a crash.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), PrivateFileError> {
    let folder = folder_of(path);
    let temporary = temporary_beside(path, folder)?;
    let written = fill(&temporary, bytes).and_then(|()| {
        std::fs::rename(&temporary, path).map_err(PrivateFileError::io("rename to", path))
    });
    if let Err(error) = written {
        // The first error is the one to report; a leftover temporary file harms nothing.
        let _ = std::fs::remove_file(&temporary);
        return Err(error);
    }
    sync_folder(folder)
}

/// Creates `folder` (and what is missing above it) for private files: mode 0700 where it is new.
pub fn create_private_folder(folder: &Path) -> Result<(), PrivateFileError> {
    if folder.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(PrivateFileError::io("create", folder))?;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
        .map_err(PrivateFileError::io("set the mode of", folder))
}

fn fill(temporary: &Path, bytes: &[u8]) -> Result<(), PrivateFileError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)
        .map_err(PrivateFileError::io("create", temporary))?;
    file.write_all(bytes)
        .map_err(PrivateFileError::io("write", temporary))?;
    file.sync_all()
        .map_err(PrivateFileError::io("sync", temporary))
}

fn sync_folder(folder: &Path) -> Result<(), PrivateFileError> {
    File::open(folder)
        .and_then(|opened| opened.sync_all())
        .map_err(PrivateFileError::io("sync", folder))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A name that no other writer uses: process id, a counter and the clock, so that a file left by a crash
/// of an earlier process with the same id does not stand in the way.
fn temporary_beside(path: &Path, folder: &Path) -> Result<PathBuf, PrivateFileError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(PrivateFileError::NotAFile {
            path: path.to_owned(),
        });
    };
    let nanos = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".tmp-{}-{unique}-{nanos:x}", std::process::id()));
    Ok(folder.join(temporary))
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@%".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

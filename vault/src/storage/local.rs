//! Objects as files of a local folder.
//!
//! A file is written under a temporary name in `.holdfast-tmp/`, fsynced, and renamed to its
//! final name; then the folder is fsynced, and every folder that had to be made with its parent.
//! So a name that can be seen has its bytes, and after `put` returns both survive a power cut.
//! Create-if-absent links the temporary file to the final name: a link, unlike a rename, fails
//! when the name is taken. A crash leaves files in `.holdfast-tmp/` only; those older than a day
//! are removed by the next first write.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Backend, ObjectInfo, Page, StorageError};
use crate::id::Id;
use crate::password::random;

/// No repository has a folder of this name, and no object's name begins with a dot.
const TEMPORARY: &str = ".holdfast-tmp";
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

/// A folder whose files are the objects.
#[derive(Debug, Clone)]
pub struct LocalBackend {
    root: PathBuf,
    swept: Arc<Once>,
    durable: Arc<Mutex<HashSet<PathBuf>>>,
}

impl LocalBackend {
    /// The store at `root`, which is made by the first write.
    pub fn new(root: PathBuf) -> LocalBackend {
        LocalBackend {
            root,
            swept: Arc::new(Once::new()),
            durable: Arc::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Runs file operations where they block nobody.
    async fn blocking<T, F>(
        &self,
        operation: &'static str,
        name: &str,
        work: F,
    ) -> Result<T, StorageError>
    where
        T: Send + 'static,
        F: FnOnce(&LocalBackend) -> io::Result<T> + Send + 'static,
    {
        let backend = self.clone();
        let object = format!("{}/{name}", self.location().trim_end_matches('/'));
        match tokio::task::spawn_blocking(move || work(&backend)).await {
            Ok(result) => result.map_err(|error| told(operation, object, &error)),
            Err(error) => Err(StorageError::Other {
                operation,
                object,
                why: error.to_string(),
            }),
        }
    }

    fn write(&self, name: &str, bytes: &[u8], create: bool) -> io::Result<()> {
        self.swept.call_once(|| self.sweep());
        let temporary = self.write_temporary(bytes)?;
        let target = self.path(name);
        let placed = self.place(&temporary, &target, create);
        if create || placed.is_err() {
            // Its removal is tidiness: the sweep takes what stays.
            let _ = fs::remove_file(&temporary);
        }
        placed
    }

    fn place(&self, temporary: &Path, target: &Path, create: bool) -> io::Result<()> {
        let folder = target.parent().unwrap_or(&self.root);
        self.make_folder(folder)?;
        if create {
            fs::hard_link(temporary, target)?;
        } else {
            fs::rename(temporary, target)?;
        }
        sync_folder(folder)
    }

    /// Makes `folder` and what is missing above it, each made durable in its parent.
    ///
    /// That a folder is there does not say that its name is durable: whoever made it may not have
    /// got that far. So each below the root is made sure of once.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let durable = || self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there = folder.is_dir();
        let below_root = folder.starts_with(&self.root) && folder != self.root;
        if is_there && (!below_root || durable().contains(folder)) {
            return Ok(());
        }
        let parent = folder.parent().ok_or(ErrorKind::NotFound)?;
        self.make_folder(parent)?;
        match create_folder(folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if !folder.is_dir() {
                    return Err(ErrorKind::NotADirectory.into());
                }
            }
            created => created?,
        }
        sync_folder(parent)?;
        durable().insert(folder.to_owned());
        Ok(())
    }

    fn write_temporary(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        let folder = self.root.join(TEMPORARY);
        self.make_folder(&folder)?;
        let mut suffix = [0; 12];
        random(&mut suffix);
        let path = folder.join(hex::encode(suffix));
        let mut file = create_new(&path)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_all());
        if let Err(error) = written {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(path)
    }

    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.root.join(TEMPORARY)) else {
            return;
        };
        let old = |entry: &fs::DirEntry| {
            let changed = entry.metadata().and_then(|meta| meta.modified());
            changed.is_ok_and(|at| {
                SystemTime::now()
                    .duration_since(at)
                    .is_ok_and(|age| age > LEFTOVER_AGE)
            })
        };
        for entry in entries.flatten().filter(old) {
            if let Err(error) = fs::remove_file(entry.path()) {
                tracing::debug!(path = %entry.path().display(), %error, "leftover stays");
            }
        }
    }

    fn collect(&self, folder: &Path, prefix: &str, found: &mut Vec<ObjectInfo>) -> io::Result<()> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let Some(name) = self.name_of(&entry.path()) else {
                continue;
            };
            let kind = entry.file_type()?;
            if kind.is_dir()
                && (name.starts_with(prefix) || prefix.starts_with(&format!("{name}/")))
            {
                self.collect(&entry.path(), prefix, found)?;
            } else if kind.is_file() && name.starts_with(prefix) {
                match entry.metadata() {
                    Ok(meta) => found.push(ObjectInfo {
                        name,
                        size_bytes: meta.len(),
                    }),
                    // Deleted since the folder was read.
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// The object's name, unless it is one of our temporary files or not UTF-8.
    fn name_of(&self, path: &Path) -> Option<String> {
        let name = path.strip_prefix(&self.root).ok()?.to_str()?;
        (!name.starts_with(TEMPORARY)).then(|| name.to_owned())
    }
}

#[cfg(unix)]
fn create_new(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// As restic makes its folders: for the owner alone.
fn create_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn read_range(path: &Path, offset: u64, length: u64) -> io::Result<Bytes> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    if offset.checked_add(length).is_none_or(|end| end > size) {
        let why = format!("{length} bytes from {offset} asked for, it has {size}");
        return Err(io::Error::new(ErrorKind::UnexpectedEof, why));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(Bytes::from(bytes))
}

fn told(operation: &'static str, object: String, error: &io::Error) -> StorageError {
    let why = error.to_string();
    match error.kind() {
        ErrorKind::NotFound => StorageError::NotFound { object },
        ErrorKind::AlreadyExists => StorageError::AlreadyExists { object },
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            StorageError::AccessDenied { object, why }
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StorageError::Full { object, why },
        ErrorKind::UnexpectedEof => StorageError::TooShort { object, why },
        _ => StorageError::Other {
            operation,
            object,
            why,
        },
    }
}

#[async_trait]
impl Backend for LocalBackend {
    fn location(&self) -> String {
        format!("file://{}", self.root.display())
    }

    async fn put(&self, name: &str, bytes: Bytes, sha256: &Id) -> Result<(), StorageError> {
        self.write_object(name, bytes, sha256, false).await
    }

    async fn put_if_absent(
        &self,
        name: &str,
        bytes: Bytes,
        sha256: &Id,
    ) -> Result<(), StorageError> {
        self.write_object(name, bytes, sha256, true).await
    }

    async fn get(&self, name: &str) -> Result<Bytes, StorageError> {
        let path = self.path(name);
        self.blocking("get", name, move |_| fs::read(path).map(Bytes::from))
            .await
    }

    async fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        let path = self.path(name);
        self.blocking("get", name, move |_| read_range(&path, offset, length))
            .await
    }

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let (prefix_owned, after) = (prefix.to_owned(), after.map(str::to_owned));
        let listed = self.blocking("list", prefix, move |backend| {
            let mut objects = Vec::new();
            // The deepest folder that all names with this prefix lie in.
            let folder = prefix_owned
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder);
            backend.collect(&backend.path(folder), &prefix_owned, &mut objects)?;
            objects.retain(|object| after.as_ref().is_none_or(|after| object.name > *after));
            objects.sort_unstable();
            Ok(objects)
        });
        Ok(Page {
            objects: listed.await?,
            more: false,
        })
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let path = self.path(prefix);
        self.blocking("list", prefix, move |_| {
            let mut folders = Vec::new();
            let entries = match fs::read_dir(path) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(folders),
                Err(error) => return Err(error),
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                if let Some(name) = name.to_str().filter(|name| *name != TEMPORARY)
                    && entry.file_type()?.is_dir()
                {
                    folders.push(name.to_owned());
                }
            }
            folders.sort_unstable();
            Ok(folders)
        })
        .await
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        let path = self.path(name);
        self.blocking("delete", name, move |_| match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        })
        .await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StorageError> {
        let path = self.path(name);
        let size_bytes = self.blocking("stat", name, move |_| {
            fs::metadata(path).map(|meta| meta.len())
        });
        Ok(ObjectInfo {
            name: name.to_owned(),
            size_bytes: size_bytes.await?,
        })
    }

    async fn versioning(&self) -> Result<Option<bool>, StorageError> {
        Ok(Some(false))
    }
}

impl LocalBackend {
    /// A disk checks no checksums, so nothing is recomputed here: readers verify what they read.
    async fn write_object(
        &self,
        name: &str,
        bytes: Bytes,
        _sha256: &Id,
        create: bool,
    ) -> Result<(), StorageError> {
        let target = name.to_owned();
        self.blocking("put", name, move |backend| {
            backend.write(&target, &bytes, create)
        })
        .await
    }
}

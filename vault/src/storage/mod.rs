//! Where objects live: a narrow trait inside, a friendly cloneable struct outside.
//!
//! The contract of [`Backend`], which one test suite holds every implementation to:
//!
//! - **Atomic create.** After `put` returns, readers see all the bytes; before that they see the
//!   former object or nothing, never a part, whatever dies in between.
//! - **Durable when it returns.** A `put` that has returned survives a power cut, its name included.
//! - **Create if absent.** Of any number of `put_if_absent` on one name exactly one succeeds; the
//!   others get `AlreadyExists` and change nothing. Where the server cannot enforce it the probe
//!   says so.
//! - **Ranged read.** `get_range` gives exactly the bytes asked for; a range beyond the end is an
//!   error, never a short answer.
//! - **Listing in order.** Names come in ascending byte order, each once, with their sizes; an
//!   object whose `put` returned before the listing began is in it.
//! - **Delete** of what is not there succeeds.
//! - **Nothing is kept.** Once a write has returned, the backend holds none of the bytes it was
//!   given: they may lie in memory that the caller uses again.
//!
//! Names are relative to the backend's root, parts joined by `/`.

mod error;
pub mod faulty;
mod local;
mod memory;
pub mod retry;
pub mod s3;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

pub use error::StorageError;
pub use local::LocalBackend;
pub use memory::MemoryBackend;

use crate::address::{S3Endpoint, VaultAddress};
use crate::credentials::CredentialsCell;
use crate::id::Id;

/// One stored object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectInfo {
    /// Name below the root or subfolder that was asked.
    pub name: String,
    /// Its length.
    pub size_bytes: u64,
}

/// A part of a listing, in ascending order of names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The objects.
    pub objects: Vec<ObjectInfo>,
    /// Names follow after the last one.
    pub more: bool,
}

/// What a place for objects must be able to do. See the module for the contract.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug {
    /// The root, as people write it: `s3://bucket/prefix`, `file:///path`, `memory:`.
    fn location(&self) -> String;

    /// Writes an object whole, replacing what was there. `sha256` is that of `bytes`.
    async fn put(&self, name: &str, bytes: Bytes, sha256: &Id) -> Result<(), StorageError>;

    /// Writes an object whole unless the name is taken.
    async fn put_if_absent(
        &self,
        name: &str,
        bytes: Bytes,
        sha256: &Id,
    ) -> Result<(), StorageError>;

    /// The whole object.
    async fn get(&self, name: &str) -> Result<Bytes, StorageError>;

    /// Exactly `length` bytes from `offset`.
    async fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StorageError>;

    /// Objects whose names begin with `prefix` and come after `after`: as many as are handy.
    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError>;

    /// The folders directly below `prefix` (`""`, or ending in `/`), ascending, bare names.
    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StorageError>;

    /// Removes an object; one that is not there is removed already.
    async fn delete(&self, name: &str) -> Result<(), StorageError>;

    /// Size of an object.
    async fn stat(&self, name: &str) -> Result<ObjectInfo, StorageError>;

    /// Whether the store keeps old versions; `None` when it cannot be told.
    async fn versioning(&self) -> Result<Option<bool>, StorageError> {
        Ok(None)
    }
}

/// A place for objects: cheap to clone, retries inside.
#[derive(Clone, Debug)]
pub struct Storage {
    /// Without retries, for writes that must not happen late.
    bare: Arc<dyn Backend>,
    backend: Arc<dyn Backend>,
    /// `""`, or a folder with its closing slash.
    prefix: String,
}

impl Storage {
    /// Opens the vault at `address`. Talks to nobody yet.
    pub fn open(
        address: &VaultAddress,
        endpoint: Option<&S3Endpoint>,
        credentials: Option<CredentialsCell>,
    ) -> Result<Storage, StorageError> {
        match address {
            VaultAddress::File { path } => Ok(Storage::from_backend(Arc::new(LocalBackend::new(
                path.clone(),
            )))),
            VaultAddress::S3 { bucket, prefix } => {
                let missing = |what: &str| StorageError::Misconfigured {
                    why: format!("{address} needs {what}"),
                };
                let endpoint = endpoint.ok_or_else(|| missing("a region or an endpoint"))?;
                let credentials = credentials.ok_or_else(|| missing("credentials"))?;
                let backend = s3::S3Backend::new(bucket, prefix, endpoint, credentials)?;
                Ok(Storage::from_backend(Arc::new(backend)))
            }
        }
    }

    /// A place that is gone with the process, for tests.
    pub fn memory() -> Storage {
        Storage::from_backend(Arc::new(MemoryBackend::default()))
    }

    /// Wraps a backend of one's own, with the usual retries around it.
    pub fn from_backend(backend: Arc<dyn Backend>) -> Storage {
        Storage::with_policy(backend, retry::RetryPolicy::default())
    }

    /// Wraps a backend with retries as `policy` says.
    pub fn with_policy(backend: Arc<dyn Backend>, policy: retry::RetryPolicy) -> Storage {
        Storage {
            bare: Arc::clone(&backend),
            backend: Arc::new(retry::Retrying::new(backend, policy)),
            prefix: String::new(),
        }
    }

    /// One source's folder: `<vault>/<name>/`.
    pub fn subfolder(&self, name: &str) -> Storage {
        let prefix = format!("{}{}/", self.prefix, name.trim_matches('/'));
        Storage {
            prefix,
            ..self.clone()
        }
    }

    /// The same place without retries: for the one write that must not happen late.
    pub(crate) fn without_retries(&self) -> Storage {
        Storage {
            backend: Arc::clone(&self.bare),
            ..self.clone()
        }
    }

    /// This folder as people write it.
    pub fn location(&self) -> String {
        let root = self.bare.location();
        match self.prefix.trim_end_matches('/') {
            "" => root,
            prefix => format!("{}/{prefix}", root.trim_end_matches('/')),
        }
    }

    /// Writes an object whole, replacing what was there.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<(), StorageError> {
        let sha256 = Id::of(&bytes);
        self.put_hashed(name, bytes, &sha256).await
    }

    /// Writes an object whole whose SHA-256 is known already: it is not computed again.
    pub async fn put_hashed(
        &self,
        name: &str,
        bytes: Bytes,
        sha256: &Id,
    ) -> Result<(), StorageError> {
        self.backend.put(&self.full(name)?, bytes, sha256).await
    }

    /// Writes an object whole unless the name is taken (`AlreadyExists`).
    pub async fn put_if_absent(&self, name: &str, bytes: Bytes) -> Result<(), StorageError> {
        let sha256 = Id::of(&bytes);
        self.backend
            .put_if_absent(&self.full(name)?, bytes, &sha256)
            .await
    }

    /// The whole object.
    pub async fn get(&self, name: &str) -> Result<Bytes, StorageError> {
        self.backend.get(&self.full(name)?).await
    }

    /// Exactly `length` bytes from `offset`.
    pub async fn get_range(
        &self,
        name: &str,
        offset: u64,
        length: u64,
    ) -> Result<Bytes, StorageError> {
        self.backend
            .get_range(&self.full(name)?, offset, length)
            .await
    }

    /// Everything whose name begins with `prefix`, in ascending order.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StorageError> {
        let mut objects = Vec::new();
        let mut after = None;
        loop {
            let page = self.list_page(prefix, after.as_deref()).await?;
            objects.extend(page.objects);
            if !page.more {
                return Ok(objects);
            }
            after = objects
                .last()
                .map(|object: &ObjectInfo| object.name.clone());
        }
    }

    /// One page of a listing, from after `after` on.
    pub async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let full_after = after.map(|name| format!("{}{name}", self.prefix));
        let full_prefix = format!("{}{prefix}", self.prefix);
        let mut page = self
            .backend
            .list_page(&full_prefix, full_after.as_deref())
            .await?;
        for object in &mut page.objects {
            object.name.drain(..self.prefix.len());
        }
        Ok(page)
    }

    /// The folders directly below `prefix` (the sources of a vault for `""`), ascending.
    pub async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let prefix = match prefix.trim_matches('/') {
            "" => self.prefix.clone(),
            folder => format!("{}{folder}/", self.prefix),
        };
        self.backend.list_folders(&prefix).await
    }

    /// Removes an object; one that is not there is removed already.
    pub async fn delete(&self, name: &str) -> Result<(), StorageError> {
        self.backend.delete(&self.full(name)?).await
    }

    /// Size of an object.
    pub async fn stat(&self, name: &str) -> Result<ObjectInfo, StorageError> {
        let mut info = self.backend.stat(&self.full(name)?).await?;
        info.name = name.to_owned();
        Ok(info)
    }

    /// Whether the store keeps old versions; `None` when it cannot be told.
    pub async fn versioning(&self) -> Result<Option<bool>, StorageError> {
        self.backend.versioning().await
    }

    /// The name below the backend's root. Names that could leave the folder are refused.
    fn full(&self, name: &str) -> Result<String, StorageError> {
        let full = format!("{}{name}", self.prefix);
        if full.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(StorageError::Other {
                operation: "naming",
                object: full,
                why: "names have neither empty nor relative parts".to_owned(),
            });
        }
        Ok(full)
    }
}

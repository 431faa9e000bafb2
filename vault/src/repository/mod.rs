//! One source's data in one vault: a repository in restic's format, version 2.
//!
//! Opening looks for `config` first (without it there is no repository), then for a key file that
//! the password opens and that opens `config`. Creating writes in the other order, the key file
//! before `config`: a crash in between leaves a key that the next attempt takes up, never a
//! configuration that no key opens. `config` is created if absent; of two creators one wins, and
//! the other takes its key away and opens what is there.
//!
//! The index is read when it is first needed and brought up to date, by listing, before every
//! backup and every opened snapshot. Snapshots are read *before* the index: what a snapshot refers
//! to was in the index before it was written.

mod blob;
mod chunker;
mod config;
mod create;
mod hash;
mod index;
mod key;
mod load;
mod lock;
mod memory;
mod options;
mod pack;
mod polynomial;
mod reader;
mod seal;
mod snapshot;
mod tree;
mod unpacked;
mod writer;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use futures::{StreamExt, TryStreamExt};
use secrecy::SecretString;

pub use options::{
    BackupOptions, BackupStats, BackupSummary, ChunkerKind, FileMeta, StreamSummary,
};
pub use reader::{FileEntry, FileKind, FileReader, SnapshotReader};
pub use snapshot::{Snapshot, SnapshotInfo};
pub use writer::{BackupWriter, PreparedSnapshot};

use crate::error::{Result, VaultError};
use crate::id::SnapshotId;
use crate::storage::Storage;
use config::Config;
use index::Index;
use load::LoadedIndexes;
use lock::LockTimes;
use seal::SealingKey;

const SNAPSHOTS: &str = "snapshots/";
/// Small objects read at once.
const PARALLEL_READS: usize = 8;

/// A repository that is open. Cheap to clone; all clones share one index.
#[derive(Clone)]
pub struct Repository {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    storage: Storage,
    key: Arc<SealingKey>,
    config: Config,
    gear: Arc<gearhash::Table>,
    index: RwLock<Index>,
    /// Held while the index is brought up to date or grows.
    loaded: tokio::sync::Mutex<LoadedIndexes>,
    lock_times: LockTimes,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository")
            .field("location", &self.inner.storage.location())
            .field("id", &self.inner.config.id.short())
            .finish_non_exhaustive()
    }
}

impl Repository {
    /// Opens the repository at `storage`.
    pub async fn open(storage: Storage, password: &SecretString) -> Result<Repository> {
        create::open(storage, password).await
    }

    /// Makes a new repository at `storage`; one that is there already is an error.
    pub async fn create(storage: Storage, password: &SecretString) -> Result<Repository> {
        create::create(storage, password).await
    }

    /// Opens the repository at `storage`, which is made first if there is none.
    pub async fn open_or_create(storage: Storage, password: &SecretString) -> Result<Repository> {
        match create::open(storage.clone(), password).await {
            Err(VaultError::NoRepository { .. }) => {}
            result => return result,
        }
        match create::create(storage.clone(), password).await {
            Err(VaultError::Refused(_)) => create::open(storage, password).await,
            result => result,
        }
    }

    /// All snapshots, oldest first. One that cannot be read is an error that names it.
    pub async fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        let mut ids = Vec::new();
        for object in self.inner.storage.list(SNAPSHOTS).await? {
            match object.name.trim_start_matches(SNAPSHOTS).parse() {
                Ok(id) => ids.push(id),
                Err(_) => {
                    tracing::warn!(object = %object.name, "not a snapshot: its name is not an id")
                }
            }
        }
        let mut snapshots: Vec<SnapshotInfo> = futures::stream::iter(ids)
            .map(|id: SnapshotId| async move {
                let snapshot = self.snapshot(&id).await?;
                Ok::<_, VaultError>(SnapshotInfo { id, snapshot })
            })
            .buffered(PARALLEL_READS)
            .try_collect()
            .await?;
        snapshots.sort_by_key(|info| (info.snapshot.time, info.id));
        Ok(snapshots)
    }

    /// One snapshot.
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Snapshot> {
        let name = format!("{SNAPSHOTS}{id}");
        let sealed = match self.inner.storage.get(&name).await {
            Err(error) if error.is_not_found() => {
                return Err(VaultError::NotFound {
                    path: format!("snapshot {id}"),
                });
            }
            result => result?,
        };
        unpacked::decode(&self.inner.key, &name, id.id(), &sealed)
    }

    /// Begins a backup: takes a lock and brings the index up to date.
    ///
    /// Must be called within a tokio runtime, which carries the uploads.
    pub async fn begin_backup(&self, options: BackupOptions) -> Result<BackupWriter> {
        BackupWriter::begin(Arc::clone(&self.inner), options).await
    }

    /// Opens the files of one snapshot.
    pub async fn open_snapshot(&self, id: &SnapshotId) -> Result<SnapshotReader> {
        let snapshot = self.snapshot(id).await?;
        SnapshotReader::open(Arc::clone(&self.inner), snapshot).await
    }
}

impl Inner {
    fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object's name as an error tells it.
    fn named(&self, object: &str) -> String {
        format!("{}/{object}", self.storage.location().trim_end_matches('/'))
    }
}

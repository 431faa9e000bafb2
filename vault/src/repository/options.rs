//! What a backup is asked for, and what it tells while it runs and when it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::id::Id;

const MIB: usize = 1024 * 1024;

/// How one backup is made.
#[derive(Debug, Clone)]
pub struct BackupOptions {
    /// Host recorded in snapshot and lock; unique per agent.
    pub host: String,
    /// The snapshot's one path, `/<source>`: the files lie below it.
    pub path: String,
    /// `run:<uuid>`, `epoch:<n>`, `kind:<kind>`, `method:<method>`.
    pub tags: Vec<String>,
    /// The snapshot's time.
    pub time: jiff::Timestamp,
    /// Ends the backup; no snapshot is written then.
    pub cancel: CancellationToken,
    /// Counted up while the backup runs.
    pub stats: Arc<BackupStats>,
    /// Bytes after which a pack is closed (4 to 128 MiB).
    pub pack_size: usize,
    /// Packs uploaded at once.
    pub uploads: usize,
    /// Threads that hash, compress and seal; 0 for one a core (at least 2).
    pub threads: usize,
    /// Bound of everything the pipeline buffers: chunks under way, open and uploading packs.
    pub memory_budget_bytes: u64,
    /// How often what is uploaded is put into an index file, so that a later backup finds it.
    pub index_interval: Duration,
}

impl BackupOptions {
    /// The usual settings for a snapshot of `path` made on `host` now.
    pub fn new(host: impl Into<String>, path: impl Into<String>) -> BackupOptions {
        BackupOptions {
            host: host.into(),
            path: path.into(),
            tags: Vec::new(),
            time: jiff::Timestamp::now(),
            cancel: CancellationToken::new(),
            stats: Arc::default(),
            pack_size: 16 * MIB,
            uploads: 2,
            threads: 0,
            memory_budget_bytes: 72 * MIB as u64,
            index_interval: Duration::from_secs(180),
        }
    }
}

/// Where chunks end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkerKind {
    /// Where the content says so (512 KiB, 1 MiB on average, at most 8 MiB): for streams in which
    /// bytes are inserted and deleted.
    ContentDefined,
    /// Every so many bytes: for files whose pages are overwritten in place.
    Fixed(usize),
}

/// What is recorded about a file besides its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileMeta {
    /// Permission bits, as `chmod` takes them.
    pub mode: u32,
    /// Last change of the content.
    pub mtime: jiff::Timestamp,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name, `""` when not known.
    pub user: String,
    /// Group's name, `""` when not known.
    pub group: String,
}

impl FileMeta {
    /// A file readable by its owner alone, last changed at `mtime`.
    pub fn new(mtime: jiff::Timestamp) -> FileMeta {
        FileMeta {
            mode: 0o600,
            mtime,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
        }
    }
}

impl Default for FileMeta {
    fn default() -> FileMeta {
        FileMeta::new(jiff::Timestamp::now())
    }
}

/// Counters of a running backup; all only grow.
#[derive(Debug, Default)]
pub struct BackupStats {
    /// Bytes taken from the readers.
    pub read_bytes: AtomicU64,
    /// Of these, bytes in chunks that the repository did not have.
    pub new_bytes: AtomicU64,
    /// What the new chunks take up compressed and sealed.
    pub stored_bytes: AtomicU64,
    /// Bytes of packs and indexes that are durable.
    pub uploaded_bytes: AtomicU64,
    /// Chunks seen.
    pub chunks: AtomicU64,
    /// Nanoseconds spent waiting for the readers, over all streams.
    pub read_wait_ns: AtomicU64,
    /// Nanoseconds of finding chunk boundaries.
    pub chunk_ns: AtomicU64,
    /// Nanoseconds of hashing chunks and packs, over all threads.
    pub hash_ns: AtomicU64,
    /// Nanoseconds of compressing, over all threads.
    pub compress_ns: AtomicU64,
    /// Nanoseconds of sealing, over all threads.
    pub seal_ns: AtomicU64,
    /// Nanoseconds during which packs were on their way, over all uploads.
    pub upload_ns: AtomicU64,
}

impl BackupStats {
    pub(crate) fn add(counter: &AtomicU64, amount: u64) {
        counter.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn add_time(counter: &AtomicU64, since: std::time::Instant) {
        Self::add(
            counter,
            u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX),
        );
    }
}

/// What one stream came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSummary {
    /// Length of the stream.
    pub read_bytes: u64,
    /// Of these, bytes in chunks that the repository did not have.
    pub new_bytes: u64,
    /// What the new chunks take up compressed and sealed.
    pub stored_bytes: u64,
    /// Number of chunks.
    pub chunks: u64,
}

/// What a backup came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Number of files.
    pub files: u64,
    /// Bytes taken from the readers.
    pub read_bytes: u64,
    /// Of these, bytes in chunks that the repository did not have.
    pub new_bytes: u64,
    /// What the new chunks take up compressed and sealed.
    pub stored_bytes: u64,
    /// The root of the snapshot's tree.
    pub tree: Id,
}

//! What all stages of one backup share, and how it fails: once, for good, and for all of them.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::Inner;
use super::super::blob::{BlobKind, MAX_DATA};
use super::super::lock::HeldLock;
use super::super::memory::MapPool;
use super::super::options::{BackupOptions, BackupStats, BackupSummary};
use super::super::seal::OVERHEAD;
use super::packer::Packer;
use super::queue::Queue;
use super::stream::SMALL_BUFFER;
use super::upload::Indexer;
use crate::error::{Result, VaultError};
use crate::id::Id;

const MIB: usize = 1024 * 1024;
const PACK_SIZES: std::ops::RangeInclusive<usize> = 4 * MIB..=128 * MIB;
/// A pack is closed when it is full; the blob that fills it, and the header, still have to fit.
const PACK_SLACK: usize = MAX_DATA + OVERHEAD + MIB;

/// The options, checked and worked out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) pack_size: usize,
    pub(super) uploads: usize,
    pub(super) threads: usize,
    /// For chunks under way.
    pub(super) chunk_budget: usize,
}

impl Sizes {
    /// Packs first (one open, the others on their way), chunks get the rest of the budget.
    pub(super) fn of(options: &BackupOptions) -> Result<Sizes> {
        if !PACK_SIZES.contains(&options.pack_size) {
            return Err(VaultError::Refused(format!(
                "packs of {} bytes cannot be: 4 to 128 MiB are possible",
                options.pack_size
            )));
        }
        let uploads = options.uploads.clamp(1, 64);
        let packs = (uploads + 1) * options.pack_size;
        let needed = packs + 4 * SMALL_BUFFER;
        let budget = usize::try_from(options.memory_budget_bytes).unwrap_or(usize::MAX);
        let Some(chunk_budget) = budget
            .checked_sub(packs)
            .filter(|left| *left >= 4 * SMALL_BUFFER)
        else {
            return Err(VaultError::Refused(format!(
                "a memory budget of {} MiB is too small for {uploads} upload(s) of packs of {} MiB: at least {} MiB are needed",
                budget / MIB,
                options.pack_size / MIB,
                needed.div_ceil(MIB)
            )));
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if options.threads == 0 {
            cores.max(2)
        } else {
            options.threads
        };
        Ok(Sizes {
            pack_size: options.pack_size,
            uploads,
            // More threads than chunks fit into memory would only wait.
            threads: threads.clamp(1, chunk_budget / SMALL_BUFFER),
            chunk_budget,
        })
    }

    /// Length of a map that a pack is built in.
    pub(super) fn pack_capacity(&self) -> usize {
        self.pack_size + PACK_SLACK
    }
}

/// One backup.
pub(crate) struct Run {
    pub(super) repository: Arc<Inner>,
    pub(super) stats: Arc<BackupStats>,
    pub(super) sizes: Sizes,
    pub(super) runtime: Handle,
    pub(super) queue: Queue,
    pub(super) chunk_maps: Arc<MapPool>,
    pub(super) pack_maps: Arc<MapPool>,
    pub(super) data: Packer,
    pub(super) trees: Packer,
    pub(super) indexer: Indexer,
    /// What the backup is traced under; its uploads are part of it.
    pub(super) span: tracing::Span,
    pub(super) uploads: TaskTracker,
    pub(super) upload_slots: Semaphore,
    /// Blobs that this backup stores and no index in memory names yet.
    claims: Mutex<HashSet<(BlobKind, Id)>>,
    failure: Mutex<Failure>,
    /// Cancelled by the first failure.
    pub(super) ended: CancellationToken,
}

#[derive(Debug, Default)]
enum Failure {
    #[default]
    None,
    /// Nobody has been told yet.
    Fresh(VaultError),
    Told(String),
    Cancelled,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("location", &self.repository.storage.location())
            .field("sizes", &self.sizes)
            .finish_non_exhaustive()
    }
}

impl Run {
    pub(super) fn new(
        repository: Arc<Inner>,
        options: &BackupOptions,
        sizes: Sizes,
        runtime: Handle,
    ) -> Arc<Run> {
        let chunk_maps = MapPool::new(sizes.chunk_budget);
        Arc::new(Run {
            repository,
            stats: Arc::clone(&options.stats),
            runtime,
            queue: Queue::new(Arc::clone(&chunk_maps)),
            chunk_maps,
            pack_maps: MapPool::new((sizes.uploads + 1) * sizes.pack_capacity()),
            data: Packer::new(BlobKind::Data),
            trees: Packer::new(BlobKind::Tree),
            indexer: Indexer::new(options.index_interval),
            span: tracing::Span::current(),
            uploads: TaskTracker::new(),
            upload_slots: Semaphore::new(sizes.uploads),
            sizes,
            claims: Mutex::default(),
            failure: Mutex::default(),
            ended: CancellationToken::new(),
        })
    }

    /// Ends the backup when it is cancelled from outside or its lock is lost.
    pub(super) fn watch(self: &Arc<Self>, cancel: &CancellationToken, lock: &Arc<HeldLock>) {
        let (run, cancel) = (Arc::downgrade(self), cancel.clone());
        let (ended, lock) = (self.ended.clone(), Arc::downgrade(lock));
        let Some(lost) = lock.upgrade().map(|lock| lock.lost().clone()) else {
            return;
        };
        self.runtime.spawn(async move {
            let why = tokio::select! {
                () = ended.cancelled() => return,
                () = cancel.cancelled() => Some(VaultError::Cancelled),
                () = lost.cancelled() => lock.upgrade().map(|lock| lock.lost_error()),
            };
            if let (Some(run), Some(why)) = (run.upgrade(), why) {
                run.fail(why);
            }
        });
    }

    /// Claims a blob: `true` means that the caller must store it, `false` that it is stored already
    /// or on its way.
    ///
    /// Claims are looked at first: when an index file has been written its blobs enter the index
    /// before they leave the claims, so a blob is in one of them at every moment.
    pub(super) fn claim(&self, kind: BlobKind, id: &Id) -> bool {
        let mut claims = self.claims();
        if claims.contains(&(kind, *id)) || self.repository.index().contains(kind, id) {
            return false;
        }
        claims.insert((kind, *id))
    }

    /// Forgets claims on blobs that are in the index by now.
    pub(super) fn release_claims(&self, blobs: impl Iterator<Item = (BlobKind, Id)>) {
        let mut claims = self.claims();
        for blob in blobs {
            claims.remove(&blob);
        }
    }

    fn claims(&self) -> MutexGuard<'_, HashSet<(BlobKind, Id)>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the backup. Only the first failure counts; whoever asks first is told it whole.
    pub(super) fn fail(&self, error: VaultError) {
        self.set_failure(match error {
            VaultError::Cancelled => Failure::Cancelled,
            error => Failure::Fresh(error),
        });
    }

    /// Ends the backup because of `error`, which its caller tells himself.
    pub(super) fn fail_because(&self, error: &VaultError) {
        self.set_failure(match error {
            VaultError::Cancelled => Failure::Cancelled,
            error => Failure::Told(error.to_string()),
        });
    }

    fn set_failure(&self, new: Failure) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*failure, Failure::None) {
            *failure = new;
        }
        drop(failure);
        self.ended.cancel();
        self.queue.close();
        self.chunk_maps.close();
        self.pack_maps.close();
    }

    /// An error once the backup has failed.
    pub(super) fn check(&self) -> Result<()> {
        if self.ended.is_cancelled() {
            return Err(self.error());
        }
        Ok(())
    }

    /// Why the backup has failed.
    pub(super) fn error(&self) -> VaultError {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::take(&mut *failure) {
            Failure::Fresh(error) => {
                *failure = Failure::Told(error.to_string());
                error
            }
            Failure::Told(why) => {
                *failure = Failure::Told(why.clone());
                VaultError::Aborted { why }
            }
            Failure::Cancelled | Failure::None => {
                *failure = Failure::Cancelled;
                VaultError::Cancelled
            }
        }
    }

    /// Waits until every pack handed over is in the vault, or the backup has failed.
    pub(super) async fn uploads_done(&self) -> Result<()> {
        self.uploads.close();
        tokio::select! {
            biased;
            () = self.ended.cancelled() => Err(self.error()),
            () = self.uploads.wait() => {
                self.check()?;
                self.uploads.reopen();
                Ok(())
            }
        }
    }

    pub(super) fn summary(&self, files: u64, tree: Id) -> BackupSummary {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        BackupSummary {
            files,
            read_bytes: count(&self.stats.read_bytes),
            new_bytes: count(&self.stats.new_bytes),
            stored_bytes: count(&self.stats.stored_bytes),
            tree,
        }
    }
}

/// Fails the backup when it is dropped before [`AbortOnDrop::disarm`].
#[derive(Debug)]
pub(super) struct AbortOnDrop(Option<Arc<Run>>);

impl AbortOnDrop {
    pub(super) fn new(run: &Arc<Run>) -> AbortOnDrop {
        AbortOnDrop(Some(Arc::clone(run)))
    }

    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run.fail(VaultError::Aborted {
                why: "it was dropped before its end".to_owned(),
            });
        }
    }
}

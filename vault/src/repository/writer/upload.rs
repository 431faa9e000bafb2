//! Packs on their way to the vault, and the index files that name them.
//!
//! A pack enters the list for the next index file only when its upload has returned, so an index
//! never names what is not durable. The list is written every few minutes, or when it is long: a
//! backup that dies later leaves all of that for the next one to use.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::Instrument;

use super::super::blob::PackedBlob;
use super::super::index::{IndexFile, MOST_BLOBS};
use super::super::load::{self, Packs};
use super::super::options::BackupStats;
use super::super::{pack, unpacked};
use super::run::Run;
use crate::error::{Result, VaultError};
use crate::id::Id;

/// A pack whose bytes will not change.
pub(super) struct ClosedPack {
    pub(super) id: Id,
    pub(super) bytes: Bytes,
    pub(super) blobs: Vec<PackedBlob>,
}

/// Packs that are in the vault and that no index file names yet.
pub(super) struct Indexer {
    interval: Duration,
    pending: Mutex<Pending>,
}

struct Pending {
    packs: Packs,
    blobs: usize,
    since: Instant,
}

impl Indexer {
    pub(super) fn new(interval: Duration) -> Indexer {
        Indexer {
            interval,
            pending: Mutex::new(Pending {
                packs: Vec::new(),
                blobs: 0,
                since: Instant::now(),
            }),
        }
    }

    /// Adds a pack; gives back what is to be written now, if it is time.
    fn add(&self, id: Id, blobs: Vec<PackedBlob>) -> Option<Packs> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.blobs += blobs.len();
        pending.packs.push((id, blobs));
        let due = pending.blobs >= MOST_BLOBS || pending.since.elapsed() >= self.interval;
        due.then(|| pending.take())
    }

    fn take(&self) -> Packs {
        self.pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

impl Pending {
    fn take(&mut self) -> Packs {
        self.blobs = 0;
        self.since = Instant::now();
        std::mem::take(&mut self.packs)
    }
}

/// Sends a pack on its way. A failure fails the backup.
pub(super) fn begin(run: &Arc<Run>, pack: ClosedPack) {
    let task_run = Arc::clone(run);
    let task = async move {
        let run = task_run;
        tokio::select! {
            biased;
            () = run.ended.cancelled() => {}
            result = upload(&run, pack) => if let Err(error) = result {
                run.fail(error);
            }
        }
    };
    let task = task.instrument(run.span.clone());
    run.uploads.spawn_on(task, &run.runtime);
}

async fn upload(run: &Arc<Run>, ClosedPack { id, bytes, blobs }: ClosedPack) -> Result<()> {
    let Ok(_slot) = run.upload_slots.acquire().await else {
        return Err(VaultError::Internal(
            "the upload slots are closed".to_owned(),
        ));
    };
    let length = bytes.len() as u64;
    let since = Instant::now();
    let name = pack::object_name(&id);
    run.repository.storage.put_hashed(&name, bytes, &id).await?;
    BackupStats::add_time(&run.stats.upload_ns, since);
    BackupStats::add(&run.stats.uploaded_bytes, length);
    if let Some(packs) = run.indexer.add(id, blobs) {
        write_index(run, packs).await?;
    }
    Ok(())
}

/// Writes what no index file names yet.
pub(super) async fn flush_index(run: &Arc<Run>) -> Result<()> {
    let packs = run.indexer.take();
    tokio::select! {
        biased;
        () = run.ended.cancelled() => Err(run.error()),
        written = write_index(run, packs) => written,
    }
}

async fn write_index(run: &Arc<Run>, packs: Packs) -> Result<()> {
    if packs.is_empty() {
        return Ok(());
    }
    let key = Arc::clone(&run.repository.key);
    let file = IndexFile::of(&packs);
    let encoded = tokio::task::spawn_blocking(move || unpacked::encode(&key, &file)).await;
    let (id, sealed) = encoded.map_err(|error| VaultError::Internal(error.to_string()))??;
    let length = sealed.len() as u64;
    let name = load::object_name(&id);
    run.repository
        .storage
        .put_hashed(&name, sealed, &id)
        .await?;
    BackupStats::add(&run.stats.uploaded_bytes, length);
    run.repository.adopt_index(id, &packs).await;
    let blobs = packs.iter().flat_map(|(_, blobs)| blobs);
    run.release_claims(blobs.map(|blob| (blob.kind, blob.id)));
    Ok(())
}

//! The threads that hash, look up, compress, seal, and put blobs into packs.
//!
//! Each takes whatever is next, of any stream; none waits for another except for room in a pack.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use super::super::blob::BlobKind;
use super::super::options::BackupStats;
use super::compress::Press;
use super::queue::{HashedJob, Job, Work};
use super::run::Run;
use crate::error::{Result, VaultError};
use crate::id::Id;

/// Why a worker stops.
#[derive(Debug)]
pub(super) enum Halt {
    /// The backup has failed elsewhere, or is over.
    Ended,
    /// It fails here.
    Failed(VaultError),
}

impl From<VaultError> for Halt {
    fn from(error: VaultError) -> Halt {
        Halt::Failed(error)
    }
}

/// The threads of one backup.
#[derive(Debug)]
pub(super) struct Workers {
    run: Arc<Run>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    pub(super) fn start(run: &Arc<Run>, count: usize) -> Result<Workers> {
        let mut workers = Workers {
            run: Arc::clone(run),
            threads: Vec::with_capacity(count),
        };
        for number in 0..count {
            let run = Arc::clone(run);
            let thread = std::thread::Builder::new()
                .name(format!("vault-{number}"))
                .spawn(move || work(&run))
                .map_err(|error| VaultError::Internal(format!("no thread: {error}")))?;
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    /// Waits for the threads, which end with the chunk they are at.
    pub(super) fn stop(mut self) {
        self.run.queue.close();
        for thread in self.threads.drain(..) {
            // A panic has failed the backup already.
            let _ = thread.join();
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.run.queue.close();
    }
}

/// Fails the backup when its thread dies.
struct Watched<'a>(&'a Run);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0
                .fail(VaultError::Internal("a worker thread died".to_owned()));
        }
    }
}

fn work(run: &Arc<Run>) {
    let _watched = Watched(run);
    if let Err(Halt::Failed(error)) = serve(run) {
        run.fail(error);
    }
}

fn serve(run: &Arc<Run>) -> std::result::Result<(), Halt> {
    let mut press = Press::new()?;
    while let Some(work) = run.queue.take() {
        match work {
            Work::Store(job) => store(run, &mut press, job)?,
            Work::Hash(jobs) => {
                // One of them is stored here, the others by whoever is free.
                let mut hashed = hash(run, jobs).into_iter();
                let own = hashed.next();
                if hashed.len() > 0 {
                    run.queue.push_hashed(hashed);
                }
                if let Some(job) = own {
                    store(run, &mut press, job)?;
                }
            }
        }
    }
    Ok(())
}

fn hash(run: &Run, jobs: Vec<Job>) -> Vec<HashedJob> {
    let since = Instant::now();
    let chunks: Vec<&[u8]> = jobs.iter().flat_map(Job::chunks).collect();
    let mut ids = run.queue.strategy().hash(&chunks).into_iter();
    BackupStats::add_time(&run.stats.hash_ns, since);
    jobs.into_iter()
        .map(|job| HashedJob {
            ids: ids.by_ref().take(job.ends.len()).collect(),
            job,
        })
        .collect()
}

fn store(
    run: &Arc<Run>,
    press: &mut Press,
    HashedJob { job, ids }: HashedJob,
) -> std::result::Result<(), Halt> {
    let stream = &job.stream;
    for (chunk, id) in job.chunks().zip(&ids) {
        if !run.claim(BlobKind::Data, id) {
            continue;
        }
        let hint = stream.incompressible.load(Ordering::Relaxed);
        let stored = store_blob(run, press, BlobKind::Data, id, chunk, hint)?;
        if stored.compressed {
            stream.incompressible.store(0, Ordering::Relaxed);
        } else {
            stream.incompressible.fetch_add(1, Ordering::Relaxed);
        }
        stream
            .new_bytes
            .fetch_add(chunk.len() as u64, Ordering::Relaxed);
        stream
            .stored_bytes
            .fetch_add(stored.bytes, Ordering::Relaxed);
    }
    stream.complete(job.first, &ids);
    Ok(())
}

/// What became of a blob.
pub(super) struct Stored {
    pub(super) bytes: u64,
    compressed: bool,
}

/// Compresses, seals and packs a blob that this backup has claimed.
pub(super) fn store_blob(
    run: &Arc<Run>,
    press: &mut Press,
    kind: BlobKind,
    id: &Id,
    plaintext: &[u8],
    incompressible: u32,
) -> std::result::Result<Stored, Halt> {
    let sealed = press.seal(
        &run.repository.key,
        kind,
        plaintext,
        incompressible,
        &run.stats,
    )?;
    let packer = match kind {
        BlobKind::Data => &run.data,
        BlobKind::Tree => &run.trees,
    };
    packer.append(run, id, &sealed)?;
    BackupStats::add(&run.stats.new_bytes, plaintext.len() as u64);
    BackupStats::add(&run.stats.stored_bytes, sealed.bytes.len() as u64);
    Ok(Stored {
        bytes: sealed.bytes.len() as u64,
        compressed: sealed.uncompressed.is_some(),
    })
}

//! One stream: reading, cutting, and waiting until all its chunks are taken care of.
//!
//! A chunk is read straight into the map that it is hashed and compressed from; only the few bytes
//! read beyond its end move to the next map. Maps begin small, because most chunks are, and give
//! way to larger ones. The first map of a chunk is waited for (this is where a full pipeline holds
//! back the reader), a larger one for a chunk under way never is: at most 7 MiB a stream beyond
//! the budget, and no two streams can wait for each other.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Notify;

use super::super::blob::MAX_DATA;
use super::super::chunker::Chunker;
use super::super::memory::PooledMap;
use super::super::options::{BackupStats, ChunkerKind, StreamSummary};
use super::queue::Job;
use super::run::Run;
use crate::error::{Result, VaultError};
use crate::id::Id;

const KIB: usize = 1024;
/// Most content-defined chunks (86%) end within it.
pub(super) const SMALL_BUFFER: usize = 1536 * KIB;
const MEDIUM_BUFFER: usize = 3072 * KIB;
/// Holds the longest chunk, and what may be read beyond.
const LARGE_BUFFER: usize = MAX_DATA + READ;
/// Asked of the reader at once; a pipe gives 64 KiB.
const READ: usize = 128 * KIB;
/// Short chunks travel together until they are so many bytes.
const JOB: usize = 512 * KIB;
/// Names of chunks that are kept for one file: its list becomes one JSON array (67 bytes a chunk)
/// in one tree blob, which every reader has to hold in memory. 4 TiB at a mebibyte each.
const MOST_CHUNKS: usize = 4 * 1024 * 1024;

/// What the workers know of a stream.
#[derive(Debug, Default)]
pub(super) struct StreamState {
    ids: Mutex<Vec<Id>>,
    pending_jobs: AtomicUsize,
    done: Notify,
    pub(super) new_bytes: AtomicU64,
    pub(super) stored_bytes: AtomicU64,
    /// Chunks in a row that compression did not make smaller.
    pub(super) incompressible: AtomicU32,
}

impl StreamState {
    /// The chunks from `first` on are these, and they are stored or on their way.
    pub(super) fn complete(&self, first: usize, ids: &[Id]) {
        let mut all = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        all[first..first + ids.len()].copy_from_slice(ids);
        drop(all);
        if self.pending_jobs.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.done.notify_waiters();
        }
    }

    fn begin_job(&self, chunks: usize) -> usize {
        self.pending_jobs.fetch_add(1, Ordering::AcqRel);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let first = ids.len();
        ids.resize(first + chunks, Id::from_bytes([0; 32]));
        first
    }

    async fn completed(&self) {
        loop {
            let done = self.done.notified();
            if self.pending_jobs.load(Ordering::Acquire) == 0 {
                return;
            }
            done.await;
        }
    }

    fn take_ids(&self) -> Vec<Id> {
        std::mem::take(&mut self.ids.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Stores all of `reader`; gives back the list of its chunks.
pub(super) async fn store<R: AsyncRead + Unpin>(
    run: &Arc<Run>,
    chunker: ChunkerKind,
    mut reader: R,
) -> Result<(Vec<Id>, StreamSummary)> {
    let mut cutter = Cutter {
        run,
        chunker: Chunker::new(chunker, &run.repository.gear)?,
        state: Arc::default(),
        buffer: None,
        carry: Vec::new(),
        filled: 0,
        start: 0,
        ends: Vec::new(),
        chunks: 0,
        read_bytes: 0,
    };
    let ended = run.ended.clone();
    tokio::select! {
        biased;
        () = ended.cancelled() => Err(run.error()),
        stored = async {
            while cutter.read(&mut reader).await? {
                cutter.cut()?;
            }
            cutter.finish().await
        } => stored,
    }
}

struct Cutter<'a> {
    run: &'a Arc<Run>,
    chunker: Chunker,
    state: Arc<StreamState>,
    buffer: Option<PooledMap>,
    /// What was read beyond the last chunk, until there is a buffer for it; at most one reading.
    carry: Vec<u8>,
    /// Bytes in the buffer.
    filled: usize,
    /// Where the current chunk begins.
    start: usize,
    /// Ends of whole chunks before it.
    ends: Vec<usize>,
    chunks: u64,
    read_bytes: u64,
}

impl Cutter<'_> {
    /// Reads a piece; `false` at the end.
    async fn read<R: AsyncRead + Unpin>(&mut self, reader: &mut R) -> Result<bool> {
        let mut buffer = self.buffer_with_room().await?;
        let room = READ.min(buffer.len() - self.filled);
        let since = Instant::now();
        let read = reader
            .read(&mut buffer[self.filled..self.filled + room])
            .await;
        BackupStats::add_time(&self.run.stats.read_wait_ns, since);
        self.buffer = Some(buffer);
        let read = read.map_err(VaultError::SourceFailed)?;
        self.filled += read;
        self.read_bytes += read as u64;
        BackupStats::add(&self.run.stats.read_bytes, read as u64);
        Ok(read > 0)
    }

    async fn buffer_with_room(&mut self) -> Result<PooledMap> {
        let pool = &self.run.chunk_maps;
        let Some(buffer) = self.buffer.take() else {
            let Some(mut buffer) = pool.take_async(SMALL_BUFFER).await? else {
                return Err(self.run.error());
            };
            self.filled = self.carry.len();
            buffer[..self.filled].copy_from_slice(&self.carry);
            self.carry.clear();
            return Ok(buffer);
        };
        if self.filled < buffer.len() {
            return Ok(buffer);
        }
        let size = if buffer.len() < MEDIUM_BUFFER {
            MEDIUM_BUFFER
        } else {
            LARGE_BUFFER
        };
        let mut larger = pool.take_now(size)?;
        larger[..self.filled].copy_from_slice(&buffer[..self.filled]);
        Ok(larger)
    }

    /// Cuts what has been read, and hands over what is whole.
    fn cut(&mut self) -> Result<()> {
        let since = Instant::now();
        let Some(buffer) = &self.buffer else {
            return Ok(());
        };
        while let Some(length) = self.chunker.cut(&buffer[self.start..self.filled]) {
            self.start += length;
            self.ends.push(self.start);
        }
        BackupStats::add_time(&self.run.stats.chunk_ns, since);
        if self.start >= JOB {
            self.hand_over()?;
        }
        Ok(())
    }

    /// Gives the whole chunks to the workers; what was read beyond them begins the next buffer.
    fn hand_over(&mut self) -> Result<()> {
        let Some(buffer) = self.buffer.take() else {
            return Ok(());
        };
        self.carry
            .extend_from_slice(&buffer[self.start..self.filled]);
        (self.filled, self.start) = (0, 0);
        let ends = std::mem::take(&mut self.ends);
        self.chunks += ends.len() as u64;
        BackupStats::add(&self.run.stats.chunks, ends.len() as u64);
        if self.chunks > MOST_CHUNKS as u64 {
            return Err(VaultError::Refused(format!(
                "a stream of more than {MOST_CHUNKS} chunks is too long for one file: its list would not fit into memory; split it, or cut it into longer chunks"
            )));
        }
        let first = self.state.begin_job(ends.len());
        self.run.queue.push(Job {
            stream: Arc::clone(&self.state),
            first,
            buffer,
            ends,
        });
        Ok(())
    }

    /// The end of the stream ends the last chunk. Waits for all of them.
    async fn finish(mut self) -> Result<(Vec<Id>, StreamSummary)> {
        if self.filled > self.start {
            self.start = self.filled;
            self.ends.push(self.filled);
        }
        if !self.ends.is_empty() {
            self.hand_over()?;
        }
        self.buffer = None;
        self.state.completed().await;
        let summary = StreamSummary {
            read_bytes: self.read_bytes,
            new_bytes: self.state.new_bytes.load(Ordering::Relaxed),
            stored_bytes: self.state.stored_bytes.load(Ordering::Relaxed),
            chunks: self.chunks,
        };
        Ok((self.state.take_ids(), summary))
    }
}

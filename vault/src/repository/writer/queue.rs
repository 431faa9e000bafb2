//! Chunks on their way from the readers to the worker threads.
//!
//! Its length is bounded by the pool that the chunks' maps come from. Where hashing many chunks at
//! once is faster, a worker waits a moment for enough of them, but not when the readers themselves
//! wait for memory or nothing more has come for some milliseconds.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::hash::HashStrategy;
use super::super::memory::{MapPool, PooledMap};
use super::stream::StreamState;
use crate::id::Id;

const PATIENCE: Duration = Duration::from_millis(10);

/// Some chunks of one stream, one behind the other in one map.
pub(super) struct Job {
    pub(super) stream: Arc<StreamState>,
    /// Number of the first chunk within the stream.
    pub(super) first: usize,
    pub(super) buffer: PooledMap,
    /// Where each chunk ends.
    pub(super) ends: Vec<usize>,
}

impl Job {
    /// The chunks.
    pub(super) fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, end)| &self.buffer[start..*end])
    }
}

/// A job whose chunks have names.
pub(super) struct HashedJob {
    pub(super) job: Job,
    pub(super) ids: Vec<Id>,
}

/// What a worker does next.
pub(super) enum Work {
    Hash(Vec<Job>),
    Store(HashedJob),
}

/// See the module.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    maps: Arc<MapPool>,
    strategy: HashStrategy,
}

#[derive(Default)]
struct State {
    raw: VecDeque<Job>,
    hashed: VecDeque<HashedJob>,
    closed: bool,
}

impl Queue {
    pub(super) fn new(maps: Arc<MapPool>) -> Queue {
        Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            maps,
            strategy: HashStrategy::detect(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn strategy(&self) -> HashStrategy {
        self.strategy
    }

    /// Adds a job. Once the queue is closed it is dropped: the backup has failed.
    pub(super) fn push(&self, job: Job) {
        let mut state = self.state();
        if !state.closed {
            state.raw.push_back(job);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Hands hashed jobs to whichever worker is free.
    pub(super) fn push_hashed(&self, jobs: impl Iterator<Item = HashedJob>) {
        let mut state = self.state();
        if !state.closed {
            state.hashed.extend(jobs);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The next piece of work; `None` when the backup is over.
    pub(super) fn take(&self) -> Option<Work> {
        let width = self.strategy.width();
        let mut state = self.state();
        let mut waited = false;
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.hashed.pop_front() {
                return Some(Work::Store(job));
            }
            let waiting: usize = state.raw.iter().map(|job| job.ends.len()).sum();
            let enough = waiting >= width || waited || self.maps.is_wanting();
            if waiting > 0 && enough {
                return Some(Work::Hash(take_some(&mut state.raw, width)));
            }
            (state, waited) = self.wait(state, waiting > 0);
        }
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        briefly: bool,
    ) -> (MutexGuard<'a, State>, bool) {
        if !briefly {
            let state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            return (state, false);
        }
        let waited = self.changed.wait_timeout(state, PATIENCE);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        (state, timeout.timed_out())
    }

    /// Ends the workers and drops what is waiting.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let (raw, hashed) = (
            std::mem::take(&mut state.raw),
            std::mem::take(&mut state.hashed),
        );
        drop(state);
        drop((raw, hashed));
        self.changed.notify_all();
    }
}

fn take_some(raw: &mut VecDeque<Job>, width: usize) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut chunks = 0;
    while chunks < width
        && let Some(job) = raw.pop_front()
    {
        chunks += job.ends.len();
        jobs.push(job);
    }
    jobs
}

//! The memory of a backup: anonymous maps that are used again, and a budget.
//!
//! Chunks and packs are some megabytes each and come and go all the time. Taken from the allocator
//! they would be mapped, zeroed page by page and unmapped again (a tenth of a backup's processor
//! time), or leave the heap large for good. Maps of our own are kept while the backup runs and go
//! back to the system with its last one. Their pages count only once they are touched.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;
use tokio::sync::Notify;

use crate::error::{Result, VaultError};

/// Maps of one or a few sizes, and how many bytes of them there may be.
#[derive(Debug)]
pub(crate) struct MapPool {
    budget: usize,
    state: Mutex<PoolState>,
    /// For threads that wait.
    returned: Condvar,
    /// For tasks that wait.
    returned_to_task: Notify,
}

#[derive(Debug, Default)]
struct PoolState {
    /// Bytes of maps that are out.
    out: usize,
    /// Bytes of maps that lie here.
    idle: usize,
    free: HashMap<usize, Vec<MmapMut>>,
    /// Somebody waits for a map.
    waiting: usize,
    closed: bool,
}

/// A map out of a pool, which gets it back when it is dropped.
#[derive(Debug)]
pub(crate) struct PooledMap {
    map: Option<MmapMut>,
    pool: Arc<MapPool>,
}

impl MapPool {
    /// A pool whose maps that are out stay below `budget` bytes together, growth excepted.
    pub(crate) fn new(budget: usize) -> Arc<MapPool> {
        Arc::new(MapPool {
            budget,
            state: Mutex::default(),
            returned: Condvar::new(),
            returned_to_task: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A map of `size` bytes, as soon as the budget allows. `None` once the pool is closed.
    pub(crate) fn take_blocking(self: &Arc<Self>, size: usize) -> Result<Option<PooledMap>> {
        let mut state = self.state();
        state.waiting += 1;
        while !state.closed && !self.fits(&state, size) {
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting -= 1;
        if state.closed {
            return Ok(None);
        }
        self.take(state, size).map(Some)
    }

    /// A map of `size` bytes, as soon as the budget allows. `None` once the pool is closed.
    pub(crate) async fn take_async(self: &Arc<Self>, size: usize) -> Result<Option<PooledMap>> {
        loop {
            let returned = self.returned_to_task.notified();
            {
                let state = self.state();
                if state.closed {
                    return Ok(None);
                }
                if self.fits(&state, size) {
                    return self.take(state, size).map(Some);
                }
            }
            let _waiting = Waiting::new(self);
            returned.await;
        }
    }

    /// A map of `size` bytes at once, beyond the budget if need be: whoever holds a part of a chunk
    /// must be able to finish it, or all could wait for each other.
    pub(crate) fn take_now(self: &Arc<Self>, size: usize) -> Result<PooledMap> {
        self.take(self.state(), size)
    }

    /// Whether somebody waits for a map to come back.
    pub(crate) fn is_wanting(&self) -> bool {
        self.state().waiting > 0
    }

    /// Ends all waiting, and gives back to the system what lies idle.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.idle = 0;
        let free = std::mem::take(&mut state.free);
        drop(state);
        drop(free);
        self.returned.notify_all();
        self.returned_to_task.notify_waiters();
    }

    /// One that is larger than the whole budget gets through alone.
    fn fits(&self, state: &PoolState, size: usize) -> bool {
        state.out == 0 || state.out + size <= self.budget
    }

    fn take(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, PoolState>,
        size: usize,
    ) -> Result<PooledMap> {
        state.out += size;
        let map = match state.free.get_mut(&size).and_then(Vec::pop) {
            Some(map) => {
                state.idle -= size;
                Ok(map)
            }
            None => {
                // Maps of other sizes that lie idle give way.
                if state.out + state.idle > self.budget {
                    state.free.clear();
                    state.idle = 0;
                }
                MmapMut::map_anon(size)
            }
        };
        match map {
            Ok(map) => Ok(PooledMap {
                map: Some(map),
                pool: Arc::clone(self),
            }),
            Err(error) => {
                state.out -= size;
                Err(VaultError::Internal(format!(
                    "no memory for a buffer: {error}"
                )))
            }
        }
    }

    fn give_back(&self, map: MmapMut) {
        let mut state = self.state();
        let size = map.len();
        state.out -= size;
        if !state.closed && state.out + state.idle + size <= self.budget {
            state.idle += size;
            state.free.entry(size).or_default().push(map);
        }
        drop(state);
        self.returned.notify_all();
        self.returned_to_task.notify_waiters();
    }
}

struct Waiting<'a>(&'a MapPool);

impl<'a> Waiting<'a> {
    fn new(pool: &'a MapPool) -> Waiting<'a> {
        pool.state().waiting += 1;
        Waiting(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

impl Deref for PooledMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

impl DerefMut for PooledMap {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for PooledMap {
    fn drop(&mut self) {
        if let Some(map) = self.map.take() {
            self.pool.give_back(map);
        }
    }
}

/// The first bytes of a map, as an upload wants them.
pub(crate) struct FilledMap {
    /// The map.
    pub(crate) map: PooledMap,
    /// How many.
    pub(crate) length: usize,
}

impl AsRef<[u8]> for FilledMap {
    fn as_ref(&self) -> &[u8] {
        &self.map[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_budget_makes_wait_and_closing_ends_the_wait() {
        let pool = MapPool::new(100);
        let first = pool.take_blocking(60).expect("memory").expect("open");
        let waiter = {
            let pool = Arc::clone(&pool);
            std::thread::spawn(move || pool.take_blocking(60).expect("memory").is_some())
        };
        std::thread::sleep(Duration::from_millis(30));
        assert!(!waiter.is_finished());
        assert!(pool.is_wanting());
        drop(first);
        assert!(waiter.join().expect("thread"));

        let _all = pool.take_now(100).expect("memory");
        let waiter = {
            let pool = Arc::clone(&pool);
            std::thread::spawn(move || pool.take_blocking(60).expect("memory").is_some())
        };
        std::thread::sleep(Duration::from_millis(30));
        pool.close();
        assert!(!waiter.join().expect("thread"));
    }

    #[tokio::test]
    async fn a_task_waits_as_a_thread_does() {
        let pool = MapPool::new(100);
        let first = pool.take_async(80).await.expect("memory").expect("open");
        let waiter = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.take_async(80).await.expect("memory").is_some() }
        });
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(!waiter.is_finished());
        drop(first);
        assert!(waiter.await.expect("task"));
    }

    #[test]
    fn one_larger_than_the_budget_gets_through_alone() {
        let pool = MapPool::new(10);
        assert!(pool.take_blocking(100).expect("memory").is_some());
        assert_eq!(pool.state().out, 0);
        assert_eq!(pool.state().idle, 0);
    }
}

//! Wakes whoever watches a run, and holds its latest figures.
//!
//! A pulse says only that there is something newer; what it is stands in the state. So a watcher that is slow misses
//! nothing, and one that is stuck holds nobody up.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdfast_proto::ids::RunId;
use holdfast_proto::v1;
use tokio::sync::watch;

/// The latest of one run.
#[derive(Debug, Clone, Default)]
pub struct Pulse {
    /// Grows with every change.
    pub beat: u64,
    /// The latest figures, with their epoch.
    pub progress: Option<(u64, v1::Progress)>,
}

/// Pulses of the runs that are under way.
#[derive(Debug, Default)]
pub struct Pulses {
    runs: Mutex<HashMap<RunId, watch::Sender<Pulse>>>,
}

impl Pulses {
    /// Something was written down about the run.
    pub fn touch(&self, run: RunId) {
        self.change(run, |_| {});
    }

    /// The run has newer figures.
    pub fn progress(&self, run: RunId, epoch: u64, progress: v1::Progress) {
        self.change(run, |pulse| pulse.progress = Some((epoch, progress)));
    }

    /// The run has ended; watchers read its end in the state.
    pub fn end(&self, run: RunId) {
        self.lock().remove(&run);
    }

    /// Follows a run. The channel closes when the run ends.
    #[must_use]
    pub fn follow(&self, run: RunId) -> watch::Receiver<Pulse> {
        self.lock().entry(run).or_default().subscribe()
    }

    /// The latest figures.
    #[must_use]
    pub fn latest(&self, run: RunId) -> Option<v1::Progress> {
        let runs = self.lock();
        let (_, progress) = runs.get(&run)?.borrow().progress.clone()?;
        Some(progress)
    }

    fn change(&self, run: RunId, change: impl FnOnce(&mut Pulse)) {
        self.lock().entry(run).or_default().send_modify(|pulse| {
            pulse.beat += 1;
            change(pulse);
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, watch::Sender<Pulse>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

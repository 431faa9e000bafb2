//! What is known of the hand-outs of runs since this process started, on the monotonic clock.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use holdfast_proto::ids::{Epoch, RunId};

use crate::model::lease::Lease;

/// Leases by run. A run that is not in it was handed out before this process started.
#[derive(Debug, Default)]
pub struct LeaseBook {
    leases: Mutex<HashMap<RunId, (Epoch, Lease)>>,
}

impl LeaseBook {
    /// A sign of life of `run` under `epoch`: at its hand-out, and at each renewal.
    pub fn renew(&self, run: RunId, epoch: Epoch, now: Instant) {
        let fresh = Lease {
            renewed: now,
            permitted: None,
        };
        let mut leases = self.lock();
        let entry = leases.entry(run).or_insert((epoch, fresh));
        if entry.0 == epoch {
            entry.1.renewed = entry.1.renewed.max(now);
        } else if entry.0 < epoch {
            *entry = (epoch, fresh);
        }
    }

    /// `run` may be committed from now on.
    pub fn permit(&self, run: RunId, epoch: Epoch, now: Instant) {
        let lease = Lease {
            renewed: now,
            permitted: Some(now),
        };
        self.lock().insert(run, (epoch, lease));
    }

    /// What is known of the hand-out under `epoch`.
    #[must_use]
    pub fn get(&self, run: RunId, epoch: Epoch) -> Option<Lease> {
        self.lock()
            .get(&run)
            .filter(|(held, _)| *held == epoch)
            .map(|(_, lease)| *lease)
    }

    /// Nobody holds the run any more.
    pub fn forget(&self, run: RunId) {
        self.lock().remove(&run);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, (Epoch, Lease)>> {
        // Entries are whole between two statements.
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

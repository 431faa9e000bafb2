//! Leases: how long a run may stay with an agent that says nothing.
//!
//! They are kept in memory and on the monotonic clock, so a step of the wall clock ends none. That costs knowledge at
//! a restart, hence the rule: a coordinator that knows nothing of a lease treats it as given at its own start, so
//! nothing lapses before it has been up for a full lease. A run that is committing gets its whole window on top, because
//! the permission may have been given right before the restart.

use std::time::Duration;
use std::time::Instant;

use holdfast_proto::run::RunState;

/// The durations that the lease of a run depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseTerms {
    /// Length of a lease after each renewal.
    pub lease: Duration,
    /// How long a permission to commit holds.
    pub commit_window: Duration,
}

/// What is known of one hand-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The last sign of life.
    pub renewed: Instant,
    /// When the permission to commit was given.
    pub permitted: Option<Instant>,
}

impl LeaseTerms {
    /// When a run in `state` has lapsed; `None` for runs nobody holds. `lease` is `None` when nothing has been heard
    /// since the coordinator started at `started`.
    #[must_use]
    pub fn lapses_at(
        &self,
        state: RunState,
        lease: Option<Lease>,
        started: Instant,
    ) -> Option<Instant> {
        let renewed = lease.map_or(started, |lease| lease.renewed.max(started));
        match state {
            RunState::Assigned | RunState::Running => Some(renewed + self.lease),
            // The permission is counted from when it was given, and renewals do not prolong it. They keep the run
            // where it is: an agent that is still at work (a swap takes its time) will say how it ended.
            RunState::Committing => {
                let permitted = lease.and_then(|lease| lease.permitted).unwrap_or(started);
                Some((permitted + self.commit_window).max(renewed) + self.lease)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: LeaseTerms = LeaseTerms {
        lease: Duration::from_secs(60),
        commit_window: Duration::from_secs(30),
    };

    #[test]
    fn an_unknown_lease_counts_from_the_start() {
        let started = Instant::now();
        for state in [RunState::Assigned, RunState::Running] {
            assert_eq!(
                TERMS.lapses_at(state, None, started),
                Some(started + TERMS.lease)
            );
        }
        assert_eq!(
            TERMS.lapses_at(RunState::Committing, None, started),
            Some(started + TERMS.lease + TERMS.commit_window)
        );
    }

    #[test]
    fn a_committing_run_stays_for_its_window_and_as_long_as_it_is_renewed() {
        let started = Instant::now();
        let after = |seconds| started + Duration::from_secs(seconds);
        let lapses = |state, renewed, permitted| {
            let lease = Lease {
                renewed: after(renewed),
                permitted: Some(after(permitted)),
            };
            TERMS.lapses_at(state, Some(lease), started)
        };
        assert_eq!(lapses(RunState::Running, 7, 5), Some(after(7 + 60)));
        assert_eq!(lapses(RunState::Committing, 7, 5), Some(after(5 + 30 + 60)));
        assert_eq!(lapses(RunState::Committing, 1000, 5), Some(after(1060)));
    }

    #[test]
    fn what_nobody_holds_never_lapses() {
        let now = Instant::now();
        for state in RunState::ALL {
            let held = crate::model::run::is_handed_out(state);
            assert_eq!(TERMS.lapses_at(state, None, now).is_some(), held, "{state}");
        }
    }
}

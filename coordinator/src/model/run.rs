//! The life of a run: which state may follow which, and why.
//!
//! One function, [`next`], knows every step; the store writes nothing that it does not allow. The argument why no two
//! agents ever write a snapshot for one run at the same time:
//!
//! 1. Only [`Step::Assign`] hands a run out, only from `queued`, and each time under the next epoch.
//! 2. Only [`Step::Permit`] allows the final write, only while the epoch that asks is the current one.
//! 3. From `committing` a run goes back to `queued` only by [`Step::WindowOver`]: after the permission has run out by the
//!    agent's own monotonic clock (counted from before it asked) plus a whole lease, or when the agent gives it back, and
//!    then it is not handed out before the permission has run out.
//!
//! So when epoch n+1 is handed out, the permission of epoch n is void; what it wrote in time is found by epoch n+1
//! under the permitted id, and what it writes later is an orphan.

use holdfast_proto::run::RunState;

/// What happens to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Handed to its agent under the next epoch.
    Assign,
    /// The agent began.
    Start,
    /// The agent may write the snapshot, or change the live service.
    Permit,
    /// The agent reported success.
    Succeed,
    /// It ended without success and is not tried again.
    Fail,
    /// An operator's wish came true.
    Cancel,
    /// The lease lapsed, or the agent failed in a way worth another try.
    Requeue,
    /// The time to commit, and a lease on top, are over without an answer; or the agent failed while it committed.
    WindowOver,
    /// Its leases lapsed too often: nobody can say what became of it.
    GiveUp,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 9] = [
        Self::Assign,
        Self::Start,
        Self::Permit,
        Self::Succeed,
        Self::Fail,
        Self::Cancel,
        Self::Requeue,
        Self::WindowOver,
        Self::GiveUp,
    ];
}

/// The state after `step`, or `None` where `step` must not be taken.
#[must_use]
pub fn next(state: RunState, step: Step) -> Option<RunState> {
    use RunState::{Assigned, Cancelled, Committing, Failed, Lost, Queued, Running, Succeeded};
    match (state, step) {
        (Queued, Step::Assign) => Some(Assigned),
        (Assigned, Step::Start) => Some(Running),
        (Running, Step::Permit) => Some(Committing),
        // Without having been `committing`: a later epoch that found an earlier one's work done, and work that
        // changes nothing live.
        (Running | Committing, Step::Succeed) => Some(Succeeded),
        (Queued | Assigned | Running | Committing, Step::Fail) => Some(Failed),
        // Not `committing`: the final write may be under way.
        (Queued | Assigned | Running, Step::Cancel) => Some(Cancelled),
        (Assigned | Running, Step::Requeue) => Some(Queued),
        (Committing, Step::WindowOver) => Some(Queued),
        (Assigned | Running | Committing, Step::GiveUp) => Some(Lost),
        _ => None,
    }
}

/// Whether an agent holds the run in this state.
#[must_use]
pub fn is_handed_out(state: RunState) -> bool {
    matches!(
        state,
        RunState::Assigned | RunState::Running | RunState::Committing
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written as a table of its own, so that a change of `next` has to be made twice.
    #[test]
    fn every_pair_of_state_and_step() {
        use RunState::*;
        let allowed = [
            (Queued, Step::Assign, Assigned),
            (Queued, Step::Fail, Failed),
            (Queued, Step::Cancel, Cancelled),
            (Assigned, Step::Start, Running),
            (Assigned, Step::Fail, Failed),
            (Assigned, Step::Cancel, Cancelled),
            (Assigned, Step::Requeue, Queued),
            (Assigned, Step::GiveUp, Lost),
            (Running, Step::Permit, Committing),
            (Running, Step::Succeed, Succeeded),
            (Running, Step::Fail, Failed),
            (Running, Step::Cancel, Cancelled),
            (Running, Step::Requeue, Queued),
            (Running, Step::GiveUp, Lost),
            (Committing, Step::Succeed, Succeeded),
            (Committing, Step::Fail, Failed),
            (Committing, Step::WindowOver, Queued),
            (Committing, Step::GiveUp, Lost),
        ];
        for state in RunState::ALL {
            for step in Step::ALL {
                let expected = allowed
                    .iter()
                    .find(|(from, by, _)| *from == state && *by == step)
                    .map(|(_, _, to)| *to);
                assert_eq!(next(state, step), expected, "{state} {step:?}");
            }
        }
    }

    #[test]
    fn nothing_leaves_a_final_state() {
        for state in RunState::ALL.into_iter().filter(|state| state.is_final()) {
            for step in Step::ALL {
                assert_eq!(next(state, step), None, "{state} {step:?}");
            }
        }
    }

    #[test]
    fn a_committing_run_goes_back_only_when_its_window_is_over() {
        let back: Vec<Step> = Step::ALL
            .into_iter()
            .filter(|step| next(RunState::Committing, *step) == Some(RunState::Queued))
            .collect();
        assert_eq!(back, [Step::WindowOver]);
    }
}

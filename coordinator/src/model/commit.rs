//! Whether an agent may commit: write the snapshot, or change the live service.

use holdfast_proto::ids::{Epoch, SnapshotId};
use holdfast_proto::run::RunState;

/// What the state says of the run that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its state.
    pub state: RunState,
    /// Its current epoch.
    pub epoch: Epoch,
    /// What the current epoch was permitted already; `None` within for work without a snapshot.
    pub permitted: Option<Option<SnapshotId>>,
    /// Who asked to cancel it.
    pub cancelled_by: Option<String>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, from now on.
    Permit,
    /// Yes, as told before; the time is counted from then.
    PermittedBefore,
    /// No.
    Refuse(String),
}

/// Decides for `epoch`, which wants to write `snapshot`. The same question gets the same answer, so an agent may ask
/// again after a reconnect.
#[must_use]
pub fn decide(standing: &Standing, epoch: Epoch, snapshot: Option<&SnapshotId>) -> Decision {
    if epoch != standing.epoch {
        let now = standing.epoch;
        return Decision::Refuse(format!(
            "epoch {epoch} is over: the run was handed out again as epoch {now}"
        ));
    }
    match (standing.state, &standing.permitted) {
        (RunState::Assigned | RunState::Running, _) => match &standing.cancelled_by {
            Some(operator) => Decision::Refuse(format!("cancelled by {operator}")),
            None => Decision::Permit,
        },
        (RunState::Committing, Some(before)) if before.as_ref() == snapshot => {
            Decision::PermittedBefore
        }
        (RunState::Committing, _) => {
            Decision::Refuse("another snapshot was permitted for this epoch".into())
        }
        (RunState::Queued, _) => {
            Decision::Refuse("the lease lapsed and the run waits to be handed out again".into())
        }
        (state, _) => Decision::Refuse(format!("the run has ended: {state}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> SnapshotId {
        digit.repeat(64).parse().expect("valid")
    }

    fn standing(state: RunState) -> Standing {
        Standing {
            state,
            epoch: Epoch(2),
            permitted: None,
            cancelled_by: None,
        }
    }

    #[test]
    fn only_the_current_epoch_of_a_held_run_is_permitted() {
        for state in RunState::ALL {
            let permitted = decide(&standing(state), Epoch(2), Some(&id("a"))) == Decision::Permit;
            let working = matches!(state, RunState::Assigned | RunState::Running);
            assert_eq!(permitted, working, "{state}");
            for stale in [Epoch(1), Epoch(3)] {
                let answer = decide(&standing(state), stale, Some(&id("a")));
                assert!(matches!(answer, Decision::Refuse(_)), "{state} {answer:?}");
            }
        }
    }

    #[test]
    fn the_same_question_gets_the_same_answer_and_another_is_refused() {
        let committing = Standing {
            permitted: Some(Some(id("a"))),
            ..standing(RunState::Committing)
        };
        assert_eq!(
            decide(&committing, Epoch(2), Some(&id("a"))),
            Decision::PermittedBefore
        );
        for other in [Some(id("b")), None] {
            let answer = decide(&committing, Epoch(2), other.as_ref());
            assert!(matches!(answer, Decision::Refuse(_)));
        }
    }

    #[test]
    fn a_run_that_is_being_cancelled_gets_no_permission() {
        let cancelled = Standing {
            cancelled_by: Some("ann".into()),
            ..standing(RunState::Running)
        };
        let answer = decide(&cancelled, Epoch(2), None);
        assert_eq!(answer, Decision::Refuse("cancelled by ann".into()));
    }
}

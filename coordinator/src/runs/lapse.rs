//! Takes runs back whose agents are silent for longer than a lease, and ends windows to commit that went by unanswered.

use std::time::{Duration, Instant};

use holdfast_proto::run::RunState;
use holdfast_proto::v1;

use super::{announce, failure, retry, tell_lost};
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::model::retry::Ending;
use crate::model::run::Step;
use crate::store::runs::{self, RunRecord};

/// Looks at every run that is handed out.
pub async fn reap(coordinator: &Coordinator) -> Result<()> {
    let unfinished = {
        let mut connection = coordinator.store.read().await?;
        runs::unfinished(&mut connection).await?
    };
    for run in unfinished.iter().filter(|run| has_lapsed(coordinator, run)) {
        take_back(coordinator, run, Why::Lapsed).await?;
    }
    Ok(())
}

fn has_lapsed(coordinator: &Coordinator, run: &RunRecord) -> bool {
    let lease = coordinator.leases.get(run.id, run.epoch);
    let terms = coordinator.config.runs.lease_terms();
    terms
        .lapses_at(run.state, lease, coordinator.started)
        .is_some_and(|at| at <= Instant::now())
}

/// Why a run is taken from its agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The agent was silent for too long.
    Lapsed,
    /// The agent came back and does not name it.
    Forgotten,
}

impl Why {
    fn as_str(self) -> &'static str {
        match self {
            Self::Lapsed => "its lease lapsed",
            Self::Forgotten => "its agent came back without it",
        }
    }
}

/// Queues the run again for the next epoch, or gives it up; a cancelled one ends as that.
pub(crate) async fn take_back(coordinator: &Coordinator, run: &RunRecord, why: Why) -> Result<()> {
    let reason = why.as_str();
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    // Read again: a renewal or a result may have come since.
    let Some(run) = runs::get(&mut tx, run.id)
        .await?
        .filter(|current| current.is_held_under(run.epoch) && current.state == run.state)
    else {
        return Ok(());
    };
    if why == Why::Lapsed && !has_lapsed(coordinator, &run) {
        return Ok(());
    }
    let after = match &run.cancelled_by {
        Some(operator) if run.state != RunState::Committing => {
            let result = v1::RunResult {
                result: Some(v1::run_result::Result::CancelledBy(operator.clone())),
            };
            runs::advance(&mut tx, &run, Step::Cancel, now, |run| {
                run.result = Some(result)
            })
            .await?
        }
        _ => {
            let result = failure(
                v1::FailureClass::Retryable,
                &format!(
                    "{reason} in each of {} attempts; nobody can say what became of it",
                    run.attempt
                ),
                "look at the agent's host and its log",
            );
            let ending = Ending::Lapsed;
            retry::after_attempt(
                coordinator,
                &mut tx,
                &run,
                ending,
                result,
                Duration::ZERO,
                now,
            )
            .await?
        }
    };
    tx.commit().await?;
    if let Some(after) = after {
        tracing::warn!(run = %run.id, source = %run.source, epoch = run.epoch.0, reason, "took a run back");
        tell_lost(coordinator, &run, reason);
        announce(coordinator, &after);
    }
    Ok(())
}

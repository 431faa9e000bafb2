//! Cancelling a run: at once while it is queued, by its agent while that works on it, not while it commits.

use holdfast_proto::run::RunState;
use holdfast_proto::v1;
use holdfast_proto::v1::coordinator_message::Message;

use super::announce;
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::model::run::Step;
use crate::store::audit;
use crate::store::runs::{self, RunRecord};

/// Cancels `run` for `operator`.
pub async fn cancel(
    coordinator: &Coordinator,
    run: RunRecord,
    operator: &str,
) -> Result<RunRecord> {
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    let run = runs::get(&mut tx, run.id)
        .await?
        .ok_or_else(|| Fault::NotFound(format!("no run {}", run.id)))?;
    let after = match run.state {
        RunState::Queued => {
            let result = v1::RunResult {
                result: Some(v1::run_result::Result::CancelledBy(operator.into())),
            };
            runs::advance(&mut tx, &run, Step::Cancel, now, |run| {
                run.result = Some(result)
            })
            .await?
        }
        RunState::Assigned | RunState::Running => {
            runs::amend(&mut tx, &run, |run| {
                run.cancelled_by = Some(operator.into())
            })
            .await?
        }
        RunState::Committing => {
            return Err(Fault::Refused(format!(
                "run {} is writing its result and cannot be cancelled any more",
                run.id
            ))
            .hint("it ends within seconds; a restored database can be dropped afterwards"));
        }
        state => {
            return Err(Fault::Refused(format!("run {} has ended: {state}", run.id)));
        }
    };
    let after =
        after.ok_or_else(|| Fault::Internal("a run changed in its own transaction".into()))?;
    let actor = format!("operator {operator}");
    audit::add(
        &mut tx,
        now,
        &actor,
        "run.cancel",
        &run.id.to_string(),
        run.state.as_str(),
    )
    .await?;
    tx.commit().await?;
    if after.state.is_final() {
        announce(coordinator, &after);
    } else if let Some(session) = coordinator.sessions.get(run.agent) {
        session.push(message(&after, operator));
    }
    Ok(after)
}

/// What the agent is told; again after each reconnect, because the first may have been lost.
pub(crate) fn message(run: &RunRecord, operator: &str) -> Message {
    Message::Cancel(v1::CancelRun {
        run_id: run.id.to_string(),
        epoch: run.epoch.0,
        requested_by: operator.into(),
    })
}

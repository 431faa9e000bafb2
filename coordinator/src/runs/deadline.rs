//! How long a run may take, the time it waits for a second attempt included.

use std::time::Duration;

use holdfast_proto::run::RunState;
use holdfast_proto::v1;

use super::{announce, failure, tell_lost};
use crate::clock::{micros, now_micros};
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::model::run::Step;
use crate::store::runs::{self, RunRecord};

/// The time that runs of this kind may take.
#[must_use]
pub fn of(coordinator: &Coordinator, run: &RunRecord) -> Duration {
    match run.kind() {
        v1::RunKind::Backup => coordinator.config.runs.backup_deadline,
        _ => coordinator.config.runs.restore_deadline,
    }
}

/// What is left of it.
#[must_use]
pub fn remaining(coordinator: &Coordinator, run: &RunRecord, now: i64) -> Duration {
    let begun = if run.started_micros == 0 {
        now
    } else {
        run.started_micros
    };
    let spent = u64::try_from(now - begun).unwrap_or_default();
    of(coordinator, run).saturating_sub(Duration::from_micros(spent))
}

/// Fails runs whose time is over. An agent ends its work by itself when its time is over; it gets one lease more to say so.
/// A queued run may wait as long for its agent as it may take; one that is `committing` has its window on top.
pub async fn end_overdue(coordinator: &Coordinator) -> Result<()> {
    let unfinished = {
        let mut connection = coordinator.store.read().await?;
        runs::unfinished(&mut connection).await?
    };
    let now = now_micros();
    for run in unfinished {
        let limit = of(coordinator, &run);
        let grace = coordinator.config.runs.lease;
        let (since, limit) = match run.state {
            RunState::Queued if run.started_micros == 0 => (run.created_micros, limit),
            RunState::Queued => (run.started_micros, limit),
            RunState::Assigned | RunState::Running => (run.started_micros, limit + grace),
            RunState::Committing => {
                let window = coordinator.config.runs.commit_window;
                (run.started_micros, limit + window + grace)
            }
            _ => continue,
        };
        if now.saturating_sub(since) > micros(limit) {
            end(coordinator, &run, now).await?;
        }
    }
    Ok(())
}

async fn end(coordinator: &Coordinator, run: &RunRecord, now: i64) -> Result<()> {
    let limit = holdfast_config::format_duration(of(coordinator, run));
    let result = if run.started_micros == 0 {
        failure(
            v1::FailureClass::Permanent,
            &format!("the run was never handed out within {limit}"),
            "check that its agent runs and is connected: holdfastctl agent list",
        )
    } else {
        failure(
            v1::FailureClass::Permanent,
            &format!("the run took longer than {limit}"),
            "raise backup_deadline or restore_deadline in [runs] of coordinator.toml when that is to be expected",
        )
    };
    let mut tx = coordinator.store.begin().await?;
    let failed = runs::advance(&mut tx, run, Step::Fail, now, |run| {
        run.result = Some(result)
    })
    .await?;
    tx.commit().await?;
    if let Some(failed) = failed {
        tell_lost(coordinator, run, "its time is over");
        announce(coordinator, &failed);
    }
    Ok(())
}

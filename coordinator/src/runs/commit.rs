//! The permission to commit: the fence between two epochs of one run.
//!
//! The order: the presigned write is made ready; then, in one transaction, the state is asked and says `committing` with
//! epoch and snapshot id; then the agent is told. An answer that is lost costs nothing: the same question gets the same
//! answer, and the window counts anew from there, which is safe because nobody else is given the run before the latest
//! window and a lease are over.

use std::time::Instant;

use holdfast_proto::convert::RunEpoch;
use holdfast_proto::ids::SnapshotId;
use holdfast_proto::v1;

use super::{announce, grant, report};
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::model::commit::{Decision, Standing, decide};
use crate::model::run::Step;
use crate::store::runs::{self, RunRecord};

/// Answers an agent's request.
pub async fn answer(
    coordinator: &Coordinator,
    run: Option<&RunRecord>,
    held: RunEpoch,
    request: &v1::CommitRequest,
) -> Result<v1::CommitDecision> {
    let Some(run) = run else {
        return Ok(refused(
            held,
            "the coordinator does not know this run".into(),
        ));
    };
    let snapshot = snapshot_of(run, request)?;
    let put = match &snapshot {
        Some(snapshot) if run.is_held_under(held.epoch) => {
            grant::presign_snapshot(coordinator, run, snapshot, request.snapshot_bytes).await?
        }
        _ => None,
    };
    let decision = permit(coordinator, held, snapshot).await?;
    if let Decision::Refuse(reason) = decision {
        tracing::warn!(run = %held.run, epoch = held.epoch.0, reason, "refused to let a run commit");
        return Ok(refused(held, reason));
    }
    let window = coordinator.config.runs.commit_window.as_secs();
    Ok(v1::CommitDecision {
        run_id: held.run.to_string(),
        epoch: held.epoch.0,
        permitted: true,
        valid_for_seconds: u32::try_from(window).unwrap_or(u32::MAX),
        reason: String::new(),
        snapshot_put: put,
    })
}

/// Backups commit a snapshot, everything else commits without one.
fn snapshot_of(run: &RunRecord, request: &v1::CommitRequest) -> Result<Option<SnapshotId>> {
    if run.kind() != v1::RunKind::Backup {
        return Ok(None);
    }
    if request.snapshot_bytes == 0 {
        return Err(Fault::Invalid("field snapshot_bytes is missing".into()));
    }
    Ok(Some(holdfast_proto::convert::id(
        "snapshot_id",
        &request.snapshot_id,
    )?))
}

async fn permit(
    coordinator: &Coordinator,
    held: RunEpoch,
    snapshot: Option<SnapshotId>,
) -> Result<Decision> {
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    let Some(run) = runs::get(&mut tx, held.run).await? else {
        return Ok(Decision::Refuse(
            "the coordinator does not know this run".into(),
        ));
    };
    let decision = decide(&standing(&run), held.epoch, snapshot.as_ref());
    match decision {
        Decision::Refuse(_) => return Ok(decision),
        Decision::PermittedBefore => {
            coordinator
                .leases
                .permit(held.run, held.epoch, Instant::now());
            return Ok(decision);
        }
        Decision::Permit => {}
    }
    let run = report::ensure_running(&mut tx, run, now).await?;
    let committing = runs::advance(&mut tx, &run, Step::Permit, now, |run| {
        run.permitted_epoch = held.epoch;
        run.permitted_snapshot = snapshot;
    })
    .await?;
    let Some(committing) = committing else {
        return Ok(Decision::Refuse(
            "the run stands elsewhere meanwhile".into(),
        ));
    };
    // Before the state says so: the window is never shorter than what the reaper counts.
    coordinator
        .leases
        .permit(held.run, held.epoch, Instant::now());
    tx.commit().await?;
    announce(coordinator, &committing);
    Ok(decision)
}

fn standing(run: &RunRecord) -> Standing {
    let permitted = (run.permitted_epoch == run.epoch).then(|| run.permitted_snapshot.clone());
    Standing {
        state: run.state,
        epoch: run.epoch,
        permitted,
        cancelled_by: run.cancelled_by.clone(),
    }
}

fn refused(held: RunEpoch, reason: String) -> v1::CommitDecision {
    v1::CommitDecision {
        run_id: held.run.to_string(),
        epoch: held.epoch.0,
        permitted: false,
        valid_for_seconds: 0,
        reason,
        snapshot_put: None,
    }
}

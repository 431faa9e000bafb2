//! A restore: sweep what an earlier attempt left, open the snapshot, let the source bring it back.
//!
//! The order: the sweep comes before anything new is made under the run's name, and spares what other runs of the
//! source are still working on. The source asks for the permission to commit right before its first change of the
//! live service, so a run that lost its lease meanwhile leaves the service as it was.

use std::str::FromStr as _;

use holdfast_proto::convert::{RestoreTask, Subscriptions as Wanted};
use holdfast_proto::ids::Epoch;
use holdfast_proto::v1;
use holdfast_sources::{
    Reporter as _, RestoreOutcome, RestoreRequest, RestoredDatabase, SourceError, Subscriptions,
};
use holdfast_vault::SnapshotId;
use tracing::Instrument as _;

use super::storage::{open_for_restore, unless_cancelled};
use super::{Job, bounded};

/// Restores what `task` names.
pub async fn restore(job: &Job, task: &RestoreTask) -> Result<v1::RestoreResult, SourceError> {
    let grant = job.grant()?;
    let snapshot = snapshot_id(task)?;
    if job.key.epoch > Epoch(1) {
        sweep(job).await?;
    }
    job.reporter.phase("opening the repository");
    let cancel = &job.commit.cancel;
    let repository = open_for_restore(grant, cancel).await?;
    let reader = unless_cancelled(cancel, repository.open_snapshot(&snapshot)).await?;
    let outcome = job
        .source
        .restore(&request(task), &reader, &job.context())
        .instrument(tracing::info_span!("restore", snapshot = %snapshot.short()))
        .await?;
    Ok(result(job, outcome))
}

async fn sweep(job: &Job) -> Result<(), SourceError> {
    job.reporter.phase("sweeping what an earlier attempt left");
    for swept in job.source.sweep(&job.alive).await? {
        job.reporter.log("info", &format!("swept {swept}"));
    }
    Ok(())
}

fn snapshot_id(task: &RestoreTask) -> Result<SnapshotId, SourceError> {
    let id = task
        .snapshot
        .as_ref()
        .map(|id| SnapshotId::from_str(id.as_str()));
    match id {
        Some(Ok(id)) => Ok(id),
        Some(Err(_)) | None => Err(SourceError::permanent(
            "the coordinator named no snapshot to restore",
            "ask for the restore again, naming the snapshot with --snapshot ID",
        )),
    }
}

fn request(task: &RestoreTask) -> RestoreRequest {
    RestoreRequest {
        databases: task.databases.clone(),
        tables: task.tables.clone(),
        into: task.into.clone(),
        into_schema: task.into_schema.clone(),
        globals: task.globals,
        drop_old: task.drop_old,
        subscriptions: match task.subscriptions {
            Wanted::Refuse => Subscriptions::Refuse,
            Wanted::Skip => Subscriptions::Skip,
            Wanted::Move => Subscriptions::Move,
        },
        disconnect_clients: task.disconnect_clients,
    }
}

fn result(job: &Job, outcome: RestoreOutcome) -> v1::RestoreResult {
    v1::RestoreResult {
        databases: outcome.databases.into_iter().map(restored).collect(),
        read_bytes: job.reporter.restored(),
        warnings: bounded(job, outcome.warnings),
    }
}

fn restored(database: RestoredDatabase) -> v1::RestoredDatabase {
    v1::RestoredDatabase {
        name: database.name,
        restored_as: database.restored_as,
        previous_as: database.previous_as.unwrap_or_default(),
        tables: database.tables,
        rows: database.rows,
    }
}

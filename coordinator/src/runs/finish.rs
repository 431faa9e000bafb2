//! The end of a run, as its agent reports it.
//!
//! Only the current epoch ends a run. What a former epoch reports is acknowledged, so that the agent can forget it, and
//! a snapshot that it names is kept in the catalog as an orphan. State, event and snapshot are written in one transaction,
//! and only then is the agent told, so a report that was lost half-way is simply repeated.

use std::time::Duration;

use holdfast_proto::convert::RunEpoch;
use holdfast_proto::ids::SnapshotId;
use holdfast_proto::run::RunState;
use holdfast_proto::v1;
use holdfast_proto::v1::run_result::Result as Outcome;
use sqlx::AnyConnection;

use super::{announce, failure, report, retry};
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::model::retry::Ending;
use crate::model::run::Step;
use crate::model::snapshot::SnapshotStanding;
use crate::store::runs::{self, RunRecord};
use crate::store::snapshots::{self, SnapshotRecord};
use crate::store::sources;

/// Records what the agent reports of `held`. When it returns, the agent may forget the run.
pub async fn finished(
    coordinator: &Coordinator,
    held: RunEpoch,
    result: v1::RunResult,
) -> Result<()> {
    let outcome = result
        .result
        .clone()
        .ok_or_else(|| Fault::Invalid("field result is missing".into()))?;
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    let Some(run) = runs::get(&mut tx, held.run).await? else {
        tracing::warn!(run = %held.run, "an agent finished a run that the state does not know");
        return Ok(());
    };
    if !run.is_held_under(held.epoch) {
        late(&mut tx, &run, held, &outcome, now).await?;
        tx.commit().await?;
        return Ok(());
    }
    let mut run = report::ensure_running(&mut tx, run, now).await?;
    if let Some(latest) = coordinator.pulses.latest(run.id) {
        run.progress = latest;
    }
    let after = match outcome {
        Outcome::Backup(backup) => succeed_backup(&mut tx, &run, &backup, result, now).await?,
        Outcome::Restore(_) if run.kind() == v1::RunKind::Restore => {
            succeed(&mut tx, &run, result, now).await?
        }
        Outcome::DroppedCopy(_) if run.kind() == v1::RunKind::DropCopy => {
            succeed(&mut tx, &run, result, now).await?
        }
        Outcome::Restore(_) | Outcome::DroppedCopy(_) => {
            let result = failure(
                v1::FailureClass::Permanent,
                "the agent reported the end of another kind of run",
                "update agent and coordinator to the same version",
            );
            fail(&mut tx, &run, result, now).await?
        }
        Outcome::Failure(reported) => {
            let ending = match reported.class() {
                v1::FailureClass::Retryable => Ending::Retryable,
                _ => Ending::Final,
            };
            end_attempt(coordinator, &mut tx, &run, ending, result, now).await?
        }
        Outcome::CancelledBy(who) => cancelled(coordinator, &mut tx, &run, &who, now).await?,
    };
    tx.commit().await?;
    if let Some(after) = after {
        announce(coordinator, &after);
    }
    Ok(())
}

async fn succeed(
    connection: &mut AnyConnection,
    run: &RunRecord,
    result: v1::RunResult,
    now: i64,
) -> Result<Option<RunRecord>> {
    let done = runs::advance(connection, run, Step::Succeed, now, |run| {
        run.result = Some(result);
    });
    Ok(done.await?)
}

async fn fail(
    connection: &mut AnyConnection,
    run: &RunRecord,
    result: v1::RunResult,
    now: i64,
) -> Result<Option<RunRecord>> {
    let done = runs::advance(connection, run, Step::Fail, now, |run| {
        run.result = Some(result);
    });
    Ok(done.await?)
}

/// A backup succeeds with the snapshot that it, or an earlier epoch, was permitted to commit, and with no other.
async fn succeed_backup(
    connection: &mut AnyConnection,
    run: &RunRecord,
    backup: &v1::BackupResult,
    result: v1::RunResult,
    now: i64,
) -> Result<Option<RunRecord>> {
    let snapshot: SnapshotId = holdfast_proto::convert::id("snapshot_id", &backup.snapshot_id)?;
    let fits =
        run.kind() == v1::RunKind::Backup && run.permitted_snapshot.as_ref() == Some(&snapshot);
    let standing = if fits {
        SnapshotStanding::Committed
    } else {
        SnapshotStanding::Orphan
    };
    let record = snapshot_record(
        connection,
        run,
        run.epoch.0,
        snapshot,
        backup,
        standing,
        now,
    )
    .await?;
    snapshots::put(connection, &record).await?;
    if fits {
        return succeed(connection, run, result, now).await;
    }
    let result = failure(
        v1::FailureClass::Permanent,
        "the agent reported a snapshot that it was not permitted to commit",
        "the snapshot is kept as an orphan; look at the agent's log",
    );
    fail(connection, run, result, now).await
}

async fn end_attempt(
    coordinator: &Coordinator,
    connection: &mut AnyConnection,
    run: &RunRecord,
    ending: Ending,
    result: v1::RunResult,
    now: i64,
) -> Result<Option<RunRecord>> {
    // An operator who asked to cancel is not to see another attempt.
    if let Some(operator) = &run.cancelled_by
        && run.state == RunState::Running
    {
        return cancel(connection, run, operator, now).await;
    }
    let permission = match run.state {
        RunState::Committing => coordinator.config.runs.commit_window,
        _ => Duration::ZERO,
    };
    retry::after_attempt(
        coordinator,
        connection,
        run,
        ending,
        result,
        permission,
        now,
    )
    .await
}

async fn cancelled(
    coordinator: &Coordinator,
    connection: &mut AnyConnection,
    run: &RunRecord,
    who: &str,
    now: i64,
) -> Result<Option<RunRecord>> {
    match &run.cancelled_by {
        Some(operator) if run.state == RunState::Running => {
            cancel(connection, run, operator, now).await
        }
        _ => {
            // Nobody here asked: the agent was stopped.
            let text = format!("the agent ended the run by itself ({who})");
            let result = failure(v1::FailureClass::Retryable, &text, "");
            end_attempt(coordinator, connection, run, Ending::Retryable, result, now).await
        }
    }
}

async fn cancel(
    connection: &mut AnyConnection,
    run: &RunRecord,
    operator: &str,
    now: i64,
) -> Result<Option<RunRecord>> {
    let result = v1::RunResult {
        result: Some(Outcome::CancelledBy(operator.into())),
    };
    let done = runs::advance(connection, run, Step::Cancel, now, |run| {
        run.result = Some(result);
    });
    Ok(done.await?)
}

/// A report of an epoch that is not current: repeated, or too late.
async fn late(
    connection: &mut AnyConnection,
    run: &RunRecord,
    held: RunEpoch,
    outcome: &Outcome,
    now: i64,
) -> Result<()> {
    let Outcome::Backup(backup) = outcome else {
        return Ok(());
    };
    let snapshot: SnapshotId = holdfast_proto::convert::id("snapshot_id", &backup.snapshot_id)?;
    let known = run
        .result
        .as_ref()
        .and_then(|result| result.result.as_ref());
    if matches!(known, Some(Outcome::Backup(done)) if done.snapshot_id == backup.snapshot_id) {
        return Ok(());
    }
    tracing::warn!(run = %run.id, epoch = held.epoch.0, snapshot = snapshot.short(), "an orphan snapshot");
    let standing = SnapshotStanding::Orphan;
    let record = snapshot_record(
        connection,
        run,
        held.epoch.0,
        snapshot,
        backup,
        standing,
        now,
    )
    .await?;
    Ok(snapshots::put(connection, &record).await?)
}

async fn snapshot_record(
    connection: &mut AnyConnection,
    run: &RunRecord,
    epoch: u64,
    id: SnapshotId,
    backup: &v1::BackupResult,
    standing: SnapshotStanding,
    now: i64,
) -> Result<SnapshotRecord> {
    let source = sources::get(connection, &run.source).await?;
    let info = source.map(|source| source.info).unwrap_or_default();
    let method = match &run.spec.detail {
        Some(v1::run_spec::Detail::Backup(backup)) => backup.method.clone(),
        _ => String::new(),
    };
    let tags = [
        format!("run:{}", run.id),
        format!("epoch:{epoch}"),
        format!("kind:{}", info.kind),
        format!("method:{method}"),
    ];
    Ok(SnapshotRecord {
        vault: run.vault.clone(),
        source: run.source.clone(),
        id,
        kind: info.kind,
        method,
        time_micros: match (backup.snapshot_time_micros, run.started_micros) {
            (0, 0) => now,
            (0, started) => started,
            (told, _) => told,
        },
        host: backup.snapshot_host.clone(),
        run_id: run.id.to_string(),
        epoch: holdfast_proto::ids::Epoch(epoch),
        standing,
        read_bytes: backup.read_bytes,
        new_bytes: backup.new_bytes,
        stored_bytes: backup.stored_bytes,
        tags: tags.into(),
        manifest: backup.manifest_json.clone(),
    })
}

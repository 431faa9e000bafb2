//! A backup: open the repository, stream the source into it, ask, write the snapshot.
//!
//! The order is the argument. Everything the snapshot refers to is stored first; then the coordinator permits this
//! epoch to commit this snapshot; then the snapshot is written, before the permission runs out or not at all. A
//! stream that fails, a cancel, a refusal or a late answer end before the last step, and leave packs that a later
//! backup uses again, never a snapshot. An attempt after the first looks for the snapshot an earlier one was
//! permitted to write: when it is there, the run was done and only the word of it was lost.

use holdfast_proto::convert::BackupTask;
use holdfast_proto::ids::Epoch;
use holdfast_proto::v1;
use holdfast_sources::{BackupOutcome, BackupRequest, Method, Reporter as _, SourceError};
use holdfast_vault::{
    BackupOptions, BackupSummary, FileKind, PreparedSnapshot, Repository, SnapshotId,
};
use jiff::Timestamp;
use tracing::Instrument as _;

use super::storage::{open_for_backup, unless_cancelled};
use super::{Job, bounded};
use crate::held::event::Question;

/// Longest manifest sent along for display; a longer one is read from the snapshot by whoever wants to see it.
const MAX_MANIFEST_BYTES: usize = 1024 * 1024;

/// Backs the source up.
pub async fn back_up(job: &Job, task: &BackupTask) -> Result<v1::BackupResult, SourceError> {
    let grant = job.grant()?;
    let method = method(job, task)?;
    job.reporter.phase("opening the repository");
    let repository = open_for_backup(grant, &job.commit.cancel).await?;
    if let Some(done) = committed_before(job, &repository).await? {
        return Ok(done);
    }
    let time = Timestamp::now();
    let (prepared, outcome) = store(job, method, time, &repository).await?;
    let summary = *prepared.summary();
    let id = commit(job, prepared).await?;
    Ok(result(job, &id, time, &summary, outcome))
}

fn method(job: &Job, task: &BackupTask) -> Result<Method, SourceError> {
    let methods = job.source.methods();
    let found = match &task.method {
        None => methods.first(),
        Some(wanted) => methods.iter().find(|method| method.as_str() == wanted),
    };
    found.copied().ok_or_else(|| {
        let known: Vec<_> = methods.iter().map(|method| method.as_str()).collect();
        SourceError::permanent(
            format!(
                "source {} has no method {:?}",
                job.source.name(),
                task.method.as_deref().unwrap_or("")
            ),
            format!("its methods are: {}", known.join(", ")),
        )
    })
}

/// Streams the source into the repository. On any failure nothing is left but packs.
async fn store(
    job: &Job,
    method: Method,
    time: Timestamp,
    repository: &Repository,
) -> Result<(PreparedSnapshot, BackupOutcome), SourceError> {
    let begun = repository.begin_backup(options(job, method, time));
    let writer = unless_cancelled(&job.commit.cancel, begun).await?;
    let request = BackupRequest { method };
    let backed_up = job
        .source
        .backup(&request, &writer, &job.context())
        .instrument(tracing::info_span!("dump", method = method.as_str()))
        .await;
    let outcome = match backed_up {
        Ok(outcome) if !job.commit.cancel.is_cancelled() => outcome,
        Ok(_) => {
            writer.abort().await;
            return Err(SourceError::Cancelled);
        }
        Err(error) => {
            writer.abort().await;
            return Err(error);
        }
    };
    job.reporter.phase("storing the last packs and the index");
    let finished = writer.finish().instrument(tracing::info_span!("finish"));
    Ok((finished.await?, outcome))
}

fn options(job: &Job, method: Method, time: Timestamp) -> BackupOptions {
    let settings = &job.settings;
    BackupOptions {
        tags: vec![
            format!("run:{}", job.key.run),
            format!("epoch:{}", job.key.epoch),
            format!("kind:{}", job.source.kind().as_str()),
            format!("method:{}", method.as_str()),
        ],
        time,
        cancel: job.commit.cancel.clone(),
        stats: job.reporter.stats(),
        pack_size: settings.pack_size_bytes(),
        uploads: settings.uploads,
        threads: settings.threads,
        memory_budget_bytes: settings.memory_budget,
        ..BackupOptions::new(&job.agent, format!("/{}", job.source.name()))
    }
}

/// Asks, and writes the snapshot while the permission lasts.
async fn commit(job: &Job, prepared: PreparedSnapshot) -> Result<SnapshotId, SourceError> {
    job.reporter.phase("waiting for the permission to commit");
    let question = Question {
        snapshot_id: prepared.id().to_hex(),
        snapshot_bytes: prepared.bytes().len() as u64,
    };
    let permit = match job.commit.ask(question).await {
        Ok(permit) => permit,
        Err(error) => {
            prepared.abandon().await;
            return Err(error);
        }
    };
    job.reporter.phase("writing the snapshot");
    let written = prepared.commit(permit.until, permit.put);
    Ok(written.instrument(tracing::info_span!("commit")).await?)
}

fn result(
    job: &Job,
    id: &SnapshotId,
    time: Timestamp,
    summary: &BackupSummary,
    outcome: BackupOutcome,
) -> v1::BackupResult {
    v1::BackupResult {
        snapshot_id: id.to_hex(),
        read_bytes: summary.read_bytes,
        new_bytes: summary.new_bytes,
        stored_bytes: summary.stored_bytes,
        files: summary.files,
        manifest_json: displayed(job, &outcome.manifest_json),
        warnings: bounded(job, outcome.warnings),
        snapshot_time_micros: time.as_microsecond(),
        snapshot_host: job.agent.clone(),
    }
}

fn displayed(job: &Job, manifest: &str) -> String {
    if manifest.len() <= MAX_MANIFEST_BYTES {
        return holdfast_proto::manifest::shown(manifest);
    }
    job.reporter.log(
        "info",
        "the manifest is too long to show here; it is in the snapshot as manifest.json",
    );
    String::new()
}

/// The result of an earlier attempt that was permitted to commit and did, though its word was lost.
async fn committed_before(
    job: &Job,
    repository: &Repository,
) -> Result<Option<v1::BackupResult>, SourceError> {
    let Some(permitted) = &job.permitted_snapshot else {
        return Ok(None);
    };
    if job.key.epoch <= Epoch(1) {
        return Ok(None);
    }
    job.reporter
        .phase("looking for the snapshot of an earlier attempt");
    let run = job.key.run.to_string();
    let snapshots = unless_cancelled(&job.commit.cancel, repository.snapshots()).await?;
    let found = snapshots.into_iter().find(|info| {
        info.id.to_hex() == permitted.as_str() && info.snapshot.tag("run") == Some(&run)
    });
    match found {
        Some(info) => result_of_snapshot(job, repository, &info.id)
            .await
            .map(Some),
        None => Ok(None),
    }
}

/// What can still be told of a backup from its snapshot alone.
async fn result_of_snapshot(
    job: &Job,
    repository: &Repository,
    id: &SnapshotId,
) -> Result<v1::BackupResult, SourceError> {
    let short = id.short();
    let found = format!("an earlier attempt of this run has written snapshot {short}");
    job.reporter.log("info", &found);
    let cancel = &job.commit.cancel;
    let reader = unless_cancelled(cancel, repository.open_snapshot(id)).await?;
    let mut files = unless_cancelled(cancel, reader.files()).await?;
    files.retain(|file| file.kind == FileKind::File);
    let path = format!("/{}/manifest.json", job.source.name());
    let manifest = files.iter().find(|file| file.path == path);
    let manifest_json = match manifest {
        Some(file) if file.size_bytes <= MAX_MANIFEST_BYTES as u64 => {
            let read = reader.read_bytes(&path, MAX_MANIFEST_BYTES);
            let bytes = unless_cancelled(cancel, read).await?;
            displayed(job, &String::from_utf8_lossy(&bytes))
        }
        _ => String::new(),
    };
    Ok(v1::BackupResult {
        snapshot_id: id.to_hex(),
        read_bytes: files.iter().map(|file| file.size_bytes).sum(),
        files: files.len() as u64,
        manifest_json,
        snapshot_time_micros: reader.snapshot().time.as_microsecond(),
        snapshot_host: reader.snapshot().hostname.clone(),
        ..Default::default()
    })
}

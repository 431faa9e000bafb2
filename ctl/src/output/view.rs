//! The JSON of `--json`. The field names are a promise to scripts: they are listed in `JSON.md`, and only ever added to.
//!
//! Times are RFC 3339 in UTC; what is not known is `null`; sizes are bytes.

use holdfast_proto::{convert::run_state, v1};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::output::human::time;

/// A run.
#[derive(Serialize)]
pub struct RunView {
    id: String,
    kind: &'static str,
    source: String,
    vault: Option<String>,
    agent: Option<String>,
    state: &'static str,
    epoch: u64,
    attempt: u32,
    requested_by: String,
    created_at: Option<Timestamp>,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    waiting_for: Option<String>,
    after_run_id: Option<String>,
    method: Option<String>,
    restore: Option<RestoreView>,
    dropped_copy: Option<String>,
    progress: Option<ProgressView>,
    result: Option<ResultView>,
    failure: Option<FailureView>,
    cancelled_by: Option<String>,
}

#[derive(Serialize)]
struct RestoreView {
    snapshot_id: String,
    from_source: String,
    databases: Vec<String>,
    tables: Vec<String>,
    into: Option<String>,
    into_schema: Option<String>,
    globals: bool,
    drop_old: bool,
}

/// How far a run is.
#[derive(Serialize)]
pub struct ProgressView {
    phase: String,
    read_bytes: u64,
    new_bytes: u64,
    stored_bytes: u64,
    expected_bytes: Option<u64>,
    eta_seconds: Option<u64>,
}

/// What a run that succeeded came to.
#[derive(Serialize, Default)]
struct ResultView {
    snapshot_id: Option<String>,
    files: Option<u64>,
    read_bytes: u64,
    new_bytes: Option<u64>,
    stored_bytes: Option<u64>,
    databases: Option<Vec<RestoredView>>,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct RestoredView {
    name: String,
    restored_as: String,
    previous_as: Option<String>,
    tables: u64,
    rows: u64,
}

#[derive(Serialize)]
struct FailureView {
    class: &'static str,
    message: String,
    hint: Option<String>,
}

impl From<&v1::Run> for RunView {
    fn from(run: &v1::Run) -> Self {
        let spec = run.spec.clone().unwrap_or_default();
        let mut view = Self {
            id: run.id.clone(),
            kind: kind(&spec),
            source: spec.source,
            vault: filled(&spec.vault),
            agent: filled(&run.agent),
            state: state(run.state),
            epoch: run.epoch,
            attempt: run.attempt,
            requested_by: run.requested_by.clone(),
            created_at: time(run.created_at_micros),
            started_at: time(run.started_at_micros),
            finished_at: time(run.finished_at_micros),
            waiting_for: filled(&run.waiting_for),
            after_run_id: filled(&run.after_run_id),
            method: None,
            restore: None,
            dropped_copy: None,
            progress: run.progress.as_ref().map(ProgressView::from),
            result: None,
            failure: None,
            cancelled_by: None,
        };
        view.add_detail(spec.detail);
        view.add_result(run.result.clone().and_then(|result| result.result));
        view
    }
}

impl RunView {
    fn add_detail(&mut self, detail: Option<v1::run_spec::Detail>) {
        match detail {
            Some(v1::run_spec::Detail::Backup(backup)) => self.method = filled(&backup.method),
            Some(v1::run_spec::Detail::Restore(restore)) => {
                self.restore = Some(RestoreView {
                    into: filled(&restore.into),
                    into_schema: filled(&restore.into_schema),
                    snapshot_id: restore.snapshot_id,
                    from_source: restore.from_source,
                    databases: restore.databases,
                    tables: restore.tables,
                    globals: restore.globals,
                    drop_old: restore.drop_old,
                });
            }
            Some(v1::run_spec::Detail::DropCopy(copy)) => self.dropped_copy = Some(copy.database),
            None => {}
        }
    }

    fn add_result(&mut self, result: Option<v1::run_result::Result>) {
        use v1::run_result::Result as Outcome;
        match result {
            Some(Outcome::Backup(backup)) => self.result = Some(backup.into()),
            Some(Outcome::Restore(restore)) => self.result = Some(restore.into()),
            Some(Outcome::Failure(failure)) => self.failure = Some(failure.into()),
            Some(Outcome::CancelledBy(who)) => self.cancelled_by = Some(who),
            Some(Outcome::DroppedCopy(name)) => self.dropped_copy = Some(name),
            None => {}
        }
    }
}

impl From<v1::BackupResult> for ResultView {
    fn from(backup: v1::BackupResult) -> Self {
        Self {
            snapshot_id: filled(&backup.snapshot_id),
            files: Some(backup.files),
            read_bytes: backup.read_bytes,
            new_bytes: Some(backup.new_bytes),
            stored_bytes: Some(backup.stored_bytes),
            databases: None,
            warnings: backup.warnings,
        }
    }
}

impl From<v1::RestoreResult> for ResultView {
    fn from(restore: v1::RestoreResult) -> Self {
        let database = |database: v1::RestoredDatabase| RestoredView {
            previous_as: filled(&database.previous_as),
            name: database.name,
            restored_as: database.restored_as,
            tables: database.tables,
            rows: database.rows,
        };
        Self {
            read_bytes: restore.read_bytes,
            databases: Some(restore.databases.into_iter().map(database).collect()),
            warnings: restore.warnings,
            ..Self::default()
        }
    }
}

impl From<v1::Failure> for FailureView {
    fn from(failure: v1::Failure) -> Self {
        let class = match v1::FailureClass::try_from(failure.class) {
            Ok(v1::FailureClass::Retryable) => "retryable",
            Ok(v1::FailureClass::Permanent) => "permanent",
            Ok(v1::FailureClass::Refused) => "refused",
            _ => "unknown",
        };
        Self {
            class,
            hint: filled(&failure.hint),
            message: failure.message,
        }
    }
}

impl From<&v1::Progress> for ProgressView {
    fn from(progress: &v1::Progress) -> Self {
        let known = |number: u64| (number != 0).then_some(number);
        Self {
            phase: progress.phase.clone(),
            read_bytes: progress.read_bytes,
            new_bytes: progress.new_bytes,
            stored_bytes: progress.stored_bytes,
            expected_bytes: known(progress.expected_bytes),
            eta_seconds: known(progress.eta_seconds),
        }
    }
}

/// The word for a run's state; `unknown` from a newer coordinator.
pub fn state(value: i32) -> &'static str {
    run_state(value).map_or("unknown", |state| state.as_str())
}

/// The word for what a run does.
pub fn kind(spec: &v1::RunSpec) -> &'static str {
    match v1::RunKind::try_from(spec.kind) {
        Ok(v1::RunKind::Backup) => "backup",
        Ok(v1::RunKind::Restore) => "restore",
        Ok(v1::RunKind::DropCopy) => "drop-copy",
        _ => "unknown",
    }
}

/// The wire's empty text is "not given".
pub fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A document that came as text; `null` when there is none or it is not JSON.
pub fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

//! Runs: every change is one conditional update that names the expected state and epoch, together with its event row.

use holdfast_proto::ids::{AgentId, Epoch, RunId, SnapshotId};
use holdfast_proto::run::RunState;
use holdfast_proto::v1;
use prost::Message as _;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::Result;
use super::row::{Columns, int};
use super::run_events;
use crate::model::run::{Step, next};

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// The source backed up, or restored into.
    pub source: String,
    /// The vault's name; empty where the work needs none.
    pub vault: String,
    /// The agent it is for.
    pub agent: AgentId,
    /// What is to be done, resolved.
    pub spec: v1::RunSpec,
    /// The operator who asked.
    pub requested_by: String,
    /// The same key starts nothing new.
    pub idempotency_key: Option<String>,
    /// W3C traceparent of the request.
    pub traceparent: String,
    /// The run that must succeed first.
    pub after_run: Option<RunId>,
    /// Where it stands.
    pub state: RunState,
    /// How often it was handed out.
    pub epoch: Epoch,
    /// Attempts begun; hand-outs that never left the coordinator included.
    pub attempt: u32,
    /// When it was asked for.
    pub created_micros: i64,
    /// When it was handed out first; 0: not yet.
    pub started_micros: i64,
    /// When it ended; 0: not yet.
    pub finished_micros: i64,
    /// Not handed out before.
    pub not_before_micros: i64,
    /// Who asked to cancel it.
    pub cancelled_by: Option<String>,
    /// The last epoch that was permitted to commit.
    pub permitted_epoch: Epoch,
    /// And which snapshot; `None` for work without one.
    pub permitted_snapshot: Option<SnapshotId>,
    /// How far it was when last written down.
    pub progress: v1::Progress,
    /// How it ended.
    pub result: Option<v1::RunResult>,
    /// The number of its last event.
    pub last_sequence: u64,
}

impl RunRecord {
    /// What kind of work it is.
    #[must_use]
    pub fn kind(&self) -> v1::RunKind {
        self.spec.kind()
    }

    /// The source whose repository the run reads or writes.
    #[must_use]
    pub fn repository(&self) -> &str {
        match &self.spec.detail {
            Some(v1::run_spec::Detail::Restore(restore)) => &restore.from_source,
            _ => &self.source,
        }
    }

    /// Whether `epoch` is the one that an agent holds now.
    #[must_use]
    pub fn is_held_under(&self, epoch: Epoch) -> bool {
        crate::model::run::is_handed_out(self.state) && self.epoch == epoch
    }

    fn read(row: &AnyRow) -> Result<Self> {
        let columns = Columns::new("runs", row);
        let attempt = columns.count("attempt")?;
        let cancelled_by = columns.text("cancelled_by")?;
        let key = if columns.is_null("idempotency_key")? {
            None
        } else {
            Some(columns.text("idempotency_key")?)
        };
        let result = match columns.bytes("result")?.is_empty() {
            true => None,
            false => Some(columns.message("result")?),
        };
        Ok(Self {
            id: columns.parsed("id")?,
            source: columns.text("source")?,
            vault: columns.text("vault")?,
            agent: columns.parsed("agent_id")?,
            spec: columns.message("spec")?,
            requested_by: columns.text("requested_by")?,
            idempotency_key: key,
            traceparent: columns.text("traceparent")?,
            after_run: columns.parsed_or_none("after_run")?,
            state: columns.parsed("state")?,
            epoch: Epoch(columns.count("epoch")?),
            attempt: u32::try_from(attempt).unwrap_or(u32::MAX),
            created_micros: columns.int("created_micros")?,
            started_micros: columns.int("started_micros")?,
            finished_micros: columns.int("finished_micros")?,
            not_before_micros: columns.int("not_before_micros")?,
            cancelled_by: (!cancelled_by.is_empty()).then_some(cancelled_by),
            permitted_epoch: Epoch(columns.count("permitted_epoch")?),
            permitted_snapshot: columns.parsed_or_none("permitted_snapshot")?,
            progress: columns.message("progress")?,
            result,
            last_sequence: columns.count("last_sequence")?,
        })
    }
}

/// Adds a queued run, with its first event.
pub async fn add(connection: &mut AnyConnection, run: &RunRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO runs (id, source, vault, agent_id, spec, requested_by, idempotency_key, traceparent, after_run, state, \
         epoch, attempt, created_micros, started_micros, finished_micros, not_before_micros, cancelled_by, permitted_epoch, \
         permitted_snapshot, progress, result, last_sequence) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'queued', 0, 0, $10, 0, 0, 0, '', 0, '', $11, $11, 0)",
    )
    .bind(run.id.to_string())
    .bind(run.source.clone())
    .bind(run.vault.clone())
    .bind(run.agent.to_string())
    .bind(run.spec.encode_to_vec())
    .bind(run.requested_by.clone())
    .bind(run.idempotency_key.clone())
    .bind(run.traceparent.clone())
    .bind(run.after_run.map(|id| id.to_string()).unwrap_or_default())
    .bind(run.created_micros)
    .bind(Vec::new())
    .execute(&mut *connection)
    .await?;
    let event = run_events::state(RunState::Queued);
    run_events::append(
        connection,
        run.id,
        Epoch::NONE,
        run.created_micros,
        vec![event],
    )
    .await?;
    Ok(())
}

/// Takes `step` from where `run` stands, with what `edit` changes besides the state. `None`, and nothing written: the step
/// is not allowed there, or the run does not stand where `run` says any more.
pub async fn advance(
    connection: &mut AnyConnection,
    run: &RunRecord,
    step: Step,
    now: i64,
    edit: impl FnOnce(&mut RunRecord),
) -> Result<Option<RunRecord>> {
    let Some(state) = next(run.state, step) else {
        return Ok(None);
    };
    let mut after = run.clone();
    after.state = state;
    if state.is_final() {
        after.finished_micros = now;
    }
    edit(&mut after);
    if !update(connection, run, &after).await? {
        return Ok(None);
    }
    let event = run_events::state(state);
    after.last_sequence =
        run_events::append(connection, run.id, after.epoch, now, vec![event]).await?;
    Ok(Some(after))
}

/// Changes what surrounds the state, under the same condition as [`advance`].
pub async fn amend(
    connection: &mut AnyConnection,
    run: &RunRecord,
    edit: impl FnOnce(&mut RunRecord),
) -> Result<Option<RunRecord>> {
    let mut after = run.clone();
    edit(&mut after);
    Ok(update(connection, run, &after).await?.then_some(after))
}

async fn update(
    connection: &mut AnyConnection,
    before: &RunRecord,
    after: &RunRecord,
) -> Result<bool> {
    let result = after.result.as_ref().map(v1::RunResult::encode_to_vec);
    let permitted = after.permitted_snapshot.clone().map(String::from);
    let done = sqlx::query(
        "UPDATE runs SET state = $4, epoch = $5, attempt = $6, started_micros = $7, finished_micros = $8, \
         not_before_micros = $9, cancelled_by = $10, permitted_epoch = $11, permitted_snapshot = $12, progress = $13, \
         result = $14 WHERE id = $1 AND state = $2 AND epoch = $3",
    )
    .bind(before.id.to_string())
    .bind(before.state.as_str())
    .bind(int(before.epoch.0))
    .bind(after.state.as_str())
    .bind(int(after.epoch.0))
    .bind(i64::from(after.attempt))
    .bind(after.started_micros)
    .bind(after.finished_micros)
    .bind(after.not_before_micros)
    .bind(after.cancelled_by.clone().unwrap_or_default())
    .bind(int(after.permitted_epoch.0))
    .bind(permitted.unwrap_or_default())
    .bind(after.progress.encode_to_vec())
    .bind(result.unwrap_or_default())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The run with this id.
pub async fn get(connection: &mut AnyConnection, id: RunId) -> Result<Option<RunRecord>> {
    let row = sqlx::query("SELECT * FROM runs WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(RunRecord::read).transpose()
}

/// Up to `limit` runs whose id begins with `prefix` (hex digits and hyphens only, or nothing is found).
pub async fn by_prefix(
    connection: &mut AnyConnection,
    prefix: &str,
    limit: i64,
) -> Result<Vec<RunRecord>> {
    if !prefix.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("SELECT * FROM runs WHERE id LIKE $1 ORDER BY id LIMIT $2")
        .bind(format!("{}%", prefix.to_ascii_lowercase()))
        .bind(limit)
        .fetch_all(connection)
        .await?;
    rows.iter().map(RunRecord::read).collect()
}

/// The run that was started with this key.
pub async fn by_idempotency_key(
    connection: &mut AnyConnection,
    key: &str,
) -> Result<Option<RunRecord>> {
    let row = sqlx::query("SELECT * FROM runs WHERE idempotency_key = $1")
        .bind(key)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(RunRecord::read).transpose()
}

/// Runs that have not ended, oldest first.
pub async fn unfinished(connection: &mut AnyConnection) -> Result<Vec<RunRecord>> {
    let rows = sqlx::query(
        "SELECT * FROM runs WHERE state IN ('queued', 'assigned', 'running', 'committing') ORDER BY created_micros, id",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(RunRecord::read).collect()
}

/// Which runs to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Empty: all.
    pub source: String,
    /// Empty: all.
    pub states: Vec<RunState>,
    /// At most so many.
    pub limit: i64,
}

/// Runs, newest first.
pub async fn list(connection: &mut AnyConnection, filter: &Filter) -> Result<Vec<RunRecord>> {
    let wanted = |state: RunState| filter.states.is_empty() || filter.states.contains(&state);
    let mut query = sqlx::query(
        "SELECT * FROM runs WHERE ($1 = '' OR source = $1) AND ((state = 'queued' AND $3 = 1) OR (state = 'assigned' AND $4 = 1) \
         OR (state = 'running' AND $5 = 1) OR (state = 'committing' AND $6 = 1) OR (state = 'succeeded' AND $7 = 1) \
         OR (state = 'failed' AND $8 = 1) OR (state = 'cancelled' AND $9 = 1) OR (state = 'lost' AND $10 = 1)) \
         ORDER BY created_micros DESC, id DESC LIMIT $2",
    )
    .bind(filter.source.clone())
    .bind(filter.limit);
    for state in RunState::ALL {
        query = query.bind(i64::from(wanted(state)));
    }
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(RunRecord::read).collect()
}

/// The newest run of each source.
pub async fn newest_of_each_source(connection: &mut AnyConnection) -> Result<Vec<RunRecord>> {
    let rows = sqlx::query(
        "SELECT * FROM runs WHERE id IN (SELECT max(id) FROM runs GROUP BY source) ORDER BY source",
    )
    .fetch_all(connection)
    .await?;
    rows.iter().map(RunRecord::read).collect()
}

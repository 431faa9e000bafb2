//! Starts a run: resolves what the operator named, and queues it.
//!
//! Steps: check the request; repeat the answer to a repeated request; find source, agent, vault and snapshot; refuse what
//! cannot work; then, in one transaction, queue the safety backup where one goes first, queue the run, write the audit row.

use holdfast_proto::convert::{RunOrder, RunTask};
use holdfast_proto::ids::{AgentId, Epoch, RunId};
use holdfast_proto::run::RunState;
use holdfast_proto::v1;
use sqlx::AnyConnection;

use super::{announce, resolve};
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::store::runs::{self, RunRecord};
use crate::store::sources::SourceRecord;
use crate::store::{agents, audit, sources, vaults};

/// Longest idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 200;

/// What was started.
#[derive(Debug)]
pub struct Started {
    /// The run.
    pub run: RunRecord,
    /// The backup that goes before it.
    pub safety: Option<RunRecord>,
}

/// Starts what `request` asks for.
pub async fn start(
    coordinator: &Coordinator,
    request: v1::StartRunRequest,
    operator: &str,
    traceparent: &str,
) -> Result<Started> {
    if request.idempotency_key.len() > MAX_KEY_BYTES {
        return Err(Fault::Invalid(format!(
            "field idempotency_key: longer than {MAX_KEY_BYTES} bytes"
        )));
    }
    let spec = request
        .spec
        .clone()
        .ok_or_else(|| Fault::Invalid("field spec is missing".into()))?;
    let order = RunOrder::try_from(spec)?;
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    if let Some(started) = started_before(&mut tx, &request.idempotency_key).await? {
        return Ok(started);
    }
    let source = find_source(&mut tx, &order.source, &request.agent).await?;
    let plan = Plan {
        agent: source.agent_id,
        requested_by: operator,
        traceparent,
        now,
    };
    let (spec, foreign) = resolved(&mut tx, &source, order, &request.snapshot).await?;

    let safety = match safety_backup(&mut tx, &source, &spec, request.no_safety).await? {
        Some(spec) => {
            let run = plan.run(spec, None, None);
            runs::add(&mut tx, &run).await?;
            Some(run)
        }
        None => None,
    };
    let key = Some(request.idempotency_key).filter(|key| !key.is_empty());
    let run = plan.run(spec, safety.as_ref().map(|run| run.id), key);
    runs::add(&mut tx, &run).await?;
    let actor = format!("operator {operator}");
    let detail = describe(&run, foreign.as_deref());
    audit::add(
        &mut tx,
        now,
        &actor,
        "run.start",
        &run.id.to_string(),
        &detail,
    )
    .await?;
    tx.commit().await?;
    for run in safety.iter().chain([&run]) {
        announce(coordinator, run);
    }
    Ok(Started { run, safety })
}

struct Plan<'a> {
    agent: AgentId,
    requested_by: &'a str,
    traceparent: &'a str,
    now: i64,
}

impl Plan<'_> {
    fn run(&self, spec: v1::RunSpec, after_run: Option<RunId>, key: Option<String>) -> RunRecord {
        RunRecord {
            id: RunId::new(),
            source: spec.source.clone(),
            vault: spec.vault.clone(),
            agent: self.agent,
            spec,
            requested_by: self.requested_by.into(),
            idempotency_key: key,
            traceparent: self.traceparent.into(),
            after_run,
            state: RunState::Queued,
            epoch: Epoch::NONE,
            attempt: 0,
            created_micros: self.now,
            started_micros: 0,
            finished_micros: 0,
            not_before_micros: 0,
            cancelled_by: None,
            permitted_epoch: Epoch::NONE,
            permitted_snapshot: None,
            progress: v1::Progress::default(),
            result: None,
            last_sequence: 1,
        }
    }
}

async fn started_before(connection: &mut AnyConnection, key: &str) -> Result<Option<Started>> {
    if key.is_empty() {
        return Ok(None);
    }
    let Some(run) = runs::by_idempotency_key(connection, key).await? else {
        return Ok(None);
    };
    let safety = match run.after_run {
        Some(first) => runs::get(connection, first).await?,
        None => None,
    };
    Ok(Some(Started { run, safety }))
}

async fn find_source(
    connection: &mut AnyConnection,
    name: &str,
    agent_name: &str,
) -> Result<SourceRecord> {
    let source = sources::get(connection, name).await?.ok_or_else(|| {
        Fault::NotFound(format!("no agent has announced a source {name}"))
            .hint("holdfastctl source list shows those that are known; sources stand in the agent's agent.toml")
    })?;
    let agent = agents::get(connection, source.agent_id).await?;
    let owner = agent
        .as_ref()
        .map_or("an unknown agent", |agent| agent.name.as_str());
    if !agent_name.is_empty() && agent_name != owner {
        return Err(Fault::NotFound(format!(
            "agent {agent_name} has no source {name}; agent {owner} has"
        )));
    }
    if agent.as_ref().is_none_or(|agent| agent.revoked_micros > 0) {
        return Err(Fault::Refused(format!(
            "agent {owner}, which has source {name}, was revoked"
        ))
        .hint("invite it again, or announce the source by another agent"));
    }
    if !source.announced {
        return Err(Fault::Refused(format!("agent {owner} does not announce source {name} any more"))
            .hint("put it back into the agent's agent.toml, or restore to another source with --to AGENT/SOURCE"));
    }
    Ok(source)
}

/// The spec with vault, method and snapshot filled in, and the other source that a restore reads from.
async fn resolved(
    connection: &mut AnyConnection,
    source: &SourceRecord,
    order: RunOrder,
    snapshot: &str,
) -> Result<(v1::RunSpec, Option<String>)> {
    let wanted_vault = order.vault.clone().unwrap_or_default();
    let mut spec = v1::RunSpec::from(order.clone());
    match order.task {
        RunTask::Backup(backup) => {
            let method = chosen_method(source, backup.method)?;
            spec.detail = Some(v1::run_spec::Detail::Backup(v1::BackupSpec { method }));
            spec.vault = vault_or_default(connection, &wanted_vault).await?;
            Ok((spec, None))
        }
        RunTask::Restore(restore) => {
            let typed = restore.snapshot.as_ref().map(ToString::to_string);
            let choice = if snapshot.is_empty() {
                typed.unwrap_or_default()
            } else {
                snapshot.into()
            };
            let from = restore.from_source.clone();
            let found = resolve::snapshot_choice(connection, &choice, &from, &wanted_vault).await?;
            check_restorable(source, &found)?;
            spec.vault.clone_from(&found.vault);
            if let Some(restore) = resolve::restore_of(&mut spec) {
                restore.snapshot_id = found.id.into();
            }
            Ok((spec, (from != source.name).then_some(from)))
        }
        RunTask::DropCopy { .. } => {
            // The work is in the service alone.
            spec.vault = String::new();
            Ok((spec, None))
        }
    }
}

fn chosen_method(source: &SourceRecord, method: Option<String>) -> Result<String> {
    let offered = &source.info.methods;
    match method {
        None => offered.first().cloned().ok_or_else(|| {
            Fault::Refused(format!(
                "the agent offers no method to back source {} up",
                source.name
            ))
        }),
        Some(method) if offered.contains(&method) => Ok(method),
        Some(method) => Err(Fault::Invalid(format!(
            "source {} cannot be backed up by {method:?}; its agent offers {}",
            source.name,
            offered.join(", ")
        ))),
    }
}

async fn vault_or_default(connection: &mut AnyConnection, name: &str) -> Result<String> {
    if name.is_empty() {
        return match vaults::default(connection).await? {
            Some(vault) => Ok(vault.name),
            None => Err(Fault::Refused("there is no default vault".into())
                .hint("holdfastctl vault add NAME s3://bucket/prefix, or name one with --vault")),
        };
    }
    match vaults::get(connection, name).await? {
        Some(vault) => Ok(vault.name),
        None => {
            Err(Fault::NotFound(format!("no vault {name}"))
                .hint("holdfastctl vault list shows them"))
        }
    }
}

fn check_restorable(
    source: &SourceRecord,
    found: &crate::store::snapshots::SnapshotRecord,
) -> Result<()> {
    use crate::model::snapshot::SnapshotStanding;
    if found.standing == SnapshotStanding::Missing {
        return Err(Fault::Refused(format!(
            "snapshot {} is not in vault {} any more",
            found.id.short(),
            found.vault
        ))
        .hint("if it is there again, holdfastctl vault scan finds it"));
    }
    if !found.kind.is_empty() && found.kind != source.info.kind {
        return Err(Fault::Refused(format!(
            "snapshot {} is of kind {}, source {} is of kind {}",
            found.id.short(),
            found.kind,
            source.name,
            source.info.kind
        )));
    }
    Ok(())
}

/// A restore that drops what was there is preceded by a backup of it.
async fn safety_backup(
    connection: &mut AnyConnection,
    source: &SourceRecord,
    spec: &v1::RunSpec,
    no_safety: bool,
) -> Result<Option<v1::RunSpec>> {
    let drops =
        matches!(&spec.detail, Some(v1::run_spec::Detail::Restore(restore)) if restore.drop_old);
    if !drops || no_safety {
        return Ok(None);
    }
    let method = chosen_method(source, None)?;
    Ok(Some(v1::RunSpec {
        kind: v1::RunKind::Backup.into(),
        source: source.name.clone(),
        vault: vault_or_default(connection, "")
            .await
            .or_else(|_| Ok::<_, Fault>(spec.vault.clone()))?,
        detail: Some(v1::run_spec::Detail::Backup(v1::BackupSpec { method })),
    }))
}

fn describe(run: &RunRecord, foreign: Option<&str>) -> String {
    let kind = run
        .kind()
        .as_str_name()
        .trim_start_matches("RUN_KIND_")
        .to_lowercase();
    let mut text = format!("{kind} of source {} by agent {}", run.source, run.agent);
    if !run.vault.is_empty() {
        text.push_str(&format!(", vault {}", run.vault));
    }
    if let Some(v1::run_spec::Detail::Restore(restore)) = &run.spec.detail {
        text.push_str(&format!(", snapshot {}", restore.snapshot_id));
    }
    if let Some(other) = foreign {
        text.push_str(&format!(", with the password of source {other}"));
    }
    text
}

//! Everything at a glance, and what a person should look at.

use holdfast_proto::{v1, version};

use super::{agents, sources};
use crate::clock::readable;
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::runs::view::Viewer;
use crate::store::agents as agent_rows;
use crate::store::agents::AgentRecord;
use crate::store::{runs, vaults as vault_rows};
use crate::vaults::view;

/// A clock that is further off than this is told.
const CLOCK_SKEW_MILLIS: i64 = 5000;

pub async fn status(coordinator: &Coordinator) -> Result<v1::StatusResponse> {
    let (active, agent_records, vaults) = {
        let mut connection = coordinator.store.read().await?;
        let active = runs::unfinished(&mut connection).await?;
        let agent_records = agent_rows::list(&mut connection).await?;
        let mut vaults = Vec::new();
        for vault in vault_rows::list(&mut connection).await? {
            vaults.push(view::shown(&mut connection, vault).await?);
        }
        (active, agent_records, vaults)
    };
    let viewer = Viewer::new(coordinator).await?;
    let agents = agents::list(coordinator).await?;
    let sources = sources::list(coordinator).await?;
    let attention = attention(&agent_records, &agents, &sources, &vaults);
    Ok(v1::StatusResponse {
        version: Some(version::own()),
        started_at_micros: coordinator.started_micros,
        database: coordinator.store.database().as_str().into(),
        agents,
        sources,
        vaults,
        active_runs: active.into_iter().map(|run| viewer.run(run)).collect(),
        attention,
    })
}

/// Most urgent first: what endangers data now, then what will, then what is merely odd.
fn attention(
    records: &[AgentRecord],
    agents: &[v1::Agent],
    sources: &[v1::Source],
    vaults: &[v1::Vault],
) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(records.iter().filter_map(displaced));
    lines.extend(sources.iter().filter_map(last_run_failed));
    lines.extend(sources.iter().filter_map(never_backed_up));
    lines.extend(agents.iter().filter_map(disconnected));
    if vaults.is_empty() {
        lines.push("there is no vault: holdfastctl vault add NAME s3://bucket/prefix".into());
    }
    lines.extend(sources.iter().filter_map(unreachable));
    lines.extend(agents.iter().filter_map(clock_off));
    lines.extend(sources.iter().filter_map(orphans));
    lines.extend(vaults.iter().filter_map(not_append_only));
    lines
}

fn displaced(agent: &AgentRecord) -> Option<String> {
    (agent.displaced_micros > 0 && agent.revoked_micros == 0).then(|| {
        format!(
            "agent {} was displaced at {} by {}: two processes use its certificate; if one is not yours, revoke the agent",
            agent.name,
            readable(agent.displaced_micros),
            agent.displaced_by
        )
    })
}

fn name_of(source: &v1::Source) -> &str {
    source.info.as_ref().map_or("", |info| &info.name)
}

fn last_run_failed(source: &v1::Source) -> Option<String> {
    let run = source.last_run.as_ref()?;
    let state = match run.state() {
        v1::RunState::Failed => "failed",
        v1::RunState::Lost => "was lost",
        _ => return None,
    };
    let failure = match run
        .result
        .as_ref()
        .and_then(|result| result.result.as_ref())
    {
        Some(v1::run_result::Result::Failure(failure)) => failure.message.as_str(),
        _ => "no reason was given",
    };
    Some(format!(
        "the last run of source {} {state}: {failure} (run {})",
        name_of(source),
        run.id
    ))
}

fn never_backed_up(source: &v1::Source) -> Option<String> {
    (source.latest.is_none()).then(|| format!("source {} has no backup", name_of(source)))
}

fn disconnected(agent: &v1::Agent) -> Option<String> {
    (agent.state() == v1::AgentState::Disconnected).then(|| {
        if agent.last_seen_micros == 0 {
            return format!("agent {} joined but never connected", agent.name);
        }
        format!(
            "agent {} is not connected; last heard of at {}",
            agent.name,
            readable(agent.last_seen_micros)
        )
    })
}

fn unreachable(source: &v1::Source) -> Option<String> {
    let info = source.info.as_ref()?;
    (!info.problem.is_empty()).then(|| format!("source {}: {}", info.name, info.problem))
}

fn clock_off(agent: &v1::Agent) -> Option<String> {
    let skew = agent.clock_skew_millis;
    (skew.abs() > CLOCK_SKEW_MILLIS && agent.state() != v1::AgentState::Revoked).then(|| {
        let side = if skew > 0 { "ahead of" } else { "behind" };
        format!(
            "the clock of agent {} is {} s {side} the coordinator's",
            agent.name,
            skew.abs() / 1000
        )
    })
}

fn orphans(source: &v1::Source) -> Option<String> {
    (source.orphans > 0).then(|| {
        format!(
            "source {} has {} orphan snapshots: restorable by id, not counted (holdfastctl snapshot list --orphans)",
            name_of(source),
            source.orphans
        )
    })
}

fn not_append_only(vault: &v1::Vault) -> Option<String> {
    (!vault.append_only).then(|| {
        format!(
            "vault {} is not append-only: {}",
            vault.name, vault.append_only_detail
        )
    })
}

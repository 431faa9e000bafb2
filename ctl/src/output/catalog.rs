//! The JSON of `--json` for what the coordinator knows besides runs: snapshots, sources, agents, vaults.

use std::collections::BTreeMap;

use holdfast_proto::v1;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::output::human::time;
use crate::output::view::{RunView, document, filled};

/// A snapshot.
#[derive(Serialize)]
pub struct SnapshotView {
    id: String,
    source: String,
    vault: Option<String>,
    kind: Option<String>,
    method: Option<String>,
    time: Option<Timestamp>,
    host: Option<String>,
    run_id: Option<String>,
    epoch: Option<u64>,
    standing: Option<&'static str>,
    read_bytes: u64,
    new_bytes: u64,
    stored_bytes: u64,
    tags: Vec<String>,
    manifest: Value,
}

impl From<&v1::Snapshot> for SnapshotView {
    fn from(snapshot: &v1::Snapshot) -> Self {
        Self {
            id: snapshot.id.clone(),
            source: snapshot.source.clone(),
            vault: filled(&snapshot.vault),
            kind: filled(&snapshot.kind),
            method: filled(&snapshot.method),
            time: time(snapshot.time_micros),
            host: filled(&snapshot.host),
            run_id: filled(&snapshot.run_id),
            epoch: (snapshot.epoch != 0).then_some(snapshot.epoch),
            standing: standing(snapshot.standing),
            read_bytes: snapshot.read_bytes,
            new_bytes: snapshot.new_bytes,
            stored_bytes: snapshot.stored_bytes,
            tags: snapshot.tags.clone(),
            manifest: document(&snapshot.manifest_json),
        }
    }
}

/// The word for what a snapshot counts as; `None` when the peer did not say.
pub fn standing(value: i32) -> Option<&'static str> {
    match v1::SnapshotStanding::try_from(value) {
        Ok(v1::SnapshotStanding::Committed) => Some("committed"),
        Ok(v1::SnapshotStanding::Orphan) => Some("orphan"),
        Ok(v1::SnapshotStanding::Found) => Some("found"),
        Ok(v1::SnapshotStanding::Missing) => Some("missing"),
        Ok(v1::SnapshotStanding::Unspecified) => None,
        Err(_) => Some("unknown"),
    }
}

/// A source.
#[derive(Serialize)]
pub struct SourceView {
    name: String,
    kind: String,
    methods: Vec<String>,
    facts: BTreeMap<String, String>,
    problem: Option<String>,
    agent: String,
    agent_connected: bool,
    snapshots: u64,
    orphans: u64,
    latest: Option<SnapshotView>,
    last_run: Option<RunView>,
}

impl From<&v1::Source> for SourceView {
    fn from(source: &v1::Source) -> Self {
        let info = source.info.clone().unwrap_or_default();
        Self {
            problem: filled(&info.problem),
            name: info.name,
            kind: info.kind,
            methods: info.methods,
            facts: info.facts.into_iter().collect(),
            agent: source.agent.clone(),
            agent_connected: source.agent_connected,
            snapshots: source.snapshots,
            orphans: source.orphans,
            latest: source.latest.as_ref().map(SnapshotView::from),
            last_run: source.last_run.as_ref().map(RunView::from),
        }
    }
}

/// An agent.
#[derive(Serialize)]
pub struct AgentView {
    id: String,
    name: String,
    state: &'static str,
    hostname: Option<String>,
    software: Option<String>,
    last_seen_at: Option<Timestamp>,
    certificate_expires_at: Option<Timestamp>,
    clock_skew_millis: i64,
    sources: Vec<String>,
}

impl From<&v1::Agent> for AgentView {
    fn from(agent: &v1::Agent) -> Self {
        let software = agent
            .version
            .as_ref()
            .map(|version| version.software.clone());
        Self {
            id: agent.id.clone(),
            name: agent.name.clone(),
            state: agent_state(agent.state),
            hostname: filled(&agent.hostname),
            software: software.filter(|text| !text.is_empty()),
            last_seen_at: time(agent.last_seen_micros),
            certificate_expires_at: time(agent.certificate_expires_at_micros),
            clock_skew_millis: agent.clock_skew_millis,
            sources: agent.sources.clone(),
        }
    }
}

/// The word for where an agent stands.
pub fn agent_state(value: i32) -> &'static str {
    match v1::AgentState::try_from(value) {
        Ok(v1::AgentState::Invited) => "invited",
        Ok(v1::AgentState::Connected) => "connected",
        Ok(v1::AgentState::Disconnected) => "disconnected",
        Ok(v1::AgentState::Revoked) => "revoked",
        _ => "unknown",
    }
}

/// A vault.
#[derive(Serialize)]
pub struct VaultView {
    name: String,
    address: String,
    endpoint: Option<String>,
    region: Option<String>,
    is_default: bool,
    credentials: String,
    append_only: bool,
    append_only_detail: Option<String>,
    snapshots: u64,
    last_scan_at: Option<Timestamp>,
}

impl From<&v1::Vault> for VaultView {
    fn from(vault: &v1::Vault) -> Self {
        Self {
            name: vault.name.clone(),
            address: vault.address.clone(),
            endpoint: filled(&vault.endpoint),
            region: filled(&vault.region),
            is_default: vault.is_default,
            credentials: vault.credentials.clone(),
            append_only: vault.append_only,
            append_only_detail: filled(&vault.append_only_detail),
            snapshots: vault.snapshots,
            last_scan_at: time(vault.last_scan_micros),
        }
    }
}

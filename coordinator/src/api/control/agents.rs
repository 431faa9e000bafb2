//! Agents, as operators ask for them.

use holdfast_proto::v1;

use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::store::agents::AgentRecord;
use crate::store::{agents, invites, sources};

/// All agents, and those that are invited but have not come.
pub async fn list(coordinator: &Coordinator) -> Result<Vec<v1::Agent>> {
    let mut connection = coordinator.store.read().await?;
    let records = agents::list(&mut connection).await?;
    let sources = sources::list(&mut connection).await?;
    let invited = invites::open(&mut connection, now_micros()).await?;
    let mut shown = Vec::with_capacity(records.len());
    for record in &records {
        let names = sources
            .iter()
            .filter(|source| source.agent_id == record.id && source.announced)
            .map(|source| source.name.clone())
            .collect();
        shown.push(agent(coordinator, record, names));
    }
    for invite in invited {
        if shown.iter().all(|agent| agent.name != invite.agent_name) {
            shown.push(v1::Agent {
                name: invite.agent_name,
                state: v1::AgentState::Invited.into(),
                ..Default::default()
            });
        }
    }
    shown.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(shown)
}

fn agent(coordinator: &Coordinator, record: &AgentRecord, sources: Vec<String>) -> v1::Agent {
    let connected = coordinator.sessions.get(record.id).is_some();
    let state = if record.revoked_micros > 0 {
        v1::AgentState::Revoked
    } else if connected {
        v1::AgentState::Connected
    } else {
        v1::AgentState::Disconnected
    };
    v1::Agent {
        id: record.id.to_string(),
        name: record.name.clone(),
        state: state.into(),
        hostname: record.hostname.clone(),
        version: Some(record.version.clone()),
        last_seen_micros: if connected {
            now_micros()
        } else {
            record.last_seen_micros
        },
        certificate_expires_at_micros: record.certificate_expires_micros,
        clock_skew_millis: record.clock_skew_millis,
        sources,
    }
}

//! The first exchange of a session: who is it, what does it have, what may it go on with.
//!
//! The order matters: runs that the agent does not name are read before its session takes its place, because from then on
//! it can be given work that its hello cannot name. The welcome is queued before that too, so it is the first thing read.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use holdfast_identity::PeerIdentity;
use holdfast_proto::convert;
use holdfast_proto::ids::AgentId;
use holdfast_proto::v1::coordinator_message::Message;
use holdfast_proto::{v1, version};
use sqlx::AnyConnection;
use tonic::Status;

use crate::api::caller;
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::runs::{cancel, held};
use crate::sessions::{Former, Outgoing, Session};
use crate::store::agents::AgentRecord;
use crate::store::{agents, audit, runs, sources};

/// Sources that one agent may announce.
const MAX_SOURCES: usize = 1000;
/// Longest text taken from a hello, in bytes.
const MAX_TEXT_BYTES: usize = 255;

/// Opens the session, or says why not.
pub async fn greet(
    coordinator: &Arc<Coordinator>,
    peer: &PeerIdentity,
    remote: SocketAddr,
    mut hello: v1::Hello,
) -> std::result::Result<(Arc<Session>, Outgoing), Status> {
    version::check(hello.version.as_ref())
        .map_err(|error| Status::failed_precondition(error.to_string()))?;
    if hello.instance_id.is_empty() || hello.instance_id.len() > MAX_TEXT_BYTES {
        return Err(Status::invalid_argument(
            "field instance_id is missing or too long",
        ));
    }
    hello
        .hostname
        .truncate(hello.hostname.floor_char_boundary(MAX_TEXT_BYTES));
    let id = caller::agent_id(peer)?;
    let agent = known_agent(coordinator, id).await?;

    // 1. What the state learns.
    let rejected = introduce(coordinator, &agent, &hello).await?;
    // 2. What the agent may go on with.
    let answer = held::renew(coordinator, id, &hello.held_runs).await?;
    for foreign in &answer.foreign {
        tracing::warn!(run = %foreign.run, "the agent names a run of another agent");
    }
    let unnamed = held::unnamed(coordinator, id, &hello.held_runs).await?;
    // 3. The session.
    let instance = &hello.instance_id;
    let (session, outgoing) = Session::open(id, &agent.name, instance, &hello.hostname, remote);
    session.push(Message::Welcome(v1::Welcome {
        version: Some(version::own()),
        lease_seconds: u32::try_from(coordinator.config.runs.lease.as_secs()).unwrap_or(u32::MAX),
        clock_micros: now_micros(),
        agent_name: agent.name.clone(),
        rejected_sources: rejected,
        kept_runs: answer.kept.clone(),
    }));
    let former = coordinator.sessions.register(&session);
    if let Former::Displaced(former) = former {
        record_displacement(coordinator, &session, &former).await?;
    }
    tracing::info!(host = %hello.hostname, "an agent connected");
    // 4. What follows from it.
    held::take_back_unnamed(coordinator, &unnamed).await?;
    repeat_cancellations(coordinator, &session, &answer.kept).await?;
    coordinator.nudge.notify_one();
    Ok((session, outgoing))
}

async fn known_agent(
    coordinator: &Coordinator,
    id: AgentId,
) -> std::result::Result<AgentRecord, Status> {
    let mut connection = coordinator.store.read().await.map_err(Fault::from)?;
    let agent = agents::get(&mut connection, id)
        .await
        .map_err(Fault::from)?;
    match agent {
        Some(agent) if agent.revoked_micros == 0 => Ok(agent),
        Some(_) => Err(Status::permission_denied("this agent was revoked")),
        None => Err(Status::permission_denied(
            "this coordinator does not know the agent\nhint: its state was made anew; join again with a new invitation",
        )),
    }
}

/// Writes down what the agent says of itself; returns the sources that it may not have.
async fn introduce(
    coordinator: &Coordinator,
    agent: &AgentRecord,
    hello: &v1::Hello,
) -> Result<HashMap<String, String>> {
    let now = now_micros();
    let skew_millis = if hello.clock_micros == 0 {
        0
    } else {
        (hello.clock_micros - now) / 1000
    };
    let mut tx = coordinator.store.begin().await?;
    agents::greeted(&mut tx, agent.id, hello, now, skew_millis).await?;
    let rejected = announce_sources(&mut tx, agent.id, &hello.sources, now).await?;
    tx.commit().await?;
    Ok(rejected)
}

/// Takes over what the agent announces, except what another agent has.
pub(super) async fn announce_sources(
    connection: &mut AnyConnection,
    agent: AgentId,
    announced: &[v1::SourceInfo],
    now: i64,
) -> Result<HashMap<String, String>> {
    let mut rejected = HashMap::new();
    sources::withdraw_all(connection, agent).await?;
    for (index, info) in announced.iter().enumerate() {
        if index >= MAX_SOURCES {
            rejected.insert(
                info.name.clone(),
                format!("more than {MAX_SOURCES} sources"),
            );
            continue;
        }
        if let Err(error) = convert::name("source.name", &info.name) {
            rejected.insert(info.name.clone(), error.to_string());
            continue;
        }
        match owner_of(connection, &info.name, agent).await? {
            Some(owner) => {
                rejected.insert(
                    info.name.clone(),
                    format!("agent {owner} has a source of this name; give this one another"),
                );
            }
            None => sources::put(connection, agent, info, now).await?,
        }
    }
    Ok(rejected)
}

/// The other agent that has this source and may keep it.
async fn owner_of(
    connection: &mut AnyConnection,
    source: &str,
    agent: AgentId,
) -> Result<Option<String>> {
    let Some(known) = sources::get(connection, source).await? else {
        return Ok(None);
    };
    if known.agent_id == agent || !known.announced {
        return Ok(None);
    }
    let owner = agents::get(connection, known.agent_id).await?;
    Ok(owner
        .filter(|owner| owner.revoked_micros == 0)
        .map(|owner| owner.name))
}

/// Two processes with one certificate: an event that a person should see.
async fn record_displacement(
    coordinator: &Coordinator,
    session: &Session,
    former: &Session,
) -> Result<()> {
    let by = format!("{} ({})", session.hostname, session.remote);
    tracing::warn!(
        agent = %session.name,
        former_host = %former.hostname,
        former_address = %former.remote,
        by,
        "another process with the same certificate has displaced an agent"
    );
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    agents::displaced(&mut tx, session.agent, &by, now).await?;
    let actor = format!("agent {}", session.name);
    let detail = format!("{} ({}) by {by}", former.hostname, former.remote);
    audit::add(
        &mut tx,
        now,
        &actor,
        "agent.displaced",
        &session.name,
        &detail,
    )
    .await?;
    Ok(tx.commit().await?)
}

/// The word to cancel may have been lost with the former connection.
async fn repeat_cancellations(
    coordinator: &Coordinator,
    session: &Session,
    kept: &[v1::HeldRun],
) -> Result<()> {
    let mut connection = coordinator.store.read().await?;
    for held in kept {
        let Ok(id) = held.run_id.parse() else {
            continue;
        };
        let Some(run) = runs::get(&mut connection, id).await? else {
            continue;
        };
        if let Some(operator) = &run.cancelled_by {
            session.push(cancel::message(&run, operator));
        }
    }
    Ok(())
}

//! Revocation: the agent is refused from now on, its session ends, its runs end, and the operator learns what remains.
//!
//! The order: the state first, so that a restart forgets nothing; then the memory that TLS and the access layer ask; then
//! the session, so that what it tries next is refused already.

use holdfast_proto::run::RunState;
use holdfast_proto::v1;
use sqlx::AnyConnection;
use tonic::Status;

use crate::clock::{now_micros, readable};
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::model::run::Step;
use crate::runs::{announce, failure};
use crate::store::agents::AgentRecord;
use crate::store::grants::GrantRecord;
use crate::store::runs::RunRecord;
use crate::store::{agents, audit, certificates, grants, invites, runs};

/// Revokes the agent called `name`.
pub async fn revoke(
    coordinator: &Coordinator,
    name: &str,
    operator: &str,
) -> Result<v1::RevokeAgentResponse> {
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    let Some(agent) = agents::by_name(&mut tx, name).await? else {
        // Invited, but never came.
        if invites::withdraw(&mut tx, name).await? > 0 {
            let actor = format!("operator {operator}");
            audit::add(
                &mut tx,
                now,
                &actor,
                "agent.revoke",
                name,
                "invitation withdrawn",
            )
            .await?;
            tx.commit().await?;
            return Ok(v1::RevokeAgentResponse::default());
        }
        return Err(
            Fault::NotFound(format!("no agent {name}")).hint("holdfastctl agent list shows them")
        );
    };
    invites::withdraw(&mut tx, name).await?;
    agents::revoke(&mut tx, agent.id, now).await?;
    let serials = certificates::revoke_all(&mut tx, &agent.id.to_string(), now).await?;
    let ended = end_runs(&mut tx, &agent, operator, now).await?;
    let held = grants::usable_by(&mut tx, agent.id, now).await?;
    let actor = format!("operator {operator}");
    let detail = format!("{} certificates, {} runs ended", serials.len(), ended.len());
    audit::add(&mut tx, now, &actor, "agent.revoke", name, &detail).await?;
    tx.commit().await?;

    coordinator.pki.revocations.refuse_serials(serials);
    coordinator
        .pki
        .revocations
        .refuse_holder(agent.id.to_string());
    if let Some(session) = coordinator.sessions.get(agent.id) {
        session.end(Some(Status::permission_denied("this agent was revoked")));
    }
    for run in &ended {
        announce(coordinator, run);
    }
    tracing::warn!(agent = name, operator, "an agent was revoked");
    Ok(v1::RevokeAgentResponse {
        remaining: remaining(&held),
        cancelled_run_ids: ended.iter().map(|run| run.id.to_string()).collect(),
    })
}

/// Ends every run of the agent. What it was about to commit fails: its write may still come, and is an orphan then.
async fn end_runs(
    connection: &mut AnyConnection,
    agent: &AgentRecord,
    operator: &str,
    now: i64,
) -> Result<Vec<RunRecord>> {
    let mut ended = Vec::new();
    for run in runs::unfinished(connection).await? {
        if run.agent != agent.id {
            continue;
        }
        let (step, result) = match run.state {
            RunState::Committing => (
                Step::Fail,
                failure(
                    v1::FailureClass::Permanent,
                    &format!("agent {} was revoked while it committed", agent.name),
                    "a snapshot that it still wrote is found by holdfastctl vault scan",
                ),
            ),
            _ => (
                Step::Cancel,
                v1::RunResult {
                    result: Some(v1::run_result::Result::CancelledBy(operator.into())),
                },
            ),
        };
        let after =
            runs::advance(connection, &run, step, now, |run| run.result = Some(result)).await?;
        ended.extend(after);
    }
    Ok(ended)
}

/// What cannot be called back, a sentence each.
fn remaining(held: &[GrantRecord]) -> Vec<String> {
    let mut sentences = Vec::new();
    for grant in held {
        let GrantRecord {
            vault, repository, ..
        } = grant;
        sentences.push(match grant.credentials.as_str() {
            "sts" => format!(
                "until {} its storage session can use the repository {repository} in vault {vault}; a session cannot be called back",
                readable(grant.expires_micros)
            ),
            "static" => format!(
                "it knows the key {} of vault {vault}, which opens the whole vault until you rotate it at the storage provider",
                grant.access_key_id
            ),
            _ => format!(
                "its host can reach the folder of vault {vault} as far as the file system lets it: take its mount or its rights away"
            ),
        });
        sentences.push(format!(
            "it knows the password of the repository {repository} in vault {vault}: with access to the storage it can read what lies there"
        ));
    }
    sentences.sort();
    sentences.dedup();
    sentences
}

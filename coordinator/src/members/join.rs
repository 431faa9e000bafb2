//! An agent joins with its token.
//!
//! The token is used up in the same transaction in which the agent and its certificate are written down, and the
//! certificate leaves only after that: a token gives one certificate or none. An agent that joins again under its name keeps
//! its id, and its former certificates are refused from then on.

use holdfast_identity::{Certificate, JoinSecret, JoinSecretHash, Role, Subject};
use holdfast_proto::ids::{AgentId, TokenId};
use holdfast_proto::{v1, version};
use sqlx::AnyConnection;
use uuid::Uuid;

use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::store::invites::{self, Invite};
use crate::store::{agents, audit, certificates};

/// Lets the bearer of a token in.
pub async fn join(
    coordinator: &Coordinator,
    request: v1::JoinRequest,
    remote: &str,
) -> Result<v1::JoinResponse> {
    version::check(request.version.as_ref()).map_err(|error| Fault::Refused(error.to_string()))?;
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    let invite = checked_invite(&mut tx, &request, now).await?;
    let known = agents::by_name(&mut tx, &invite.agent_name).await?;
    let id = known.as_ref().map_or_else(AgentId::new, |agent| agent.id);
    let subject = subject(id, &invite.agent_name)?;
    let certificate = coordinator.pki.sign(&request.csr, &subject)?;

    if !invites::use_up(&mut tx, invite.token, now).await? {
        return Err(refused());
    }
    let former = certificates::revoke_all(&mut tx, &id.to_string(), now).await?;
    let expires = record(
        &mut tx,
        &certificate,
        &format!("agent {}", invite.agent_name),
        now,
    )
    .await?;
    agents::join(&mut tx, id, &invite.agent_name, now, expires).await?;
    let actor = format!("agent {}", invite.agent_name);
    let detail = format!("from {remote}, invited by {}", invite.created_by);
    audit::add(
        &mut tx,
        now,
        &actor,
        "agent.join",
        &invite.agent_name,
        &detail,
    )
    .await?;
    tx.commit().await?;

    coordinator.pki.revocations.refuse_serials(former);
    coordinator.pki.revocations.readmit_holder(&id.to_string());
    tracing::info!(agent = %invite.agent_name, remote, "an agent joined");
    Ok(v1::JoinResponse {
        agent_id: id.to_string(),
        agent_name: invite.agent_name,
        certificate_pem: certificate.to_pem(),
        ca_pem: coordinator.pki.authority().certificate().to_pem(),
    })
}

/// One answer for every token that is not good: who guesses learns nothing. Its bearer knows the secret, so the reason is
/// told only to who has it.
async fn checked_invite(
    connection: &mut AnyConnection,
    request: &v1::JoinRequest,
    now: i64,
) -> Result<Invite> {
    let token: TokenId = request.token_id.parse().map_err(|_| refused())?;
    let secret: [u8; 32] = request
        .token_secret
        .as_slice()
        .try_into()
        .map_err(|_| refused())?;
    let invite = invites::get(connection, token).await?.ok_or_else(refused)?;
    let hash: [u8; 32] = invite
        .secret_hash
        .as_slice()
        .try_into()
        .map_err(|_| refused())?;
    if !JoinSecretHash::from_bytes(hash).matches(&JoinSecret::from_bytes(secret)) {
        return Err(refused());
    }
    if invite.used_micros > 0 {
        return Err(
            Fault::Forbidden("this join token was used already".into()).hint(
                "a token lets one agent in once; ask for a new one: holdfastctl agent invite NAME",
            ),
        );
    }
    if invite.expires_micros <= now {
        return Err(Fault::Forbidden("this join token has expired".into())
            .hint("ask for a new one: holdfastctl agent invite NAME"));
    }
    Ok(invite)
}

fn refused() -> Fault {
    Fault::Forbidden("this join token is not known here".into())
        .hint("ask for a new one: holdfastctl agent invite NAME")
}

fn subject(id: AgentId, name: &str) -> Result<Subject> {
    let uuid =
        Uuid::parse_str(&id.to_string()).map_err(|error| Fault::Internal(error.to_string()))?;
    Ok(Subject::new(Role::Agent, uuid, name)?)
}

/// Writes a certificate down, and says when it ends.
pub(crate) async fn record(
    connection: &mut AnyConnection,
    certificate: &Certificate,
    holder: &str,
    now: i64,
) -> Result<i64> {
    let peer = certificate.peer();
    let expires = peer.not_after().as_microsecond();
    let id = peer.id().to_string();
    certificates::issued(connection, peer.serial(), &id, holder, now, expires).await?;
    Ok(expires)
}

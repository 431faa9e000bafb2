//! Invitations of agents.

use std::time::Duration;

use holdfast_identity::{JoinSecret, JoinToken};
use holdfast_proto::convert::name;
use holdfast_proto::ids::TokenId;
use holdfast_proto::v1;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::clock::{micros, now_micros};
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::store::audit;
use crate::store::invites::{self, Invite};

/// How long a token holds where the operator says nothing.
const DEFAULT_EXPIRY: Duration = Duration::from_secs(3600);
/// How long it may hold at most.
const LONGEST_EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);

/// Makes a token that lets one agent in, once, under this name.
pub async fn invite(
    coordinator: &Coordinator,
    request: &v1::InviteAgentRequest,
    operator: &str,
) -> Result<v1::InviteAgentResponse> {
    let agent_name = name("name", &request.name)?;
    let expiry = match request.expires_in_seconds {
        0 => DEFAULT_EXPIRY,
        seconds => Duration::from_secs(seconds),
    };
    if expiry > LONGEST_EXPIRY {
        return Err(Fault::Invalid("an invitation holds 7 days at most".into()));
    }
    let id = TokenId::new();
    let uuid =
        Uuid::parse_str(&id.to_string()).map_err(|error| Fault::Internal(error.to_string()))?;
    let secret = JoinSecret::generate()?;
    let now = now_micros();
    let invite = Invite {
        token: id,
        agent_name: agent_name.clone(),
        secret_hash: secret.hash().as_bytes().to_vec(),
        created_by: operator.into(),
        created_micros: now,
        expires_micros: now.saturating_add(micros(expiry)),
        used_micros: 0,
    };
    let mut tx = coordinator.store.begin().await?;
    invites::add(&mut tx, &invite).await?;
    let actor = format!("operator {operator}");
    audit::add(
        &mut tx,
        now,
        &actor,
        "agent.invite",
        &agent_name,
        &id.to_string(),
    )
    .await?;
    tx.commit().await?;

    let address = coordinator.pki.address().clone();
    let pin = coordinator.pki.authority().certificate().pin();
    let token = JoinToken::new(address, pin, uuid, secret);
    Ok(v1::InviteAgentResponse {
        token: token.reveal().expose_secret().into(),
        expires_at_micros: invite.expires_micros,
    })
}

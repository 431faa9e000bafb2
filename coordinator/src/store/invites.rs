//! Invitations: the hash of a token's secret, valid once and not for long.

use holdfast_proto::ids::TokenId;
use sqlx::AnyConnection;

use super::error::Result;
use super::row::Columns;

/// An invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invite {
    /// The token's id.
    pub token: TokenId,
    /// The name the agent will have.
    pub agent_name: String,
    /// SHA-256 of the token's secret.
    pub secret_hash: Vec<u8>,
    /// The operator who invited.
    pub created_by: String,
    /// When.
    pub created_micros: i64,
    /// Until when it may be used.
    pub expires_micros: i64,
    /// When it was; 0: not yet.
    pub used_micros: i64,
}

/// Records an invitation.
pub async fn add(connection: &mut AnyConnection, invite: &Invite) -> Result<()> {
    sqlx::query(
        "INSERT INTO invites (token_id, agent_name, secret_hash, created_by, created_micros, expires_micros, used_micros) \
         VALUES ($1, $2, $3, $4, $5, $6, 0)",
    )
    .bind(invite.token.to_string())
    .bind(invite.agent_name.clone())
    .bind(invite.secret_hash.clone())
    .bind(invite.created_by.clone())
    .bind(invite.created_micros)
    .bind(invite.expires_micros)
    .execute(connection)
    .await?;
    Ok(())
}

/// The invitation with this id.
pub async fn get(connection: &mut AnyConnection, token: TokenId) -> Result<Option<Invite>> {
    let row = sqlx::query("SELECT * FROM invites WHERE token_id = $1")
        .bind(token.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// Uses the invitation up. False: it was used, or its time was over.
pub async fn use_up(connection: &mut AnyConnection, token: TokenId, now: i64) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE invites SET used_micros = $2 WHERE token_id = $1 AND used_micros = 0 AND expires_micros > $2",
    )
    .bind(token.to_string())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Invitations that can still be used.
pub async fn open(connection: &mut AnyConnection, now: i64) -> Result<Vec<Invite>> {
    let rows = sqlx::query(
        "SELECT * FROM invites WHERE used_micros = 0 AND expires_micros > $1 ORDER BY agent_name",
    )
    .bind(now)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// Forgets invitations whose time was over before `before_micros`, and all that are open for a name.
pub async fn forget_expired(connection: &mut AnyConnection, before_micros: i64) -> Result<u64> {
    let done = sqlx::query("DELETE FROM invites WHERE expires_micros < $1")
        .bind(before_micros)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

/// Takes back what was not used yet.
pub async fn withdraw(connection: &mut AnyConnection, agent_name: &str) -> Result<u64> {
    let done = sqlx::query("DELETE FROM invites WHERE agent_name = $1 AND used_micros = 0")
        .bind(agent_name)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

fn read(row: &sqlx::any::AnyRow) -> Result<Invite> {
    let columns = Columns::new("invites", row);
    Ok(Invite {
        token: columns.parsed("token_id")?,
        agent_name: columns.text("agent_name")?,
        secret_hash: columns.bytes("secret_hash")?,
        created_by: columns.text("created_by")?,
        created_micros: columns.int("created_micros")?,
        expires_micros: columns.int("expires_micros")?,
        used_micros: columns.int("used_micros")?,
    })
}

//! Agents: who has joined, when they were last heard of, and who was shown the door.

use holdfast_proto::ids::AgentId;
use holdfast_proto::v1;
use prost::Message as _;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::Result;
use super::row::Columns;

/// One agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRecord {
    /// Its id, through all its certificates.
    pub id: AgentId,
    /// The name it was invited under.
    pub name: String,
    /// The host it last came from.
    pub hostname: String,
    /// What it last said it can do.
    pub version: v1::Version,
    /// When it joined last.
    pub joined_micros: i64,
    /// When it was last heard of.
    pub last_seen_micros: i64,
    /// When its newest certificate ends.
    pub certificate_expires_micros: i64,
    /// Its clock minus ours, at its last greeting.
    pub clock_skew_millis: i64,
    /// 0: not revoked.
    pub revoked_micros: i64,
    /// When another process last took its place; 0: never.
    pub displaced_micros: i64,
    /// Who did.
    pub displaced_by: String,
}

impl AgentRecord {
    fn read(row: &AnyRow) -> Result<Self> {
        let columns = Columns::new("agents", row);
        Ok(Self {
            id: columns.parsed("id")?,
            name: columns.text("name")?,
            hostname: columns.text("hostname")?,
            version: columns.message("version")?,
            joined_micros: columns.int("joined_micros")?,
            last_seen_micros: columns.int("last_seen_micros")?,
            certificate_expires_micros: columns.int("certificate_expires_micros")?,
            clock_skew_millis: columns.int("clock_skew_millis")?,
            revoked_micros: columns.int("revoked_micros")?,
            displaced_micros: columns.int("displaced_micros")?,
            displaced_by: columns.text("displaced_by")?,
        })
    }
}

/// Adds an agent that joins for the first time, or lets a known one in again under its id.
pub async fn join(
    connection: &mut AnyConnection,
    id: AgentId,
    name: &str,
    now: i64,
    certificate_expires_micros: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO agents (id, name, hostname, version, joined_micros, last_seen_micros, certificate_expires_micros, \
         clock_skew_millis, revoked_micros, displaced_micros, displaced_by) \
         VALUES ($1, $2, '', $3, $4, 0, $5, 0, 0, 0, '') \
         ON CONFLICT (id) DO UPDATE SET joined_micros = excluded.joined_micros, revoked_micros = 0, displaced_micros = 0, \
         displaced_by = '', certificate_expires_micros = excluded.certificate_expires_micros",
    )
    .bind(id.to_string())
    .bind(name)
    .bind(Vec::new())
    .bind(now)
    .bind(certificate_expires_micros)
    .execute(connection)
    .await?;
    Ok(())
}

/// Records what an agent said when it opened a session.
pub async fn greeted(
    connection: &mut AnyConnection,
    id: AgentId,
    hello: &v1::Hello,
    now: i64,
    clock_skew_millis: i64,
) -> Result<()> {
    let version = hello.version.clone().unwrap_or_default();
    sqlx::query(
        "UPDATE agents SET hostname = $2, version = $3, last_seen_micros = $4, clock_skew_millis = $5 WHERE id = $1",
    )
    .bind(id.to_string())
    .bind(hello.hostname.clone())
    .bind(version.encode_to_vec())
    .bind(now)
    .bind(clock_skew_millis)
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that an agent was heard of.
pub async fn seen(connection: &mut AnyConnection, id: AgentId, now: i64) -> Result<()> {
    sqlx::query("UPDATE agents SET last_seen_micros = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// Records that another process with the agent's certificate took its place.
pub async fn displaced(
    connection: &mut AnyConnection,
    id: AgentId,
    by: &str,
    now: i64,
) -> Result<()> {
    sqlx::query("UPDATE agents SET displaced_micros = $2, displaced_by = $3 WHERE id = $1")
        .bind(id.to_string())
        .bind(now)
        .bind(by)
        .execute(connection)
        .await?;
    Ok(())
}

/// Records a renewed certificate's end.
pub async fn renewed(
    connection: &mut AnyConnection,
    id: AgentId,
    certificate_expires_micros: i64,
) -> Result<()> {
    sqlx::query("UPDATE agents SET certificate_expires_micros = $2 WHERE id = $1")
        .bind(id.to_string())
        .bind(certificate_expires_micros)
        .execute(connection)
        .await?;
    Ok(())
}

/// Refuses the agent from now on; whether it was not refused before.
pub async fn revoke(connection: &mut AnyConnection, id: AgentId, now: i64) -> Result<bool> {
    let done =
        sqlx::query("UPDATE agents SET revoked_micros = $2 WHERE id = $1 AND revoked_micros = 0")
            .bind(id.to_string())
            .bind(now)
            .execute(connection)
            .await?;
    Ok(done.rows_affected() == 1)
}

/// The agent with this id.
pub async fn get(connection: &mut AnyConnection, id: AgentId) -> Result<Option<AgentRecord>> {
    let row = sqlx::query("SELECT * FROM agents WHERE id = $1")
        .bind(id.to_string())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(AgentRecord::read).transpose()
}

/// The agent with this name.
pub async fn by_name(connection: &mut AnyConnection, name: &str) -> Result<Option<AgentRecord>> {
    let row = sqlx::query("SELECT * FROM agents WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(AgentRecord::read).transpose()
}

/// All agents by name.
pub async fn list(connection: &mut AnyConnection) -> Result<Vec<AgentRecord>> {
    let rows = sqlx::query("SELECT * FROM agents ORDER BY name")
        .fetch_all(connection)
        .await?;
    rows.iter().map(AgentRecord::read).collect()
}

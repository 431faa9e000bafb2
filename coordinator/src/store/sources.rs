//! Sources: what the agents protect, as they last described it. A source whose agent no longer announces it stays,
//! because its snapshots do.

use holdfast_proto::ids::AgentId;
use holdfast_proto::v1;
use prost::Message as _;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::Result;
use super::row::Columns;

/// One source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceRecord {
    /// Its name, unique among all agents.
    pub name: String,
    /// The agent that announced it last.
    pub agent_id: AgentId,
    /// What the agent said of it.
    pub info: v1::SourceInfo,
    /// The agent's last word still names it.
    pub announced: bool,
    /// When it was described.
    pub updated_micros: i64,
}

fn read(row: &AnyRow) -> Result<SourceRecord> {
    let columns = Columns::new("sources", row);
    Ok(SourceRecord {
        name: columns.text("name")?,
        agent_id: columns.parsed("agent_id")?,
        info: columns.message("info")?,
        announced: columns.truth("announced")?,
        updated_micros: columns.int("updated_micros")?,
    })
}

/// Records a source as its agent describes it.
pub async fn put(
    connection: &mut AnyConnection,
    agent: AgentId,
    info: &v1::SourceInfo,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO sources (name, agent_id, info, announced, updated_micros) VALUES ($1, $2, $3, 1, $4) \
         ON CONFLICT (name) DO UPDATE SET agent_id = excluded.agent_id, info = excluded.info, announced = 1, \
         updated_micros = excluded.updated_micros",
    )
    .bind(info.name.clone())
    .bind(agent.to_string())
    .bind(info.encode_to_vec())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks every source of `agent` as no longer announced: what it announces is put back afterwards.
pub async fn withdraw_all(connection: &mut AnyConnection, agent: AgentId) -> Result<()> {
    sqlx::query("UPDATE sources SET announced = 0 WHERE agent_id = $1")
        .bind(agent.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// The source with this name.
pub async fn get(connection: &mut AnyConnection, name: &str) -> Result<Option<SourceRecord>> {
    let row = sqlx::query("SELECT * FROM sources WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// All sources by name.
pub async fn list(connection: &mut AnyConnection) -> Result<Vec<SourceRecord>> {
    let rows = sqlx::query("SELECT * FROM sources ORDER BY name")
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

//! What was handed out, without the secrets: so that a revocation can say what remains.

use holdfast_proto::ids::{AgentId, RunId};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use uuid::Uuid;

use super::error::Result;
use super::row::Columns;

/// One grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRecord {
    /// The run it was for; `None`: an operator's reading.
    pub run: Option<RunId>,
    /// The agent that got it.
    pub agent: Option<AgentId>,
    /// The operator that got it; empty: none.
    pub operator: String,
    /// The vault's name.
    pub vault: String,
    /// The source whose repository it opens.
    pub repository: String,
    /// "sts", "static" or "none".
    pub credentials: String,
    /// The static key, or the session's.
    pub access_key_id: String,
    /// When.
    pub issued_micros: i64,
    /// 0: does not end.
    pub expires_micros: i64,
}

/// Records a grant.
pub async fn add(connection: &mut AnyConnection, grant: &GrantRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO grants (id, run_id, agent_id, operator, vault, repository, credentials, access_key_id, issued_micros, \
         expires_micros) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(grant.run.map(|run| run.to_string()).unwrap_or_default())
    .bind(grant.agent.map(|agent| agent.to_string()).unwrap_or_default())
    .bind(grant.operator.clone())
    .bind(grant.vault.clone())
    .bind(grant.repository.clone())
    .bind(grant.credentials.clone())
    .bind(grant.access_key_id.clone())
    .bind(grant.issued_micros)
    .bind(grant.expires_micros)
    .execute(connection)
    .await?;
    Ok(())
}

/// What `agent` got and may still use: the newest of each vault, repository and kind of credentials.
pub async fn usable_by(
    connection: &mut AnyConnection,
    agent: AgentId,
    now: i64,
) -> Result<Vec<GrantRecord>> {
    let rows = sqlx::query(
        "SELECT '' AS run_id, agent_id, '' AS operator, vault, repository, credentials, access_key_id, \
         max(issued_micros) AS issued_micros, max(expires_micros) AS expires_micros \
         FROM grants WHERE agent_id = $1 AND (expires_micros = 0 OR expires_micros > $2) \
         GROUP BY agent_id, vault, repository, credentials, access_key_id ORDER BY vault, repository, credentials",
    )
    .bind(agent.to_string())
    .bind(now)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// Forgets sessions that ended before `before_micros`.
pub async fn forget_expired(connection: &mut AnyConnection, before_micros: i64) -> Result<u64> {
    let done = sqlx::query("DELETE FROM grants WHERE expires_micros > 0 AND expires_micros < $1")
        .bind(before_micros)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

fn read(row: &AnyRow) -> Result<GrantRecord> {
    let columns = Columns::new("grants", row);
    Ok(GrantRecord {
        run: columns.parsed_or_none("run_id")?,
        agent: columns.parsed_or_none("agent_id")?,
        operator: columns.text("operator")?,
        vault: columns.text("vault")?,
        repository: columns.text("repository")?,
        credentials: columns.text("credentials")?,
        access_key_id: columns.text("access_key_id")?,
        issued_micros: columns.int("issued_micros")?,
        expires_micros: columns.int("expires_micros")?,
    })
}

//! The catalog: a cache of what the vaults hold. It can be filled again from the vaults at any time.

use holdfast_proto::ids::{Epoch, SnapshotId};
use holdfast_proto::v1;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::Result;
use super::row::{Columns, int};
use crate::model::snapshot::SnapshotStanding;

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The vault's name.
    pub vault: String,
    /// The source in whose repository it lies.
    pub source: String,
    /// Its id.
    pub id: SnapshotId,
    /// Kind of the source; empty: not known.
    pub kind: String,
    /// How it was made; empty: not known.
    pub method: String,
    /// The point it shows.
    pub time_micros: i64,
    /// The host that made it.
    pub host: String,
    /// The run that made it; empty: none of ours.
    pub run_id: String,
    /// And under which epoch.
    pub epoch: Epoch,
    /// Whether it counts.
    pub standing: SnapshotStanding,
    /// Bytes read from the source; 0: not known.
    pub read_bytes: u64,
    /// Of these, new to the repository.
    pub new_bytes: u64,
    /// And what they take up.
    pub stored_bytes: u64,
    /// restic's tags.
    pub tags: Vec<String>,
    /// The manifest, JSON; empty: not known.
    pub manifest: String,
}

impl From<SnapshotRecord> for v1::Snapshot {
    fn from(record: SnapshotRecord) -> Self {
        Self {
            id: record.id.into(),
            source: record.source,
            vault: record.vault,
            kind: record.kind,
            method: record.method,
            time_micros: record.time_micros,
            host: record.host,
            run_id: record.run_id,
            epoch: record.epoch.0,
            standing: v1::SnapshotStanding::from(record.standing).into(),
            read_bytes: record.read_bytes,
            new_bytes: record.new_bytes,
            stored_bytes: record.stored_bytes,
            tags: record.tags,
            manifest_json: record.manifest,
        }
    }
}

fn read(row: &AnyRow) -> Result<SnapshotRecord> {
    let columns = Columns::new("snapshots", row);
    Ok(SnapshotRecord {
        vault: columns.text("vault")?,
        source: columns.text("source")?,
        id: columns.parsed("id")?,
        kind: columns.text("kind")?,
        method: columns.text("method")?,
        time_micros: columns.int("time_micros")?,
        host: columns.text("host")?,
        run_id: columns.text("run_id")?,
        epoch: Epoch(columns.count("epoch")?),
        standing: columns.parsed("standing")?,
        read_bytes: columns.count("read_bytes")?,
        new_bytes: columns.count("new_bytes")?,
        stored_bytes: columns.count("stored_bytes")?,
        tags: serde_json::from_str(&columns.text("tags")?).unwrap_or_default(),
        manifest: columns.text("manifest")?,
    })
}

/// Records a snapshot, or what is newly known of it. One that a run has committed never becomes less than that.
pub async fn put(connection: &mut AnyConnection, snapshot: &SnapshotRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO snapshots (vault, source, id, kind, method, time_micros, host, run_id, epoch, standing, read_bytes, \
         new_bytes, stored_bytes, tags, manifest) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
         ON CONFLICT (vault, source, id) DO UPDATE SET \
         standing = CASE WHEN snapshots.standing = 'committed' THEN 'committed' ELSE excluded.standing END, \
         kind = CASE WHEN excluded.kind = '' THEN snapshots.kind ELSE excluded.kind END, \
         method = CASE WHEN excluded.method = '' THEN snapshots.method ELSE excluded.method END, \
         host = CASE WHEN excluded.host = '' THEN snapshots.host ELSE excluded.host END, \
         read_bytes = CASE WHEN excluded.read_bytes = 0 THEN snapshots.read_bytes ELSE excluded.read_bytes END, \
         new_bytes = CASE WHEN excluded.new_bytes = 0 THEN snapshots.new_bytes ELSE excluded.new_bytes END, \
         stored_bytes = CASE WHEN excluded.stored_bytes = 0 THEN snapshots.stored_bytes ELSE excluded.stored_bytes END, \
         tags = CASE WHEN excluded.tags = '[]' THEN snapshots.tags ELSE excluded.tags END, \
         manifest = CASE WHEN excluded.manifest = '' THEN snapshots.manifest ELSE excluded.manifest END",
    )
    .bind(snapshot.vault.clone())
    .bind(snapshot.source.clone())
    .bind(snapshot.id.to_string())
    .bind(snapshot.kind.clone())
    .bind(snapshot.method.clone())
    .bind(snapshot.time_micros)
    .bind(snapshot.host.clone())
    .bind(snapshot.run_id.clone())
    .bind(int(snapshot.epoch.0))
    .bind(snapshot.standing.as_str())
    .bind(int(snapshot.read_bytes))
    .bind(int(snapshot.new_bytes))
    .bind(int(snapshot.stored_bytes))
    .bind(serde_json::json!(snapshot.tags).to_string())
    .bind(snapshot.manifest.clone())
    .execute(connection)
    .await?;
    Ok(())
}

/// Says anew where a snapshot stands: a scan has seen that it is gone, or that it is back.
pub async fn set_standing(
    connection: &mut AnyConnection,
    snapshot: &SnapshotRecord,
    standing: SnapshotStanding,
) -> Result<()> {
    sqlx::query("UPDATE snapshots SET standing = $4 WHERE vault = $1 AND source = $2 AND id = $3")
        .bind(snapshot.vault.clone())
        .bind(snapshot.source.clone())
        .bind(snapshot.id.to_string())
        .bind(standing.as_str())
        .execute(connection)
        .await?;
    Ok(())
}

/// Which snapshots to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Empty: all.
    pub source: String,
    /// Empty: all.
    pub vault: String,
    /// Also those that do not count.
    pub include_orphans: bool,
    /// Not after this; 0: no bound.
    pub until_micros: i64,
    /// At most so many.
    pub limit: i64,
}

/// Snapshots, newest first.
pub async fn list(connection: &mut AnyConnection, filter: &Filter) -> Result<Vec<SnapshotRecord>> {
    let rows = sqlx::query(
        "SELECT * FROM snapshots WHERE ($1 = '' OR source = $1) AND ($2 = '' OR vault = $2) \
         AND ($3 = 1 OR standing IN ('committed', 'found')) AND ($4 = 0 OR time_micros <= $4) \
         ORDER BY time_micros DESC, id LIMIT $5",
    )
    .bind(filter.source.clone())
    .bind(filter.vault.clone())
    .bind(i64::from(filter.include_orphans))
    .bind(filter.until_micros)
    .bind(filter.limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// Up to `limit` snapshots whose id begins with `prefix` (hex digits only, or nothing is found).
pub async fn by_prefix(
    connection: &mut AnyConnection,
    prefix: &str,
    source: &str,
    limit: i64,
) -> Result<Vec<SnapshotRecord>> {
    if prefix.is_empty() || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT * FROM snapshots WHERE id LIKE $1 AND ($2 = '' OR source = $2) ORDER BY id, vault LIMIT $3",
    )
    .bind(format!("{}%", prefix.to_ascii_lowercase()))
    .bind(source)
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter().map(read).collect()
}

/// How many snapshots of `source` (empty: of all) in `vault` (empty: in all) count, and how many are orphans.
pub async fn counts(
    connection: &mut AnyConnection,
    source: &str,
    vault: &str,
) -> Result<(u64, u64)> {
    let row = sqlx::query(
        "SELECT CAST(COALESCE(sum(CASE WHEN standing IN ('committed', 'found') THEN 1 ELSE 0 END), 0) AS BIGINT) AS counted, \
         CAST(COALESCE(sum(CASE WHEN standing = 'orphan' THEN 1 ELSE 0 END), 0) AS BIGINT) AS orphans \
         FROM snapshots WHERE ($1 = '' OR source = $1) AND ($2 = '' OR vault = $2)",
    )
    .bind(source)
    .bind(vault)
    .fetch_one(connection)
    .await?;
    let columns = Columns::new("snapshots", &row);
    Ok((columns.count("counted")?, columns.count("orphans")?))
}

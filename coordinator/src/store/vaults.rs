//! Vaults: where backups are kept. Secrets lie here sealed; this module never opens them.

use holdfast_proto::ids::VaultId;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

use super::error::Result;
use super::row::Columns;

/// One vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaultRecord {
    /// Its id: what its secrets are sealed for.
    pub id: VaultId,
    /// Its name.
    pub name: String,
    /// `s3://bucket/prefix` or `file:///path`.
    pub address: String,
    /// Base URL of the S3 server; empty: the provider's own.
    pub endpoint: String,
    /// Region of the S3 server.
    pub region: String,
    /// The bucket goes into the path.
    pub path_style: bool,
    /// Role that runs assume; empty: static keys.
    pub role_arn: String,
    /// The public half of the vault's own keys.
    pub access_key_id: String,
    /// The secret half, sealed; empty: none.
    pub secret_access_key: Vec<u8>,
    /// What the repositories' passwords derive from, sealed.
    pub vault_secret: Vec<u8>,
    /// Used where a request names none.
    pub is_default: bool,
    /// The store keeps what is overwritten or deleted.
    pub append_only: bool,
    /// Why, or why not.
    pub append_only_detail: String,
    /// When it was added.
    pub created_micros: i64,
    /// When its contents were last read completely; 0: never.
    pub last_scan_micros: i64,
}

fn read(row: &AnyRow) -> Result<VaultRecord> {
    let columns = Columns::new("vaults", row);
    Ok(VaultRecord {
        id: columns.parsed("id")?,
        name: columns.text("name")?,
        address: columns.text("address")?,
        endpoint: columns.text("endpoint")?,
        region: columns.text("region")?,
        path_style: columns.truth("path_style")?,
        role_arn: columns.text("role_arn")?,
        access_key_id: columns.text("access_key_id")?,
        secret_access_key: columns.bytes("secret_access_key")?,
        vault_secret: columns.bytes("vault_secret")?,
        is_default: columns.truth("is_default")?,
        append_only: columns.truth("append_only")?,
        append_only_detail: columns.text("append_only_detail")?,
        created_micros: columns.int("created_micros")?,
        last_scan_micros: columns.int("last_scan_micros")?,
    })
}

/// Adds a vault. The caller has made room for a new default.
pub async fn add(connection: &mut AnyConnection, vault: &VaultRecord) -> Result<()> {
    sqlx::query(
        "INSERT INTO vaults (id, name, address, endpoint, region, path_style, role_arn, access_key_id, secret_access_key, \
         vault_secret, is_default, append_only, append_only_detail, created_micros, last_scan_micros) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0)",
    )
    .bind(vault.id.to_string())
    .bind(vault.name.clone())
    .bind(vault.address.clone())
    .bind(vault.endpoint.clone())
    .bind(vault.region.clone())
    .bind(i64::from(vault.path_style))
    .bind(vault.role_arn.clone())
    .bind(vault.access_key_id.clone())
    .bind(vault.secret_access_key.clone())
    .bind(vault.vault_secret.clone())
    .bind(i64::from(vault.is_default))
    .bind(i64::from(vault.append_only))
    .bind(vault.append_only_detail.clone())
    .bind(vault.created_micros)
    .execute(connection)
    .await?;
    Ok(())
}

/// No vault is the default any more.
pub async fn clear_default(connection: &mut AnyConnection) -> Result<()> {
    sqlx::query("UPDATE vaults SET is_default = 0 WHERE is_default = 1")
        .execute(connection)
        .await?;
    Ok(())
}

/// Records a complete scan.
pub async fn scanned(connection: &mut AnyConnection, name: &str, now: i64) -> Result<()> {
    sqlx::query("UPDATE vaults SET last_scan_micros = $2 WHERE name = $1")
        .bind(name)
        .bind(now)
        .execute(connection)
        .await?;
    Ok(())
}

/// The vault with this name.
pub async fn get(connection: &mut AnyConnection, name: &str) -> Result<Option<VaultRecord>> {
    let row = sqlx::query("SELECT * FROM vaults WHERE name = $1")
        .bind(name)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// The default vault.
pub async fn default(connection: &mut AnyConnection) -> Result<Option<VaultRecord>> {
    let row = sqlx::query("SELECT * FROM vaults WHERE is_default = 1")
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(read).transpose()
}

/// All vaults by name.
pub async fn list(connection: &mut AnyConnection) -> Result<Vec<VaultRecord>> {
    let rows = sqlx::query("SELECT * FROM vaults ORDER BY name")
        .fetch_all(connection)
        .await?;
    rows.iter().map(read).collect()
}

/// Whether the coordinator has made or opened this source's repository before.
pub async fn repository_known(
    connection: &mut AnyConnection,
    vault: VaultId,
    source: &str,
) -> Result<bool> {
    let row =
        sqlx::query("SELECT opened_micros FROM repositories WHERE vault_id = $1 AND source = $2")
            .bind(vault.to_string())
            .bind(source)
            .fetch_optional(connection)
            .await?;
    Ok(row.is_some())
}

/// Remembers that it has.
pub async fn repository_opened(
    connection: &mut AnyConnection,
    vault: VaultId,
    source: &str,
    now: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO repositories (vault_id, source, opened_micros) VALUES ($1, $2, $3) \
         ON CONFLICT (vault_id, source) DO NOTHING",
    )
    .bind(vault.to_string())
    .bind(source)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

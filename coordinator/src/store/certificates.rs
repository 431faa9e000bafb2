//! Certificates that were issued, so that one that was revoked is recognised until it runs out.

use sqlx::AnyConnection;

use super::error::Result;
use super::row::Columns;

/// Records a certificate of `holder` (`agent NAME`, `operator NAME`, ...).
pub async fn issued(
    connection: &mut AnyConnection,
    serial: &str,
    holder_id: &str,
    holder: &str,
    now: i64,
    expires_micros: i64,
) -> Result<()> {
    sqlx::query(
        "INSERT INTO certificates (serial, holder_id, holder, issued_micros, expires_micros, revoked_micros) \
         VALUES ($1, $2, $3, $4, $5, 0) ON CONFLICT (serial) DO NOTHING",
    )
    .bind(serial)
    .bind(holder_id)
    .bind(holder)
    .bind(now)
    .bind(expires_micros)
    .execute(connection)
    .await?;
    Ok(())
}

/// Revokes every certificate that `holder_id` still has, and says their serials.
pub async fn revoke_all(
    connection: &mut AnyConnection,
    holder_id: &str,
    now: i64,
) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "UPDATE certificates SET revoked_micros = $2 WHERE holder_id = $1 AND revoked_micros = 0 AND expires_micros > $2 \
         RETURNING serial",
    )
    .bind(holder_id)
    .bind(now)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Columns::new("certificates", row).text("serial"))
        .collect()
}

/// The serials that must be refused although their certificates have not run out.
pub async fn revoked(connection: &mut AnyConnection, now: i64) -> Result<Vec<String>> {
    let rows = sqlx::query(
        "SELECT serial FROM certificates WHERE revoked_micros > 0 AND expires_micros > $1",
    )
    .bind(now)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Columns::new("certificates", row).text("serial"))
        .collect()
}

/// Forgets certificates that ran out before `before_micros`.
pub async fn forget_expired(connection: &mut AnyConnection, before_micros: i64) -> Result<u64> {
    let done = sqlx::query("DELETE FROM certificates WHERE expires_micros < $1")
        .bind(before_micros)
        .execute(connection)
        .await?;
    Ok(done.rows_affected())
}

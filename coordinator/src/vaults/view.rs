//! Vaults as operators see them.

use holdfast_proto::v1;
use sqlx::AnyConnection;

use crate::fault::Result;
use crate::store::snapshots;
use crate::store::vaults::VaultRecord;

/// Which credentials the runs of a vault get.
#[must_use]
pub fn credentials_word(vault: &VaultRecord) -> &'static str {
    if vault.access_key_id.is_empty() {
        "none"
    } else if vault.role_arn.is_empty() {
        "static"
    } else {
        "sts"
    }
}

/// One vault.
pub async fn shown(connection: &mut AnyConnection, vault: VaultRecord) -> Result<v1::Vault> {
    let (counted, orphans) = snapshots::counts(connection, "", &vault.name).await?;
    Ok(v1::Vault {
        credentials: credentials_word(&vault).into(),
        name: vault.name,
        address: vault.address,
        endpoint: vault.endpoint,
        region: vault.region,
        is_default: vault.is_default,
        append_only: vault.append_only,
        append_only_detail: vault.append_only_detail,
        snapshots: counted + orphans,
        last_scan_micros: vault.last_scan_micros,
    })
}

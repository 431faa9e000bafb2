//! The recovery kit of a vault.

use holdfast_vault::RecoveryKit;

use super::OpenVault;
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::store::{audit, snapshots, sources};

/// The kit's text, with the sources known now.
pub async fn text(coordinator: &Coordinator, vault: &OpenVault) -> Result<String> {
    let mut connection = coordinator.store.read().await?;
    let mut names: Vec<String> = sources::list(&mut connection)
        .await?
        .into_iter()
        .map(|source| source.name)
        .collect();
    let filter = snapshots::Filter {
        vault: vault.record.name.clone(),
        include_orphans: true,
        limit: i64::MAX,
        ..Default::default()
    };
    let stored = snapshots::list(&mut connection, &filter).await?;
    names.extend(stored.into_iter().map(|snapshot| snapshot.source));
    names.sort();
    names.dedup();
    let kit = RecoveryKit {
        vault: vault.record.name.clone(),
        address: vault.address.clone(),
        endpoint: vault.endpoint.clone(),
        secret: vault.secret.clone(),
        sources: names,
    };
    Ok(kit.to_string())
}

/// The kit for an operator who asks for it, with an audit row: it opens everything in the vault.
pub async fn print(coordinator: &Coordinator, name: &str, operator: &str) -> Result<String> {
    let vault = OpenVault::named(coordinator, name).await?;
    let text = text(coordinator, &vault).await?;
    let mut tx = coordinator.store.begin().await?;
    let actor = format!("operator {operator}");
    audit::add(&mut tx, now_micros(), &actor, "vault.kit", name, "").await?;
    tx.commit().await?;
    Ok(text)
}

//! From a grant to an open repository.
//!
//! A backup may find none yet: in a `file://` vault this host makes it, because the coordinator may not see that
//! folder; in an S3 vault the coordinator has made it before the first grant, since a backup's credentials may not.

use std::future::Future;

use holdfast_sources::SourceError;
use holdfast_vault::{Repository, Storage, VaultAddress, VaultError};
use tokio_util::sync::CancellationToken;

use crate::held::grant::RunGrant;

/// Opens the repository for a backup.
pub async fn open_for_backup(
    grant: &RunGrant,
    cancel: &CancellationToken,
) -> Result<Repository, SourceError> {
    let storage = storage(grant)?;
    match grant.vault {
        VaultAddress::File { .. } => {
            let opened = Repository::open_or_create(storage, &grant.password);
            unless_cancelled(cancel, opened).await
        }
        VaultAddress::S3 { .. } => {
            unless_cancelled(cancel, Repository::open(storage, &grant.password)).await
        }
    }
}

/// Opens the repository that a snapshot is read from.
pub async fn open_for_restore(
    grant: &RunGrant,
    cancel: &CancellationToken,
) -> Result<Repository, SourceError> {
    unless_cancelled(cancel, Repository::open(storage(grant)?, &grant.password)).await
}

fn storage(grant: &RunGrant) -> Result<Storage, SourceError> {
    let (endpoint, credentials) = match &grant.s3 {
        Some((endpoint, cell)) => (Some(endpoint), Some(cell.clone())),
        None => (None, None),
    };
    let vault = Storage::open(&grant.vault, endpoint, credentials).map_err(VaultError::from)?;
    Ok(vault.subfolder(&grant.repository))
}

/// Gives work up as soon as the run is cancelled. Only for work that leaves nothing behind.
pub async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    work: impl Future<Output = Result<T, VaultError>>,
) -> Result<T, SourceError> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(SourceError::Cancelled),
        outcome = work => Ok(outcome?),
    }
}

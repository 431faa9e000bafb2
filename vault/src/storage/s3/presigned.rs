//! One signed request that writes one object: the right to put a snapshot, and nothing else, for a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use tokio::time::Instant;

use crate::address::{S3Endpoint, VaultAddress};
use crate::credentials::CredentialsCell;
use crate::id::Id;
use crate::storage::StorageError;

/// A PUT that somebody with more rights has signed. Whoever holds the URL may write this object.
#[derive(Debug, Clone)]
pub struct PresignedPut {
    /// Where, with the signature.
    pub url: SecretString,
    /// Headers that are part of the signature.
    pub headers: BTreeMap<String, String>,
}

/// Signs a PUT of `bytes` bytes with the SHA-256 `sha256` to `name` (below the vault's root), valid for `valid_for`.
#[allow(unused_variables, clippy::todo)]
pub async fn presign_put(
    address: &VaultAddress,
    endpoint: &S3Endpoint,
    credentials: &CredentialsCell,
    name: &str,
    sha256: &Id,
    bytes: u64,
    valid_for: Duration,
) -> Result<PresignedPut, StorageError> {
    todo!()
}

impl PresignedPut {
    /// Sends `bytes`, retrying passing faults until `deadline`; an attempt that would end later is not begun.
    #[allow(unused_variables, clippy::todo)]
    pub async fn send(&self, bytes: Bytes, deadline: Instant) -> Result<(), StorageError> {
        todo!()
    }
}

//! A vault with its secrets opened, for as long as one operation needs them.

use holdfast_vault::{
    CredentialsCell, Repository, S3Credentials, S3Endpoint, Storage, VaultAddress,
    repository_password,
};
use secrecy::SecretString;

use super::{SECRET_ACCESS_KEY, VAULT_SECRET};
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::store::vaults::{self, VaultRecord};

/// A vault that can be used.
#[derive(Debug)]
pub struct OpenVault {
    /// What the state says of it.
    pub record: VaultRecord,
    /// Where it is.
    pub address: VaultAddress,
    /// How its server is reached; `None` for a folder.
    pub endpoint: Option<S3Endpoint>,
    /// The vault's own keys; `None` for a folder.
    pub credentials: Option<S3Credentials>,
    /// What the repositories' passwords derive from.
    pub secret: SecretString,
}

impl OpenVault {
    /// Opens the vault called `name`.
    pub async fn named(coordinator: &Coordinator, name: &str) -> Result<Self> {
        let record = {
            let mut connection = coordinator.store.read().await?;
            vaults::get(&mut connection, name).await?
        };
        let record = record.ok_or_else(|| {
            Fault::NotFound(format!("no vault {name}")).hint("holdfastctl vault list shows them")
        })?;
        Self::open(coordinator, record)
    }

    /// Opens what a record describes.
    pub fn open(coordinator: &Coordinator, record: VaultRecord) -> Result<Self> {
        let address: VaultAddress =
            record
                .address
                .parse()
                .map_err(|error: holdfast_vault::address::InvalidAddress| {
                    Fault::Internal(error.to_string())
                })?;
        let unseal = |column, sealed: &[u8]| {
            coordinator
                .master_key
                .open(record.id, column, sealed)
                .map_err(|error| Fault::Refused(error.to_string()))
        };
        let secret = unseal(VAULT_SECRET, &record.vault_secret)?;
        let (endpoint, credentials) = match &address {
            VaultAddress::File { .. } => (None, None),
            VaultAddress::S3 { .. } => {
                let endpoint = S3Endpoint {
                    endpoint: Some(record.endpoint.clone()).filter(|url| !url.is_empty()),
                    region: record.region.clone(),
                    path_style: record.path_style,
                };
                let credentials = S3Credentials {
                    access_key_id: record.access_key_id.clone(),
                    secret_access_key: unseal(SECRET_ACCESS_KEY, &record.secret_access_key)?,
                    session_token: None,
                    expires_at: None,
                };
                (Some(endpoint), Some(credentials))
            }
        };
        Ok(Self {
            record,
            address,
            endpoint,
            credentials,
            secret,
        })
    }

    /// The whole vault, with its own keys.
    pub fn storage(&self) -> Result<Storage> {
        let credentials = self.credentials.clone().map(CredentialsCell::new);
        Ok(Storage::open(
            &self.address,
            self.endpoint.as_ref(),
            credentials,
        )?)
    }

    /// The password of one source's repository.
    #[must_use]
    pub fn password(&self, source: &str) -> SecretString {
        repository_password(&self.secret, source)
    }

    /// Makes the repository of `source` unless it is there: runs may not write its key and configuration. Folders are left
    /// to the agent, which sees them.
    pub async fn ensure_repository(&self, coordinator: &Coordinator, source: &str) -> Result<()> {
        if self.credentials.is_none() {
            return Ok(());
        }
        let storage = self.storage()?.subfolder(source);
        let known = {
            let mut connection = coordinator.store.read().await?;
            vaults::repository_known(&mut connection, self.record.id, source).await?
        };
        if known {
            match storage.stat("config").await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_not_found() => {
                    tracing::warn!(vault = %self.record.name, source, "the repository is gone; a new one is made");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Repository::open_or_create(storage, &self.password(source)).await?;
        let mut tx = coordinator.store.begin().await?;
        vaults::repository_opened(&mut tx, self.record.id, source, now_micros()).await?;
        Ok(tx.commit().await?)
    }
}

//! Reading a vault with nothing but its recovery kit: no coordinator, no configuration.
//!
//! Promise: what the kit's page says is enough. The kit gives address, endpoint and secret; the storage's own credentials come
//! from a file or the environment; from the secret and the source's name follows the repository's password.

mod kit;
mod snapshots;

use std::path::PathBuf;

use holdfast_vault::{CredentialsCell, RecoveryKit, Repository, Storage, VaultAddress};

use crate::credentials;
use crate::exit::{Class, CommandError};
use crate::granted::{Opened, open_repository};

pub use kit::load as load_kit;

/// How a command works without a coordinator.
#[derive(Debug, Clone, clap::Args)]
pub struct KitArgs {
    /// Work without a coordinator, from this recovery kit
    #[arg(long, value_name = "FILE", requires = "source")]
    pub kit: Option<PathBuf>,
    /// With --kit: a file with the storage's access key [default: the environment]
    #[arg(long, value_name = "FILE", requires = "kit")]
    pub credentials_file: Option<PathBuf>,
}

/// One source's repository, found by a kit.
pub struct Offline {
    kit: RecoveryKit,
    source: String,
    storage: Storage,
}

impl Offline {
    /// `None` when no kit was given: ask the coordinator.
    pub fn from_args(args: &KitArgs, source: Option<&str>) -> Result<Option<Self>, CommandError> {
        let (Some(path), Some(source)) = (&args.kit, source) else {
            return Ok(None);
        };
        let source =
            holdfast_proto::convert::name("source", source).map_err(CommandError::usage)?;
        let kit = kit::load(path)?;
        let credentials = match kit.address {
            VaultAddress::File { .. } => None,
            VaultAddress::S3 { .. } => {
                let found = credentials::find(args.credentials_file.as_deref())?;
                Some(CredentialsCell::new(found))
            }
        };
        let storage = Storage::open(&kit.address, kit.endpoint.as_ref(), credentials)?;
        Ok(Some(Self {
            storage: storage.subfolder(&source),
            kit,
            source,
        }))
    }

    async fn repository(&self) -> Result<Repository, CommandError> {
        let password = self.kit.password(&self.source);
        open_repository(self.storage.clone(), &password)
            .await
            .map_err(|error| self.explain(error.into()))
    }

    /// A name that is not in the vault is most often a misspelt one.
    fn explain(&self, error: CommandError) -> CommandError {
        if error.class != Class::NotFound || self.kit.sources.is_empty() {
            return error;
        }
        error.hint(format!(
            "sources when the kit was printed: {}",
            self.kit.sources.join(", ")
        ))
    }

    /// Opens the snapshot that `text` means: `latest`, an id, or its beginning.
    pub async fn open(&self, text: &str) -> Result<Opened, CommandError> {
        let repository = self.repository().await?;
        let all = repository.snapshots().await?;
        let id = snapshots::select(&all, text, &self.source)?;
        Opened::new(&repository, id, &self.source).await
    }

    /// The newest `limit` snapshots, newest first.
    pub async fn list(
        &self,
        limit: u32,
    ) -> Result<Vec<holdfast_proto::v1::Snapshot>, CommandError> {
        let all = self.repository().await?.snapshots().await?;
        Ok(snapshots::newest(all, limit, &self.source, &self.kit.vault))
    }
}

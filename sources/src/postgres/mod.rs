//! PostgreSQL, 14 to 18.

use std::path::Path;

use async_trait::async_trait;
use holdfast_vault::{BackupWriter, SnapshotReader};
use serde::Deserialize;

use crate::Source;
use crate::error::SourceError;
use crate::kind::{Method, SourceKind};
use crate::run::{
    BackupOutcome, BackupRequest, Description, RestoreOutcome, RestoreRequest, RunContext,
};

/// A PostgreSQL server in the agent's configuration.
#[derive(Debug, Clone, Deserialize)]
pub struct PostgresConfig {
    /// The source's name.
    pub name: String,
}

impl PostgresConfig {
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

/// One PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    name: String,
}

impl Postgres {
    /// A server as configured.
    pub fn new(config: &PostgresConfig, _folder: &Path) -> Result<Self, SourceError> {
        Ok(Self {
            name: config.name.clone(),
        })
    }
}

#[allow(clippy::todo)]
#[async_trait]
impl Source for Postgres {
    fn name(&self) -> &str {
        &self.name
    }
    fn kind(&self) -> SourceKind {
        SourceKind::Postgres
    }
    fn methods(&self) -> &'static [Method] {
        &[Method::Dump]
    }
    async fn describe(&self) -> Description {
        todo!()
    }
    async fn backup(
        &self,
        _request: &BackupRequest,
        _writer: &BackupWriter,
        _context: &RunContext,
    ) -> Result<BackupOutcome, SourceError> {
        todo!()
    }
    async fn restore(
        &self,
        _request: &RestoreRequest,
        _reader: &SnapshotReader,
        _context: &RunContext,
    ) -> Result<RestoreOutcome, SourceError> {
        todo!()
    }
    async fn drop_copy(&self, _database: &str, _context: &RunContext) -> Result<(), SourceError> {
        todo!()
    }
    async fn sweep(&self, _alive: &[String]) -> Result<Vec<String>, SourceError> {
        todo!()
    }
}

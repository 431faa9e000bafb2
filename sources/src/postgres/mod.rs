//! PostgreSQL, 14 to 18, method `dump`: `pg_dump` of every database into one snapshot, and back beside the live databases.
//!
//! - [`config`](PostgresConfig): the keys in the agent's configuration.
//! - `connect`, `tls`, `programs`, `catalog`: reaching a server and knowing it.
//! - `backup`, `dump_stream`, `archive`, `globals`, [`manifest`]: out of the server.
//! - `restore`, `checks`, `create`, `load`, `compare`, `swap`, `tables`: back into it.

mod aftermath;
mod archive;
mod backup;
mod catalog;
mod checks;
mod compare;
mod config;
mod connect;
mod create;
mod describe;
mod drop;
mod dump_facts;
mod dump_stream;
mod glob;
mod globals;
mod globals_apply;
mod load;
pub mod manifest;
mod names;
mod programs;
mod restore;
mod selection;
mod space;
mod sql;
mod statements;
mod subscriptions;
mod swap;
mod tables;
mod tables_into_schema;
mod tls;
mod toc_selection;
mod wanted_table;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use holdfast_vault::{BackupWriter, SnapshotReader};
use tokio_util::sync::CancellationToken;

use crate::Source;
use crate::error::SourceError;
use crate::kind::{Method, SourceKind};
use crate::run::{
    BackupOutcome, BackupRequest, Description, RestoreOutcome, RestoreRequest, RunContext,
};

pub use config::{PostgresConfig, TlsMode};

/// One PostgreSQL server.
#[derive(Debug)]
pub struct Postgres {
    name: String,
    config: PostgresConfig,
    server: connect::Server,
}

impl Postgres {
    /// A server as configured. Reads the password; connects to nobody.
    pub fn new(config: &PostgresConfig, folder: &Path) -> Result<Self, SourceError> {
        Ok(Self {
            name: config.name.clone(),
            server: connect::Server::new(config, folder)?,
            config: config.clone(),
        })
    }

    /// The client programs on this machine. Looked for anew each time: an upgrade needs no restart.
    pub(crate) async fn installed(&self, cancel: &CancellationToken) -> programs::Installed {
        programs::Installed::find(&self.config.programs, cancel).await
    }
}

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
        describe::describe(self).await
    }

    async fn backup(
        &self,
        request: &BackupRequest,
        writer: &BackupWriter,
        context: &RunContext,
    ) -> Result<BackupOutcome, SourceError> {
        match request.method {
            Method::Dump => until_cancelled(context, backup::backup(self, writer, context)).await,
        }
    }

    async fn restore(
        &self,
        request: &RestoreRequest,
        reader: &SnapshotReader,
        context: &RunContext,
    ) -> Result<RestoreOutcome, SourceError> {
        restore::restore(self, request, reader, context).await
    }

    async fn drop_copy(&self, database: &str, context: &RunContext) -> Result<(), SourceError> {
        drop::drop_copy(self, database, context).await
    }

    async fn sweep(&self, alive: &[String]) -> Result<Vec<String>, SourceError> {
        drop::sweep(self, alive).await
    }
}

/// How long cancelled work may take to end in order, its child programs included, before it is cut off.
const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// Runs `work` until the run is cancelled. Then the work has a moment to end in order: it meets the cancelled token at
/// every child program. What a future that is cut off held (sessions, programs) ends with it.
async fn until_cancelled<T>(
    context: &RunContext,
    work: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    let mut work = std::pin::pin!(work);
    if let Some(done) = context.cancel.run_until_cancelled(&mut work).await {
        return done;
    }
    let _ended = tokio::time::timeout(CANCEL_GRACE, work).await;
    Err(SourceError::Cancelled)
}

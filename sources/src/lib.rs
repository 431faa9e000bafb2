//! What we protect: one module per service kind behind one trait.
//!
//! A source turns a service into streams for a [`BackupWriter`] and streams of a [`SnapshotReader`] back into the
//! service. It knows no network protocol of ours: whoever runs it (the agent) hands it a [`RunContext`] and turns
//! what comes back into messages.
//!
//! The promises every kind keeps: a backup that fails in any stream returns an error, and its caller then writes no
//! snapshot; a restore touches nothing of the live service before it has checked what it can, and leaves it serving
//! when it fails; a cancelled run ends its child processes and takes its half-made copies away.

mod config;
mod error;
mod kind;
pub mod postgres;
mod process;
mod run;

use async_trait::async_trait;
use holdfast_vault::{BackupWriter, SnapshotReader};

pub use config::SourceConfig;
pub use error::{FailureClass, SourceError};
pub use kind::{Method, SourceKind};
pub use run::{
    BackupOutcome, BackupRequest, CommitGate, Description, Reporter, RestoreOutcome,
    RestoreRequest, RestoredDatabase, RunContext, Subscriptions,
};

/// One protected service as an agent sees it. Cheap to share; opens its connections per call.
#[async_trait]
pub trait Source: Send + Sync + std::fmt::Debug {
    /// Its name in the configuration, and of its repository.
    fn name(&self) -> &str;

    /// What kind of service it is.
    fn kind(&self) -> SourceKind;

    /// The ways to back it up; the first is the default.
    fn methods(&self) -> &'static [Method];

    /// Connects, and says what is there. What is wrong is part of the answer, never an error.
    async fn describe(&self) -> Description;

    /// Writes the service's data and its manifest into `writer`. The caller writes the snapshot, and only when this
    /// returned `Ok`.
    async fn backup(
        &self,
        request: &BackupRequest,
        writer: &BackupWriter,
        context: &RunContext,
    ) -> Result<BackupOutcome, SourceError>;

    /// Brings what `request` names back from `reader`.
    async fn restore(
        &self,
        request: &RestoreRequest,
        reader: &SnapshotReader,
        context: &RunContext,
    ) -> Result<RestoreOutcome, SourceError>;

    /// Drops the copy of a database that a restore left behind; anything else is refused.
    async fn drop_copy(&self, database: &str, context: &RunContext) -> Result<(), SourceError>;

    /// Takes away what dead runs left half made (never a finished copy), except what belongs to the runs in
    /// `alive`. Says what it took away.
    async fn sweep(&self, alive: &[String]) -> Result<Vec<String>, SourceError>;
}

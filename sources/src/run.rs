//! What a source is asked for, how it tells how far it is, and what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::error::SourceError;
use crate::kind::Method;

/// Hears how a run is going. Calls are cheap and never block.
pub trait Reporter: Send + Sync {
    /// What is being done now, in words for people: "dumping app".
    fn phase(&self, phase: &str);
    /// Bytes the whole run will read, as far as they can be told; may be corrected while running.
    fn expected_bytes(&self, bytes: u64);
    /// More bytes read from the snapshot. (A backup's are counted by its writer.)
    fn restored_bytes(&self, bytes: u64);
    /// A line for the run's log. `origin` is "info", "warn", "error", or the child program whose stderr it is.
    fn log(&self, origin: &str, text: &str);
}

/// Stands before the step that changes the live service.
#[async_trait]
pub trait CommitGate: Send + Sync {
    /// Asked once, right before that step: whether this run may still take it. An `Err` means that the step must
    /// not be taken: another attempt may have the run already.
    async fn enter(&self) -> Result<(), SourceError>;
}

/// What surrounds one run.
#[derive(Clone)]
pub struct RunContext {
    /// The run's id: names what it makes, so that it can be found and swept.
    pub run_id: String,
    /// Ends the work, its child processes included.
    pub cancel: CancellationToken,
    /// Hears how it goes.
    pub reporter: Arc<dyn Reporter>,
    /// Lets the run change the live service. Only restores and dropped copies ask.
    pub gate: Arc<dyn CommitGate>,
}

/// How to back up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRequest {
    /// One of the source's methods.
    pub method: Method,
}

/// What a backup came to, besides what its writer counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupOutcome {
    /// The `manifest.json` that was stored; it may hold secrets of applications.
    pub manifest_json: String,
    /// What a person should know although the backup is whole: skipped databases, settings that will not restore.
    pub warnings: Vec<String>,
}

/// What to do about the subscriptions of a database that is swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subscriptions {
    /// Refuse the swap.
    #[default]
    Refuse,
    /// The restored database has none.
    Skip,
    /// The restored database takes them over.
    Move,
}

/// What to restore, and into what. Contradictions were refused before it got here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreRequest {
    /// Empty: all of the snapshot's.
    pub databases: BTreeSet<String>,
    /// `table` or `schema.table`, of the one database.
    pub tables: BTreeSet<String>,
    /// Name of the new database; `None`: swap in place.
    pub into: Option<String>,
    /// With tables: the schema of the live database that receives them.
    pub into_schema: Option<String>,
    /// Roles and tablespaces, too.
    pub globals: bool,
    /// Drop the previous database at the end.
    pub drop_old: bool,
    /// What to do about subscriptions.
    pub subscriptions: Subscriptions,
    /// Disconnect clients of the live database at the swap instead of refusing.
    pub disconnect_clients: bool,
}

/// One database that came back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoredDatabase {
    /// Its name in the snapshot.
    pub name: String,
    /// Where it is now.
    pub restored_as: String,
    /// The safety copy of what was there before, when there is one.
    pub previous_as: Option<String>,
    /// Tables compared with the manifest.
    pub tables: u64,
    /// Rows in them.
    pub rows: u64,
}

/// What a restore came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreOutcome {
    /// What came back.
    pub databases: Vec<RestoredDatabase>,
    /// What a person should know although the restore is whole.
    pub warnings: Vec<String>,
}

/// What a source says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Description {
    /// Facts for people, without secrets: address, server version, databases.
    pub facts: BTreeMap<String, String>,
    /// Why it could not be backed up now, with what to do; `None`: it could.
    pub problem: Option<String>,
}

//! The work of one run: one file for each kind.
//!
//! Promises: a run that returns an error has left nothing that counts (no snapshot, an untouched live service). A
//! cancelled run gets [`CANCEL_GRACE`] to end its children and take its half-made things away; what still does not
//! return is dropped, and its children are killed with it.

pub mod backup;
pub mod commit;
pub mod drop_copy;
pub mod failure;
pub mod restore;
mod storage;

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::convert::{RunEpoch, RunOrder, RunTask};
use holdfast_proto::ids::SnapshotId;
use holdfast_proto::v1;
use holdfast_sources::{Reporter as _, RunContext, Source, SourceError};

use crate::config::BackupSettings;
use crate::held::grant::RunGrant;
use crate::progress::RunReporter;
use commit::CommitDesk;

/// How long a cancelled run may take to end.
pub const CANCEL_GRACE: Duration = Duration::from_secs(20);

/// Everything a run's task needs.
#[derive(Debug)]
pub struct Job {
    /// The run and the epoch it is done under.
    pub key: RunEpoch,
    /// What to do.
    pub order: RunOrder,
    /// What it may use; runs that touch no vault have none.
    pub grant: Option<RunGrant>,
    /// The snapshot that an earlier epoch was permitted to commit.
    pub permitted_snapshot: Option<SnapshotId>,
    /// The service.
    pub source: Arc<dyn Source>,
    /// The agent's name: the host of the snapshots it makes.
    pub agent: String,
    /// How backups are made.
    pub settings: BackupSettings,
    /// Hears how it goes.
    pub reporter: Arc<RunReporter>,
    /// Asks for the permission to commit; also carries the run's cancellation.
    pub commit: CommitDesk,
    /// Runs of this source, besides this one, whose half-made things are to stay.
    pub alive: Vec<String>,
}

impl Job {
    /// What the source gets to see of the run.
    #[must_use]
    pub fn context(&self) -> RunContext {
        RunContext {
            run_id: self.key.run.to_string(),
            cancel: self.commit.cancel.clone(),
            reporter: Arc::clone(&self.reporter) as _,
            gate: Arc::new(self.commit.clone()),
        }
    }

    fn grant(&self) -> Result<&RunGrant, SourceError> {
        self.grant.as_ref().ok_or_else(|| {
            SourceError::permanent(
                "the coordinator sent no grant with the run",
                "update the coordinator: it is older or newer than this agent can work with",
            )
        })
    }
}

/// Does the run, and says what it came to.
pub async fn execute(job: Job) -> Result<v1::RunResult, v1::Failure> {
    let cancel = job.commit.cancel.clone();
    let overdue = async {
        cancel.cancelled().await;
        tokio::time::sleep(CANCEL_GRACE).await;
    };
    let outcome = tokio::select! {
        outcome = work(&job) => outcome,
        () = overdue => {
            tracing::warn!("the cancelled run did not end within {CANCEL_GRACE:?} and was dropped");
            Err(SourceError::Cancelled)
        }
    };
    match outcome {
        Ok(result) => Ok(v1::RunResult {
            result: Some(result),
        }),
        Err(error) => {
            let failure = failure::failure(&error);
            if !cancel.is_cancelled() {
                tracing::warn!(error = %failure.message, hint = %failure.hint, class = ?error.class(), "run failed");
            }
            Err(failure)
        }
    }
}

async fn work(job: &Job) -> Result<v1::run_result::Result, SourceError> {
    match &job.order.task {
        RunTask::Backup(task) => backup::back_up(job, task)
            .await
            .map(v1::run_result::Result::Backup),
        RunTask::Restore(task) => restore::restore(job, task)
            .await
            .map(v1::run_result::Result::Restore),
        RunTask::DropCopy { database } => drop_copy::drop_copy(job, database)
            .await
            .map(v1::run_result::Result::DroppedCopy),
    }
}

/// What a source warns of, as much as fits into a message; the rest goes into the run's log.
fn bounded(job: &Job, mut warnings: Vec<String>) -> Vec<String> {
    const MOST: usize = 200;
    const LONGEST_BYTES: usize = 2048;
    let rest = warnings.split_off(MOST.min(warnings.len()));
    for warning in &rest {
        job.reporter.log("warn", warning);
    }
    if !rest.is_empty() {
        warnings.push(format!("and {} more, in the run's log", rest.len()));
    }
    for warning in &mut warnings {
        warning.truncate(warning.floor_char_boundary(LONGEST_BYTES));
    }
    warnings
}

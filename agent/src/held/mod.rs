//! The runs this process holds: assigned to it, being worked on, or done and not acknowledged.

pub mod event;
pub mod grant;
pub mod life;
pub mod stop;

use std::sync::Arc;

use holdfast_proto::convert::{RunEpoch, RunOrder};
use holdfast_proto::ids::SnapshotId;
use holdfast_proto::v1;
use holdfast_sources::Source;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::progress::RunReporter;
use crate::runs::commit::Permit;
use grant::RunGrant;
use life::{Life, Phase};

/// What a run is to do and with what; gone once it is finished.
#[derive(Debug)]
pub struct Work {
    /// What to do.
    pub order: RunOrder,
    /// What it may use.
    pub grant: Option<RunGrant>,
    /// The snapshot that an earlier epoch was permitted to commit.
    pub permitted_snapshot: Option<SnapshotId>,
    /// The service.
    pub source: Arc<dyn Source>,
}

/// One held run.
#[derive(Debug)]
pub struct Held {
    /// Where it stands.
    pub life: Life,
    /// What it is to do; `None` when it is finished.
    pub work: Option<Work>,
    /// Hears how it goes.
    pub reporter: Arc<RunReporter>,
    /// Ends its task.
    pub cancel: CancellationToken,
    /// Its task waits here for the permission to commit.
    pub answer: Option<oneshot::Sender<Result<Permit, String>>>,
    /// Its part of the run's trace.
    pub span: tracing::Span,
}

/// All of them, in the order they were assigned.
#[derive(Debug, Default)]
pub struct HeldRuns {
    runs: Vec<Held>,
}

impl HeldRuns {
    /// Takes one more.
    pub fn add(&mut self, held: Held) {
        self.runs.push(held);
    }

    /// The run under this epoch.
    pub fn get(&mut self, key: RunEpoch) -> Option<&mut Held> {
        self.runs.iter_mut().find(|held| held.life.key() == key)
    }

    /// Drops what is known of it.
    pub fn forget(&mut self, key: RunEpoch) {
        self.runs.retain(|held| held.life.key() != key);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.runs.iter()
    }

    /// The keys of all of them.
    #[must_use]
    pub fn keys(&self) -> Vec<RunEpoch> {
        self.runs.iter().map(|held| held.life.key()).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// How many tasks run.
    #[must_use]
    pub fn working(&self) -> usize {
        self.runs.iter().filter(|held| held.life.has_task()).count()
    }

    /// How they are named to the coordinator.
    #[must_use]
    pub fn named(&self) -> Vec<v1::HeldRun> {
        self.runs
            .iter()
            .filter_map(|held| held.life.named())
            .collect()
    }

    /// The oldest run that waits for a source that `is_free`.
    pub fn next_to_begin(&self, is_free: impl Fn(&str) -> bool) -> Option<RunEpoch> {
        let waiting = self.runs.iter().find(|held| {
            let free = held
                .work
                .as_ref()
                .is_some_and(|work| is_free(work.source.name()));
            *held.life.phase() == Phase::Waiting && free
        });
        waiting.map(|held| held.life.key())
    }

    /// Ids of the runs of `source`, but for `except`.
    #[must_use]
    pub fn of_source(&self, source: &str, except: Option<RunEpoch>) -> Vec<String> {
        self.runs
            .iter()
            .filter(|held| {
                let work = held.work.as_ref();
                work.is_some_and(|work| work.source.name() == source)
                    && except.is_none_or(|key| held.life.key().run != key.run)
            })
            .map(|held| held.life.key().run.to_string())
            .collect()
    }
}

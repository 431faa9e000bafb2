//! Assignments, and the tasks that do them: one run for each source at a time, a few in total.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::convert::{self, Malformed, RunEpoch, RunOrder};
use holdfast_proto::v1;
use holdfast_sources::Source;
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::Session;
use crate::held::event::Input;
use crate::held::grant::{GrantTimes, RunGrant};
use crate::held::life::{Life, Limits};
use crate::held::stop::Stop;
use crate::held::{Held, Work};
use crate::metrics;
use crate::runs::commit::CommitDesk;
use crate::runs::{Job, execute, failure};

/// Runs worked on at once.
pub const MAX_WORKING: usize = 4;
/// Runs held at once, those that wait and those that are not acknowledged included.
const MAX_HELD: usize = 64;
/// How long the sweep of one source may take.
const SWEEP_LIMIT: Duration = Duration::from_secs(60);

/// How a run's task ended.
pub(super) type TaskEnd = Result<v1::RunResult, v1::Failure>;

impl Session {
    pub(super) fn on_assignment(&mut self, assignment: v1::RunAssignment) {
        let key = match convert::run_epoch(&assignment.run_id, assignment.epoch) {
            Ok(key) => key,
            Err(error) => {
                tracing::error!(%error, "the coordinator sent a malformed assignment");
                return;
            }
        };
        if self.held.get(key).is_some() {
            // Told twice: say again how it stands.
            self.step(key, Input::LinkUp { kept: true }, None);
            return;
        }
        if self.supersede(key) {
            return;
        }
        self.take(key, assignment);
        if self.leaving.is_some() {
            self.step(key, Input::Stop(Stop::Shutdown), None);
        }
    }

    /// Holds the run from now on; one that cannot be done here is over at once.
    fn take(&mut self, key: RunEpoch, assignment: v1::RunAssignment) {
        let span = self.span_of(key, &assignment.traceparent);
        let now = Instant::now();
        let deadline = Some(assignment.deadline_seconds)
            .filter(|seconds| *seconds > 0)
            .map(|seconds| now + Duration::from_secs(seconds));
        let (work, grant, refused) = match self.read_work(assignment, now, &span) {
            Ok((work, times)) => (Some(work), times, None),
            Err(failure) => (None, GrantTimes::ENDLESS, Some(failure)),
        };
        self.held.add(Held {
            life: Life::new(key, Limits { deadline, grant }),
            work,
            reporter: Arc::default(),
            cancel: CancellationToken::new(),
            answer: None,
            span,
        });
        if let Some(failure) = refused {
            self.step(key, Input::Ended(Err(failure)), None);
        }
    }

    /// This agent's part of the run's trace.
    fn span_of(&self, key: RunEpoch, traceparent: &str) -> tracing::Span {
        let span = tracing::info_span!(
            "run",
            run_id = %key.run,
            epoch = key.epoch.0,
            agent = %self.agent,
            source = tracing::field::Empty,
            kind = tracing::field::Empty,
        );
        holdfast_telemetry::continue_trace(&span, traceparent);
        span
    }

    /// Ends earlier attempts of the same run; true when a later one is held already.
    fn supersede(&mut self, key: RunEpoch) -> bool {
        let same_run: Vec<_> = self
            .held
            .keys()
            .into_iter()
            .filter(|held| held.run == key.run)
            .collect();
        if same_run.iter().any(|held| held.epoch > key.epoch) {
            return true;
        }
        for earlier in same_run {
            let reason = format!("attempt {} was handed out", key.epoch);
            self.step(earlier, Input::Stop(Stop::LeaseLost { reason }), None);
        }
        false
    }

    fn read_work(
        &self,
        assignment: v1::RunAssignment,
        now: Instant,
        span: &tracing::Span,
    ) -> Result<(Work, GrantTimes), v1::Failure> {
        if self.held.len() >= MAX_HELD {
            return Err(failure::failure(&holdfast_sources::SourceError::retryable(
                format!("this agent holds {MAX_HELD} runs already"),
                "wait for some of them to end",
            )));
        }
        let malformed = |error: Malformed| {
            failure::permanent(
                format!("the coordinator's assignment cannot be read: {error}"),
                "update the older of coordinator and agent",
            )
        };
        let spec = convert::required("spec", assignment.spec).map_err(malformed)?;
        let order = RunOrder::try_from(spec).map_err(malformed)?;
        span.record("source", order.source.as_str());
        span.record("kind", kind(&order));
        let source = self.find_source(&order.source)?;
        let permitted_snapshot = Some(assignment.permitted_snapshot_id)
            .filter(|id| !id.is_empty())
            .map(|id| convert::id("permitted_snapshot_id", &id))
            .transpose()
            .map_err(malformed)?;
        let (grant, times) = match assignment.grant {
            Some(grant) => {
                let (grant, times) = RunGrant::read(grant, now).map_err(malformed)?;
                (Some(grant), times)
            }
            None => (None, GrantTimes::ENDLESS),
        };
        let work = Work {
            order,
            grant,
            permitted_snapshot,
            source,
        };
        Ok((work, times))
    }

    fn find_source(&self, name: &str) -> Result<Arc<dyn Source>, v1::Failure> {
        self.sources.get(name).cloned().ok_or_else(|| {
            let known: Vec<_> = self.sources.keys().map(String::as_str).collect();
            failure::permanent(
                format!("agent {} has no source {name:?}", self.agent),
                format!(
                    "its sources are: {}; add a [[source]] to the agent's configuration and restart it",
                    known.join(", ")
                ),
            )
        })
    }

    /// Begins what may begin: the oldest first.
    pub(super) fn begin_waiting_runs(&mut self) {
        while self.held.working() < MAX_WORKING && self.leaving.is_none() {
            let Some(key) = self.held.next_to_begin(|source| self.is_free(source)) else {
                return;
            };
            self.step(key, Input::Begin, None);
            self.spawn(key);
        }
    }

    fn spawn(&mut self, key: RunEpoch) {
        let alive = {
            let work = self.held.get(key).and_then(|held| held.work.as_ref());
            let source = work.map(|work| work.source.name().to_owned());
            source.map(|source| self.held.of_source(&source, Some(key)))
        };
        let Some(held) = self.held.get(key) else {
            return;
        };
        let Some(work) = &held.work else { return };
        let job = Job {
            key,
            order: work.order.clone(),
            grant: work.grant.clone(),
            permitted_snapshot: work.permitted_snapshot.clone(),
            source: Arc::clone(&work.source),
            agent: self.agent.clone(),
            settings: self.backup.clone(),
            reporter: Arc::clone(&held.reporter),
            commit: CommitDesk {
                key,
                asks: self.ask_sender.clone(),
                cancel: held.cancel.clone(),
            },
            alive: alive.unwrap_or_default(),
        };
        let span = held.span.clone();
        span.in_scope(|| tracing::info!("run begins"));
        let kind = kind(&job.order);
        let task = async move {
            let begun = Instant::now();
            let end = execute(job).await;
            metrics::run_ended(kind, end.is_ok(), begun.elapsed());
            end
        };
        let id = self.tasks.spawn(task.instrument(span)).id();
        self.task_keys.insert(id, key);
    }

    pub(super) fn on_task_end(&mut self, end: Result<(tokio::task::Id, TaskEnd), JoinError>) {
        let (id, outcome) = match end {
            Ok(ended) => ended,
            Err(error) => (error.id(), Err(broken(&error))),
        };
        let Some(key) = self.task_keys.remove(&id) else {
            return;
        };
        if let Some(held) = self.held.get(key) {
            let _in_run = held.span.enter();
            tracing::info!(done = outcome.is_ok(), "run is over");
        }
        self.step(key, Input::Ended(outcome), None);
        if let Some(held) = self.held.get(key) {
            // The run's trace ends with its work, not with the coordinator's acknowledgement.
            held.span = tracing::Span::none();
        }
    }

    /// Takes away what dead runs of an earlier process left half made.
    pub(super) fn sweep_sources(&mut self) {
        for (name, source) in self.sources.clone() {
            let alive = self.held.of_source(&name, None);
            self.sweeping.insert(name);
            self.sweeps.spawn(sweep(source, alive));
        }
    }

    pub(super) fn on_swept(&mut self, swept: Result<String, JoinError>) {
        match swept {
            Ok(source) => {
                self.sweeping.remove(&source);
            }
            Err(error) => {
                tracing::error!(%error, "a sweep broke");
                // Which one is not told; none may hold its source back for ever.
                if self.sweeps.is_empty() {
                    self.sweeping.clear();
                }
            }
        }
    }
}

async fn sweep(source: Arc<dyn Source>, alive: Vec<String>) -> String {
    let name = source.name().to_owned();
    match tokio::time::timeout(SWEEP_LIMIT, source.sweep(&alive)).await {
        Ok(Ok(swept)) => {
            for what in swept {
                tracing::info!(source = %name, %what, "swept what an earlier run left");
            }
        }
        Ok(Err(error)) => {
            tracing::warn!(source = %name, %error, "could not sweep; a later start tries again");
        }
        Err(_) => {
            tracing::warn!(source = %name, "the sweep took more than {SWEEP_LIMIT:?}; a later start tries again");
        }
    }
    name
}

fn kind(order: &RunOrder) -> &'static str {
    match order.task {
        convert::RunTask::Backup(_) => "backup",
        convert::RunTask::Restore(_) => "restore",
        convert::RunTask::DropCopy { .. } => "drop_copy",
    }
}

fn broken(error: &JoinError) -> v1::Failure {
    tracing::error!(%error, "a run's task broke");
    failure::permanent(
        "internal failure: the run's task broke; nothing of it counts",
        "see the agent's log, and report what it says",
    )
}

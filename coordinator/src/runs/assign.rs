//! Hands queued runs to their agents.
//!
//! One run per source and [`RUNS_PER_AGENT`] per agent at a time. The order: the grant is made ready first, without which
//! nothing can begin; then the state says `assigned` under the next epoch; then the agent is told. A coordinator that dies
//! between the last two has a run whose lease lapses; one that dies earlier has changed nothing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_proto::ids::{AgentId, RunId};
use holdfast_proto::run::RunState;
use holdfast_proto::v1;
use holdfast_proto::v1::coordinator_message::Message;
use tracing::Instrument as _;

use super::{announce, failure, grant, retry};
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::model::retry::Ending;
use crate::model::run::{Step, is_handed_out};
use crate::store::grants;
use crate::store::runs::{self, RunRecord};

/// Runs that one agent works on at once.
pub const RUNS_PER_AGENT: usize = 4;

/// How long storage and its token service may take for one grant.
const GRANT_DEADLINE: Duration = Duration::from_secs(60);

/// Which sources and agents have work already.
#[derive(Debug, Default)]
pub struct Occupied {
    sources: HashMap<String, RunId>,
    agents: HashMap<AgentId, usize>,
}

impl Occupied {
    /// By the runs that are handed out, and those that are about to be.
    #[must_use]
    pub fn by(unfinished: &[RunRecord], handing_out: &HashSet<RunId>) -> Self {
        let mut occupied = Self::default();
        for run in unfinished {
            if is_handed_out(run.state) || handing_out.contains(&run.id) {
                occupied.add(run);
            }
        }
        occupied
    }

    /// The run that has this source.
    #[must_use]
    pub fn source(&self, source: &str) -> Option<RunId> {
        self.sources.get(source).copied()
    }

    /// Whether this agent may have one more.
    #[must_use]
    pub fn has_room(&self, agent: AgentId) -> bool {
        self.agents.get(&agent).copied().unwrap_or_default() < RUNS_PER_AGENT
    }

    fn add(&mut self, run: &RunRecord) {
        self.sources.insert(run.source.clone(), run.id);
        *self.agents.entry(run.agent).or_default() += 1;
    }
}

/// Begins to hand out every run that can be. Each goes its own way, so that a storage that does not answer delays no other.
pub async fn assign_queued(coordinator: &Arc<Coordinator>) -> Result<()> {
    let unfinished = {
        let mut connection = coordinator.store.read().await?;
        runs::unfinished(&mut connection).await?
    };
    let now = now_micros();
    let mut occupied = Occupied::by(&unfinished, &coordinator.handing_out());
    for run in unfinished {
        let waits = run.state != RunState::Queued
            || run.not_before_micros > now
            || occupied.source(&run.source).is_some()
            || !occupied.has_room(run.agent)
            || coordinator.sessions.get(run.agent).is_none();
        if waits || !first_has_succeeded(coordinator, &run).await? {
            continue;
        }
        occupied.add(&run);
        coordinator.handing_out().insert(run.id);
        let coordinator = Arc::clone(coordinator);
        tokio::spawn(async move {
            let span = span_of(&run);
            if let Err(error) = hand_out(&coordinator, &run).instrument(span).await {
                tracing::error!(run = %run.id, %error, "cannot hand the run out");
            }
            coordinator.handing_out().remove(&run.id);
            coordinator.nudge.notify_one();
        });
    }
    Ok(())
}

/// A span of the run's own trace.
fn span_of(run: &RunRecord) -> tracing::Span {
    let span =
        tracing::info_span!("assign", run = %run.id, source = %run.source, agent = %run.agent);
    holdfast_telemetry::continue_trace(&span, &run.traceparent);
    span
}

/// Whether the run that goes before has succeeded; one that did not takes this one with it.
async fn first_has_succeeded(coordinator: &Coordinator, run: &RunRecord) -> Result<bool> {
    let Some(first) = run.after_run else {
        return Ok(true);
    };
    let state = {
        let mut connection = coordinator.store.read().await?;
        runs::get(&mut connection, first)
            .await?
            .map(|first| first.state)
    };
    match state {
        Some(RunState::Succeeded) => return Ok(true),
        Some(state) if !state.is_final() => return Ok(false),
        _ => {}
    }
    let result = failure(
        v1::FailureClass::Refused,
        &format!("the safety backup (run {first}) did not succeed, so nothing was restored"),
        "see its log with `holdfastctl run logs`, or restore with --no-safety when the database is too damaged to dump",
    );
    let mut tx = coordinator.store.begin().await?;
    let now = now_micros();
    let failed = runs::advance(&mut tx, run, Step::Fail, now, |run| {
        run.result = Some(result)
    })
    .await?;
    tx.commit().await?;
    if let Some(failed) = failed {
        announce(coordinator, &failed);
    }
    Ok(false)
}

async fn hand_out(coordinator: &Coordinator, queued: &RunRecord) -> Result<()> {
    // 1. What the agent needs.
    let grant = match tokio::time::timeout(GRANT_DEADLINE, grant::issue(coordinator, queued)).await
    {
        Ok(Ok(grant)) => grant,
        Ok(Err(fault)) => return refuse(coordinator, queued, &fault).await,
        Err(_) => {
            let fault = Fault::Unavailable(format!(
                "vault {} did not answer within {} s",
                queued.vault,
                GRANT_DEADLINE.as_secs()
            ));
            return refuse(coordinator, queued, &fault).await;
        }
    };
    // 2. The state.
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    let Some(run) = runs::get(&mut tx, queued.id).await? else {
        return Ok(());
    };
    let assigned = runs::advance(&mut tx, &run, Step::Assign, now, |run| {
        run.epoch = run.epoch.next();
        run.attempt += 1;
        if run.started_micros == 0 {
            run.started_micros = now;
        }
    })
    .await?;
    let Some(run) = assigned else {
        // Cancelled meanwhile.
        return Ok(());
    };
    if let Some(issued) = &grant {
        grants::add(&mut tx, &issued.record).await?;
    }
    coordinator.leases.renew(run.id, run.epoch, Instant::now());
    tx.commit().await?;
    announce(coordinator, &run);
    // 3. The agent.
    let message = assignment(coordinator, &run, grant.map(|issued| issued.grant), now);
    let delivered = coordinator
        .sessions
        .get(run.agent)
        .is_some_and(|session| session.push(message));
    if !delivered {
        give_back(coordinator, &run).await?;
    }
    Ok(())
}

fn assignment(
    coordinator: &Coordinator,
    run: &RunRecord,
    grant: Option<v1::Grant>,
    now: i64,
) -> Message {
    let permitted = run.permitted_snapshot.clone();
    Message::Assignment(v1::RunAssignment {
        run_id: run.id.to_string(),
        epoch: run.epoch.0,
        spec: Some(run.spec.clone()),
        grant,
        deadline_seconds: super::deadline::remaining(coordinator, run, now)
            .as_secs()
            .max(1),
        traceparent: run.traceparent.clone(),
        permitted_snapshot_id: permitted.map(String::from).unwrap_or_default(),
    })
}

/// The agent went away before it was told: nobody has the run.
async fn give_back(coordinator: &Coordinator, run: &RunRecord) -> Result<()> {
    let mut tx = coordinator.store.begin().await?;
    let requeued = runs::advance(&mut tx, run, Step::Requeue, now_micros(), |run| {
        run.attempt -= 1;
    })
    .await?;
    tx.commit().await?;
    if let Some(requeued) = requeued {
        announce(coordinator, &requeued);
    }
    Ok(())
}

/// There is no grant, so the attempt ends before it began.
async fn refuse(coordinator: &Coordinator, queued: &RunRecord, fault: &Fault) -> Result<()> {
    tracing::warn!(run = %queued.id, source = %queued.source, error = %fault, "no grant for the run");
    let mut tx = coordinator.store.begin().await?;
    let Some(run) = runs::get(&mut tx, queued.id).await? else {
        return Ok(());
    };
    if run.state != RunState::Queued {
        return Ok(());
    }
    let text = fault.to_string();
    let (message, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
    let (class, ending) = if fault.is_retryable() {
        (v1::FailureClass::Retryable, Ending::Retryable)
    } else {
        (v1::FailureClass::Permanent, Ending::Final)
    };
    let now = now_micros();
    let after = retry::unassigned(
        coordinator,
        &mut tx,
        &run,
        ending,
        failure(class, message, hint),
        now,
    )
    .await?;
    tx.commit().await?;
    if let Some(after) = after {
        announce(coordinator, &after);
    }
    Ok(())
}

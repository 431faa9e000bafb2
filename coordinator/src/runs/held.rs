//! Which of the runs that an agent names it may go on with.

use std::collections::HashSet;
use std::time::Instant;

use holdfast_proto::convert::{RunEpoch, run_epoch};
use holdfast_proto::ids::AgentId;
use holdfast_proto::run::RunState;
use holdfast_proto::v1;

use super::lapse;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::store::runs::{self, RunRecord};

/// Longest list of held runs that is read: an agent works on four.
const MAX_HELD: usize = 256;

/// The answer to what an agent holds.
#[derive(Debug, Default)]
pub struct Answer {
    /// It may go on with these; their leases are renewed.
    pub kept: Vec<v1::HeldRun>,
    /// These belong to a later epoch, or have ended.
    pub lost: Vec<(RunEpoch, String)>,
    /// These are another agent's.
    pub foreign: Vec<RunEpoch>,
}

/// Renews what is current among `held`.
pub async fn renew(
    coordinator: &Coordinator,
    agent: AgentId,
    held: &[v1::HeldRun],
) -> Result<Answer> {
    if held.len() > MAX_HELD {
        return Err(Fault::Invalid(format!(
            "more than {MAX_HELD} runs are named as held"
        )));
    }
    let mut connection = coordinator.store.read().await?;
    let mut answer = Answer::default();
    for held in held {
        let key = run_epoch(&held.run_id, held.epoch)?;
        match runs::get(&mut connection, key.run).await? {
            Some(run) if run.agent != agent => answer.foreign.push(key),
            Some(run) if run.is_held_under(key.epoch) => {
                coordinator.leases.renew(key.run, key.epoch, Instant::now());
                answer.kept.push(v1::HeldRun {
                    run_id: key.run.to_string(),
                    epoch: key.epoch.0,
                    state: v1::RunState::from(run.state).into(),
                });
            }
            Some(run) => answer.lost.push((key, reason(&run, key))),
            None => answer
                .lost
                .push((key, "the coordinator does not know this run".into())),
        }
    }
    Ok(answer)
}

fn reason(run: &RunRecord, held: RunEpoch) -> String {
    if run.state.is_final() {
        return format!("the run has ended: {}", run.state);
    }
    if run.epoch > held.epoch {
        return format!("the run was handed out again as epoch {}", run.epoch);
    }
    "the lease lapsed".into()
}

/// Runs that are handed out to `agent` but that it does not name. Read before its session takes its place, because what is
/// handed out afterwards cannot be named yet.
pub async fn unnamed(
    coordinator: &Coordinator,
    agent: AgentId,
    held: &[v1::HeldRun],
) -> Result<Vec<RunRecord>> {
    let named: HashSet<&str> = held.iter().map(|held| held.run_id.as_str()).collect();
    let mut connection = coordinator.store.read().await?;
    let unfinished = runs::unfinished(&mut connection).await?;
    // What is committing keeps its window: the snapshot may be on its way.
    let forgotten = |run: &RunRecord| {
        run.agent == agent
            && matches!(run.state, RunState::Assigned | RunState::Running)
            && !named.contains(run.id.to_string().as_str())
    };
    Ok(unfinished.into_iter().filter(forgotten).collect())
}

/// Takes them back at once: the agent has just said that it does not work on them.
pub async fn take_back_unnamed(coordinator: &Coordinator, unnamed: &[RunRecord]) -> Result<()> {
    for run in unnamed {
        lapse::take_back(coordinator, run, lapse::Why::Forgotten).await?;
    }
    Ok(())
}

//! Runs as operators see them.

use std::collections::HashMap;

use holdfast_proto::ids::AgentId;
use holdfast_proto::run::RunState;
use holdfast_proto::v1;

use crate::clock::{now_micros, readable};
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::runs::assign::Occupied;
use crate::store::runs::RunRecord;
use crate::store::{agents, runs};

/// What is needed beside a run to show it.
#[derive(Debug)]
pub struct Viewer<'c> {
    coordinator: &'c Coordinator,
    agents: HashMap<AgentId, String>,
    unfinished: Vec<RunRecord>,
}

impl<'c> Viewer<'c> {
    /// Reads it.
    pub async fn new(coordinator: &'c Coordinator) -> Result<Self> {
        let mut connection = coordinator.store.read().await?;
        let agents = agents::list(&mut connection).await?;
        Ok(Self {
            coordinator,
            agents: agents.into_iter().map(|a| (a.id, a.name)).collect(),
            unfinished: runs::unfinished(&mut connection).await?,
        })
    }

    /// One run.
    #[must_use]
    pub fn run(&self, run: RunRecord) -> v1::Run {
        let waiting_for = match run.state {
            RunState::Queued => self.waiting_for(&run),
            _ => String::new(),
        };
        let live = self.coordinator.pulses.latest(run.id);
        v1::Run {
            id: run.id.to_string(),
            state: v1::RunState::from(run.state).into(),
            epoch: run.epoch.0,
            attempt: run.attempt,
            agent: self.agent(run.agent),
            requested_by: run.requested_by,
            created_at_micros: run.created_micros,
            started_at_micros: run.started_micros,
            finished_at_micros: run.finished_micros,
            progress: Some(live.unwrap_or(run.progress)),
            result: run.result,
            waiting_for,
            after_run_id: run.after_run.map(|id| id.to_string()).unwrap_or_default(),
            spec: Some(run.spec),
        }
    }

    /// The agent's name.
    #[must_use]
    pub fn agent(&self, id: AgentId) -> String {
        self.agents
            .get(&id)
            .cloned()
            .unwrap_or_else(|| id.to_string())
    }

    fn waiting_for(&self, run: &RunRecord) -> String {
        if let Some(first) = run.after_run
            && self.unfinished.iter().any(|other| other.id == first)
        {
            return format!("run {first} to succeed");
        }
        if run.not_before_micros > now_micros() {
            return format!("the next attempt at {}", readable(run.not_before_micros));
        }
        if self.coordinator.sessions.get(run.agent).is_none() {
            return format!("agent {} to connect", self.agent(run.agent));
        }
        let occupied = Occupied::by(&self.unfinished, &self.coordinator.handing_out());
        if let Some(other) = occupied.source(&run.source).filter(|id| *id != run.id) {
            return format!("run {other} on source {} to end", run.source);
        }
        if !occupied.has_room(run.agent) {
            return format!("one of the runs of agent {} to end", self.agent(run.agent));
        }
        String::new()
    }
}

/// One run as operators see it.
pub async fn shown(coordinator: &Coordinator, run: RunRecord) -> Result<v1::Run> {
    Ok(Viewer::new(coordinator).await?.run(run))
}

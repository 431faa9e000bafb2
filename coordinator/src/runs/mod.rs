//! What happens to runs: one file for each operation. All of them are short transactions on the state, followed by what
//! has to be told to agents and watchers.

pub mod assign;
pub mod cancel;
pub mod commit;
pub mod deadline;
pub mod finish;
pub mod grant;
pub mod held;
pub mod lapse;
pub mod report;
pub mod resolve;
pub mod retry;
pub mod start;
pub mod view;

use holdfast_proto::ids::RunId;
use holdfast_proto::v1;

use crate::coordinator::Coordinator;
use crate::store::runs::RunRecord;

/// Tells watchers and tasks that a run stands elsewhere now.
pub(crate) fn announce(coordinator: &Coordinator, run: &RunRecord) {
    tracing::info!(run = %run.id, source = %run.source, epoch = run.epoch.0, state = %run.state, "run");
    coordinator.pulses.touch(run.id);
    if run.state.is_final() {
        coordinator.leases.forget(run.id);
        coordinator.pulses.end(run.id);
    }
    coordinator.nudge.notify_one();
}

/// A failure as the result of a run.
pub(crate) fn failure(class: v1::FailureClass, message: &str, hint: &str) -> v1::RunResult {
    v1::RunResult {
        result: Some(v1::run_result::Result::Failure(v1::Failure {
            class: class.into(),
            message: message.into(),
            hint: hint.into(),
        })),
    }
}

/// The agent must stop this run.
pub(crate) fn tell_lost(coordinator: &Coordinator, run: &RunRecord, reason: &str) {
    if let Some(session) = coordinator.sessions.get(run.agent) {
        session.push(lease_lost(run.id, run.epoch.0, reason));
    }
}

/// The message that ends somebody's claim to a run.
pub(crate) fn lease_lost(run: RunId, epoch: u64, reason: &str) -> v1::coordinator_message::Message {
    v1::coordinator_message::Message::LeaseLost(v1::LeaseLost {
        run_id: run.to_string(),
        epoch,
        reason: reason.into(),
    })
}

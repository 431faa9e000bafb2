//! Runs, as operators ask for them.

use holdfast_proto::convert::run_state;
use holdfast_proto::v1;
use tracing::Instrument as _;

use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::runs::view::{Viewer, shown};
use crate::runs::{cancel as cancelling, resolve, start as starting};
use crate::store::runs::{Filter, list as rows};

/// Runs listed where the request says nothing.
const DEFAULT_LIMIT: u32 = 50;
/// Runs listed at most.
const MAX_LIMIT: u32 = 1000;

pub async fn start(
    coordinator: &Coordinator,
    request: v1::StartRunRequest,
    operator: &str,
    traceparent: &str,
) -> Result<v1::StartRunResponse> {
    let span = tracing::info_span!("start run", operator);
    holdfast_telemetry::continue_trace(&span, traceparent);
    let started = async {
        // Where nothing is traced here, the caller's trace goes on to the agent all the same.
        let own = holdfast_telemetry::traceparent();
        let kept = own.as_deref().unwrap_or(traceparent);
        starting::start(coordinator, request, operator, kept).await
    };
    let started = started.instrument(span).await?;
    let viewer = Viewer::new(coordinator).await?;
    Ok(v1::StartRunResponse {
        run: Some(viewer.run(started.run)),
        safety_run: started.safety.map(|run| viewer.run(run)),
    })
}

pub async fn list(
    coordinator: &Coordinator,
    request: v1::ListRunsRequest,
) -> Result<v1::ListRunsResponse> {
    let mut states = Vec::new();
    for state in request.states {
        states.push(
            run_state(state).ok_or_else(|| Fault::Invalid("field states: unknown state".into()))?,
        );
    }
    let limit = if request.limit == 0 {
        DEFAULT_LIMIT
    } else {
        request.limit
    };
    let filter = Filter {
        source: request.source,
        states,
        limit: limit.min(MAX_LIMIT).into(),
    };
    let found = {
        let mut connection = coordinator.store.read().await?;
        rows(&mut connection, &filter).await?
    };
    let viewer = Viewer::new(coordinator).await?;
    Ok(v1::ListRunsResponse {
        runs: found.into_iter().map(|run| viewer.run(run)).collect(),
    })
}

pub async fn get(coordinator: &Coordinator, id: &str) -> Result<v1::Run> {
    let run = {
        let mut connection = coordinator.store.read().await?;
        resolve::run(&mut connection, id).await?
    };
    shown(coordinator, run).await
}

pub async fn cancel(coordinator: &Coordinator, id: &str, operator: &str) -> Result<v1::Run> {
    let run = {
        let mut connection = coordinator.store.read().await?;
        resolve::run(&mut connection, id).await?
    };
    let run = cancelling::cancel(coordinator, run, operator).await?;
    shown(coordinator, run).await
}

//! What follows when an attempt ended without success.

use std::time::Duration;

use holdfast_proto::run::RunState;
use holdfast_proto::v1;
use sqlx::AnyConnection;

use crate::clock::micros;
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::model::retry::{Ending, Verdict};
use crate::model::run::Step;
use crate::store::runs::{RunRecord, advance, amend};

/// Takes the step that follows, with `result` where nothing more is tried. `None`: the run stands elsewhere already.
///
/// A run that is `committing` goes back only when its permission is void: it is not handed out again before `permission`
/// (what is left of it) is over.
pub(crate) async fn after_attempt(
    coordinator: &Coordinator,
    connection: &mut AnyConnection,
    run: &RunRecord,
    ending: Ending,
    result: v1::RunResult,
    permission: Duration,
    now: i64,
) -> Result<Option<RunRecord>> {
    let terms = coordinator.config.runs.retry_terms();
    let verdict = terms.decide(ending, run.attempt, rand::random::<f64>());
    let after = match verdict {
        Verdict::Again(pause) => {
            let step = match run.state {
                RunState::Committing => Step::WindowOver,
                _ => Step::Requeue,
            };
            let not_before = now.saturating_add(micros(pause.max(permission)));
            advance(connection, run, step, now, |run| {
                run.not_before_micros = not_before;
            })
            .await?
        }
        Verdict::Fail => {
            advance(connection, run, Step::Fail, now, |run| {
                run.result = Some(result);
            })
            .await?
        }
        Verdict::Lose => {
            advance(connection, run, Step::GiveUp, now, |run| {
                run.result = Some(result);
            })
            .await?
        }
    };
    Ok(after)
}

/// The same for an attempt that ended before the run was handed out.
pub(crate) async fn unassigned(
    coordinator: &Coordinator,
    connection: &mut AnyConnection,
    run: &RunRecord,
    ending: Ending,
    result: v1::RunResult,
    now: i64,
) -> Result<Option<RunRecord>> {
    let terms = coordinator.config.runs.retry_terms();
    let attempt = run.attempt + 1;
    let after = match terms.decide(ending, attempt, rand::random::<f64>()) {
        Verdict::Again(pause) => {
            amend(connection, run, |run| {
                run.attempt = attempt;
                run.not_before_micros = now.saturating_add(micros(pause));
            })
            .await?
        }
        Verdict::Fail | Verdict::Lose => {
            advance(connection, run, Step::Fail, now, |run| {
                run.attempt = attempt;
                run.result = Some(result);
            })
            .await?
        }
    };
    Ok(after)
}

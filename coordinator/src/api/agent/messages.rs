//! What an agent says in its session, one message after the other.
//!
//! Messages of one agent are handled in order; the agents' sessions know nothing of each other, so a slow one delays
//! itself. An agent that names another agent's run is refused and its session ends: its certificate is in wrong hands, or
//! its memory is.

use std::sync::Arc;
use std::time::Duration;

use holdfast_identity::PeerIdentity;
use holdfast_proto::convert::{RunEpoch, run_epoch};
use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message as Said;
use holdfast_proto::v1::coordinator_message::Message;
use jiff::Timestamp;
use tonic::{Status, Streaming};
use tracing::Instrument as _;

use super::greeting;
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::runs::{commit, finish, grant, held, lease_lost, report};
use crate::sessions::Session;
use crate::store::runs::{self, RunRecord};
use crate::store::{agents, audit, grants};

/// How long a grant may take.
const GRANT_DEADLINE: Duration = Duration::from_secs(60);
/// Longest wait before the certificate's end is looked at again.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// Reads until the session ends.
pub async fn serve(
    coordinator: Arc<Coordinator>,
    session: Arc<Session>,
    peer: Arc<PeerIdentity>,
    mut incoming: Streaming<v1::AgentMessage>,
) {
    let reading = async {
        while let Some(message) = incoming.message().await? {
            if let Some(said) = message.message {
                handle(&coordinator, &session, said).await?;
            }
        }
        Ok::<(), Status>(())
    };
    let outcome = tokio::select! {
        outcome = reading => outcome,
        () = session.ended() => Ok(()),
        () = certificate_ends(&peer) => Err(Status::unauthenticated("the certificate has expired")),
    };
    match outcome {
        Ok(()) => session.end(None),
        Err(status) => {
            tracing::info!(reason = status.message(), "a session ended");
            session.end(Some(status));
        }
    }
    coordinator.sessions.unregister(&session);
    if let Err(error) = note_seen(&coordinator, &session).await {
        tracing::error!(%error, "cannot note when an agent was last heard of");
    }
    tracing::info!("an agent disconnected");
}

/// A connection may outlive its certificate; a session does not.
async fn certificate_ends(peer: &PeerIdentity) {
    loop {
        let left = peer.not_after().duration_since(Timestamp::now());
        let Ok(left) = Duration::try_from(left) else {
            return;
        };
        tokio::time::sleep(left.min(LONGEST_SLEEP) + Duration::from_millis(100)).await;
    }
}

async fn note_seen(coordinator: &Coordinator, session: &Session) -> Result<()> {
    let mut tx = coordinator.store.begin().await?;
    agents::seen(&mut tx, session.agent, now_micros()).await?;
    Ok(tx.commit().await?)
}

async fn handle(
    coordinator: &Arc<Coordinator>,
    session: &Arc<Session>,
    said: Said,
) -> std::result::Result<(), Status> {
    match said {
        Said::Hello(_) => return Err(Status::invalid_argument("a session has one hello")),
        Said::RunStarted(started) => {
            let held = run_epoch(&started.run_id, started.epoch)?;
            if let Some(run) = own_run(coordinator, session, held).await? {
                report::started(coordinator, &run, held).await?;
            }
        }
        Said::RunProgress(progress) => {
            let held = run_epoch(&progress.run_id, progress.epoch)?;
            if let Some(run) = own_run(coordinator, session, held).await? {
                let figures = progress.progress.unwrap_or_default();
                report::progress(coordinator, &run, held, figures).await?;
            }
        }
        Said::RunLog(log) => {
            let held = run_epoch(&log.run_id, log.epoch)?;
            if let Some(run) = own_run(coordinator, session, held).await? {
                report::log(coordinator, &run, held, log.lines).await?;
            }
        }
        Said::LeaseRenewal(renewal) => renew_leases(coordinator, session, &renewal).await?,
        Said::CommitRequest(request) => {
            let held = run_epoch(&request.run_id, request.epoch)?;
            let run = own_run(coordinator, session, held).await?;
            let span = tracing::info_span!("commit", run = %held.run, epoch = held.epoch.0);
            follow(&span, run.as_ref());
            let decision = commit::answer(coordinator, run.as_ref(), held, &request)
                .instrument(span)
                .await?;
            session.reply(Message::CommitDecision(decision)).await;
        }
        Said::RunFinished(finished) => {
            let held = run_epoch(&finished.run_id, finished.epoch)?;
            let run = own_run(coordinator, session, held).await?;
            let span = tracing::info_span!("finish", run = %held.run, epoch = held.epoch.0);
            follow(&span, run.as_ref());
            finish::finished(coordinator, held, finished.result.unwrap_or_default())
                .instrument(span)
                .await?;
            let acknowledged = v1::RunAcknowledged {
                run_id: finished.run_id,
                epoch: finished.epoch,
            };
            session.reply(Message::RunAcknowledged(acknowledged)).await;
        }
        Said::GrantRequest(request) => {
            let held = run_epoch(&request.run_id, request.epoch)?;
            if let Some(run) = own_run(coordinator, session, held).await? {
                refresh_grant(coordinator, session, run, held);
            }
        }
        Said::SourcesChanged(changed) => {
            let mut tx = coordinator.store.begin().await.map_err(Fault::from)?;
            let now = now_micros();
            let rejected =
                greeting::announce_sources(&mut tx, session.agent, &changed.sources, now).await?;
            tx.commit().await.map_err(Fault::from)?;
            for (source, reason) in rejected {
                tracing::warn!(source, reason, "rejected a source");
            }
            coordinator.nudge.notify_one();
        }
    }
    Ok(())
}

/// Puts a span into the run's own trace.
fn follow(span: &tracing::Span, run: Option<&RunRecord>) {
    if let Some(run) = run {
        holdfast_telemetry::continue_trace(span, &run.traceparent);
    }
}

/// The run that the agent speaks of; `None`: the state does not know it.
async fn own_run(
    coordinator: &Coordinator,
    session: &Session,
    held: RunEpoch,
) -> std::result::Result<Option<RunRecord>, Status> {
    let run = {
        let mut connection = coordinator.store.read().await.map_err(Fault::from)?;
        runs::get(&mut connection, held.run)
            .await
            .map_err(Fault::from)?
    };
    match run {
        Some(run) if run.agent != session.agent => {
            refuse_foreign(coordinator, session, held).await?;
            Err(Status::permission_denied(format!(
                "run {} is another agent's",
                held.run
            )))
        }
        other => Ok(other),
    }
}

async fn refuse_foreign(
    coordinator: &Coordinator,
    session: &Session,
    held: RunEpoch,
) -> Result<()> {
    tracing::warn!(run = %held.run, "an agent names another agent's run");
    let mut tx = coordinator.store.begin().await?;
    let actor = format!("agent {}", session.name);
    let (run, from) = (held.run.to_string(), session.remote.to_string());
    audit::add(&mut tx, now_micros(), &actor, "run.refused", &run, &from).await?;
    Ok(tx.commit().await?)
}

async fn renew_leases(
    coordinator: &Coordinator,
    session: &Session,
    renewal: &v1::LeaseRenewal,
) -> std::result::Result<(), Status> {
    let answer = held::renew(coordinator, session.agent, &renewal.runs).await?;
    if let Some(foreign) = answer.foreign.first() {
        refuse_foreign(coordinator, session, *foreign).await?;
        return Err(Status::permission_denied(format!(
            "run {} is another agent's",
            foreign.run
        )));
    }
    let renewed = v1::LeaseRenewed { runs: answer.kept };
    session.reply(Message::LeaseRenewed(renewed)).await;
    for (held, reason) in answer.lost {
        session
            .reply(lease_lost(held.run, held.epoch.0, &reason))
            .await;
    }
    Ok(())
}

/// Makes a new grant beside the session's other work: a token service that does not answer stops no lease.
fn refresh_grant(
    coordinator: &Arc<Coordinator>,
    session: &Arc<Session>,
    run: RunRecord,
    held: RunEpoch,
) {
    if !run.is_held_under(held.epoch) {
        session.push(lease_lost(
            held.run,
            held.epoch.0,
            "the run is held under another epoch",
        ));
        return;
    }
    let (coordinator, session) = (Arc::clone(coordinator), Arc::clone(session));
    tokio::spawn(async move {
        let issued = tokio::time::timeout(GRANT_DEADLINE, issue(&coordinator, &run)).await;
        match issued {
            Ok(Ok(grant)) => {
                session.push(Message::Grant(v1::GrantIssued {
                    run_id: held.run.to_string(),
                    epoch: held.epoch.0,
                    grant,
                }));
            }
            // The agent asks again; when the old grant ends first, so does the run.
            Ok(Err(error)) => tracing::warn!(run = %held.run, %error, "cannot renew a grant"),
            Err(_) => tracing::warn!(run = %held.run, "cannot renew a grant: no answer in time"),
        }
    });
}

async fn issue(coordinator: &Coordinator, run: &RunRecord) -> Result<Option<v1::Grant>> {
    let Some(issued) = grant::issue(coordinator, run).await? else {
        return Ok(None);
    };
    let mut tx = coordinator.store.begin().await?;
    grants::add(&mut tx, &issued.record).await?;
    tx.commit().await?;
    Ok(Some(issued.grant))
}

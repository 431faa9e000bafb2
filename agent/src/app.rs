//! `run`: the agent as a service.
//!
//! Steps: read the configuration, lock the state folder, take the identity, open the sources, ask them what they
//! are, hold the session, renew the certificate beside it. SIGTERM or SIGINT ends all runs, waits for them a bounded
//! time, reports them, and leaves with code 0.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast_identity::{Identity, IdentitySlot};
use holdfast_sources::Source;
use holdfast_telemetry::Telemetry;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, AgentConfig};
use crate::exit::{CommandError, Exit};
use crate::renew;
use crate::session::describe::keep_described;
use crate::session::{Pace, Session, SessionEnd, SessionParts};
use crate::state::StateFolder;

/// How often the sources are asked what they are.
const DESCRIBE_EVERY: Duration = Duration::from_secs(300);
/// How long the last traces may take to leave.
const TELEMETRY_DEADLINE: Duration = Duration::from_secs(3);

/// Runs the agent until it is told to end, is displaced, or is revoked.
pub async fn run(path: &Path) -> Result<(), CommandError> {
    let config = config::load(path).map_err(CommandError::usage)?;
    let telemetry = Telemetry::init("holdfast-agent", config.log_format.into(), "info")
        .map_err(CommandError::failed)?;
    let outcome = serve(&config, path).await;
    telemetry.shutdown(TELEMETRY_DEADLINE).await;
    outcome
}

async fn serve(config: &AgentConfig, path: &Path) -> Result<(), CommandError> {
    let state = StateFolder::at(&config.state);
    let identity = joined(&state)?;
    let _lock = state.lock()?;
    let address = state.address()?;
    let sources = open_sources(config, path)?;
    if sources.is_empty() {
        tracing::warn!("the configuration has no [[source]]: this agent protects nothing");
    }
    let shutdown = shutdown_on_signal()?;
    let slot = IdentitySlot::new(identity);
    tokio::spawn(renew::keep_renewed(
        address.clone(),
        slot.clone(),
        state.identity(),
    ));
    let described = keep_described(sources.clone(), DESCRIBE_EVERY, shutdown.clone()).await;
    let session = Session::new(SessionParts {
        address,
        slot,
        files: state.identity(),
        sources,
        described,
        backup: config.backup.clone(),
        pace: Pace::default(),
        shutdown,
    });
    outcome(session.run().await)
}

fn outcome(end: SessionEnd) -> Result<(), CommandError> {
    match end {
        SessionEnd::Shutdown => Ok(()),
        SessionEnd::Displaced { by } => Err(CommandError::new(
            Exit::Refused,
            format!("displaced: another process with this agent's certificate runs at {by}"),
            "two agents with one identity evict each other: stop one of them, revoke the agent if you do not know the \
             other, and give a second host an invitation of its own",
        )),
        SessionEnd::Revoked { reason } => Err(CommandError::new(
            Exit::Refused,
            format!("the coordinator does not accept this agent: {reason}"),
            "ask an administrator; with a new invitation: holdfast-agent join --force",
        )),
    }
}

/// The identity of an agent that has joined and whose certificate still holds.
fn joined(state: &StateFolder) -> Result<Identity, CommandError> {
    let refuse = |message: String| {
        CommandError::new(
            Exit::Refused,
            message,
            "get a token (holdfastctl agent invite NAME) and give it to: holdfast-agent join",
        )
    };
    match state.identity().load() {
        Ok(Some(identity)) if !identity.is_expired(Timestamp::now()) => Ok(identity),
        Ok(Some(identity)) => Err(refuse(format!(
            "the certificate of agent {:?} expired on {} (or this host's clock is wrong)",
            identity.peer().name(),
            identity.peer().not_after()
        ))),
        Ok(None) => Err(refuse(format!(
            "this agent has not joined a coordinator yet: {} does not exist",
            state.identity().path().display()
        ))),
        Err(error) => Err(CommandError::failed(error)),
    }
}

/// Makes the configured sources; reads their secrets, connects to nobody.
pub fn open_sources(
    config: &AgentConfig,
    path: &Path,
) -> Result<Vec<Arc<dyn Source>>, CommandError> {
    let folder = config::folder_of(path);
    let open = |source: &holdfast_sources::SourceConfig| {
        let opened = source.open(folder).map_err(|error| {
            CommandError::new(
                Exit::Usage,
                format!("source {:?} in {}: {error}", source.name(), path.display()),
                error.hint(),
            )
        });
        opened.map(Arc::from)
    };
    config.source.iter().map(open).collect()
}

/// Cancelled by the first SIGTERM or SIGINT; a second one ends the process at once.
fn shutdown_on_signal() -> Result<CancellationToken, CommandError> {
    let cannot = |error| CommandError::failed(format!("cannot listen to signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let token = CancellationToken::new();
    let shutdown = token.clone();
    tokio::spawn(async move {
        let mut told = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if told {
                tracing::error!("told to end a second time: leaving at once");
                std::process::exit(Exit::Failed as i32);
            }
            told = true;
            tracing::info!("told to end: ending the runs first");
            shutdown.cancel();
        }
    });
    Ok(token)
}

//! What an agent reports while it works: started, figures, log lines.

use std::time::Instant;

use holdfast_proto::convert::RunEpoch;
use holdfast_proto::run::RunState;
use holdfast_proto::v1;
use sqlx::AnyConnection;

use super::announce;
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::model::run::Step;
use crate::store::run_events::{self, Event, MAX_LOG_LINES};
use crate::store::runs::{self, RunRecord};

/// Longest log line kept, in bytes.
const MAX_LINE_BYTES: usize = 4096;
/// Lines taken of one message.
const MAX_LINES: usize = 1000;

/// The agent began.
pub async fn started(coordinator: &Coordinator, run: &RunRecord, held: RunEpoch) -> Result<()> {
    if !run.is_held_under(held.epoch) || run.state != RunState::Assigned {
        return Ok(());
    }
    let mut tx = coordinator.store.begin().await?;
    let started = runs::advance(&mut tx, run, Step::Start, now_micros(), |_| {}).await?;
    tx.commit().await?;
    if let Some(started) = started {
        announce(coordinator, &started);
    }
    Ok(())
}

/// Brings a run that its agent works on to `running`: the word that it began may have been lost with a connection.
pub(crate) async fn ensure_running(
    connection: &mut AnyConnection,
    run: RunRecord,
    now: i64,
) -> Result<RunRecord> {
    if run.state != RunState::Assigned {
        return Ok(run);
    }
    let started = runs::advance(connection, &run, Step::Start, now, |_| {}).await?;
    Ok(started.unwrap_or(run))
}

/// New figures. They are kept in memory; a new phase is written down.
pub async fn progress(
    coordinator: &Coordinator,
    run: &RunRecord,
    held: RunEpoch,
    progress: v1::Progress,
) -> Result<()> {
    if !run.is_held_under(held.epoch) {
        return Ok(());
    }
    coordinator
        .leases
        .renew(held.run, held.epoch, Instant::now());
    let mut progress = progress;
    progress.phase = cut(&progress.phase, 200);
    if run.progress.phase != progress.phase || run.state == RunState::Assigned {
        let now = now_micros();
        let mut tx = coordinator.store.begin().await?;
        let Some(run) = runs::get(&mut tx, held.run).await? else {
            return Ok(());
        };
        let run = ensure_running(&mut tx, run, now).await?;
        let written = progress.clone();
        if run.is_held_under(held.epoch)
            && runs::amend(&mut tx, &run, |run| run.progress = written)
                .await?
                .is_some()
        {
            let event = Event::Progress(progress.clone());
            run_events::append(&mut tx, run.id, held.epoch, now, vec![event]).await?;
            tx.commit().await?;
        }
    }
    coordinator
        .pulses
        .progress(held.run, held.epoch.0, progress);
    Ok(())
}

/// Log lines. Beyond [`MAX_LOG_LINES`] they are dropped, and the last line says so.
pub async fn log(
    coordinator: &Coordinator,
    run: &RunRecord,
    held: RunEpoch,
    lines: Vec<v1::LogLine>,
) -> Result<()> {
    if !run.is_held_under(held.epoch) || lines.is_empty() {
        return Ok(());
    }
    let mut tx = coordinator.store.begin().await?;
    let kept = run_events::log_lines(&mut tx, run.id).await?;
    let Ok(room) = usize::try_from(MAX_LOG_LINES - kept) else {
        return Ok(());
    };
    if room == 0 {
        return Ok(());
    }
    let mut events: Vec<Event> = lines
        .into_iter()
        .take(room.min(MAX_LINES))
        .map(|line| Event::Log(shortened(line)))
        .collect();
    if events.len() == room
        && let Some(last) = events.last_mut()
    {
        *last = Event::Log(v1::LogLine {
            time_micros: now_micros(),
            origin: "warn".into(),
            text: format!(
                "the log has {MAX_LOG_LINES} lines; what follows is in the agent's own log"
            ),
        });
    }
    run_events::append(&mut tx, run.id, held.epoch, now_micros(), events).await?;
    tx.commit().await?;
    coordinator.pulses.touch(run.id);
    Ok(())
}

fn shortened(line: v1::LogLine) -> v1::LogLine {
    v1::LogLine {
        origin: cut(&line.origin, 100),
        text: cut(&line.text, MAX_LINE_BYTES),
        ..line
    }
}

fn cut(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

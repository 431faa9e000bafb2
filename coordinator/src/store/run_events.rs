//! What happened to a run, numbered from 1 without gaps: state changes, phases, log lines.
//!
//! Progress figures are not kept, only the changes of phase; log lines up to [`MAX_LOG_LINES`] a run.

use holdfast_proto::ids::{Epoch, RunId};
use holdfast_proto::run::RunState;
use holdfast_proto::v1;
use prost::Message as _;
use sqlx::AnyConnection;

use super::error::Result;
use super::row::{Columns, int};

/// Log lines kept of one run.
pub const MAX_LOG_LINES: i64 = 20_000;

/// An event before it has its number.
pub type Event = v1::run_event::Event;

/// The event of a new state.
#[must_use]
pub fn state(state: RunState) -> Event {
    Event::State(v1::RunState::from(state).into())
}

fn kind(event: &Event) -> &'static str {
    match event {
        Event::State(_) | Event::Ended(_) => "state",
        Event::Progress(_) => "progress",
        Event::Log(_) => "log",
    }
}

/// Appends events to a run, and says the number of the last.
pub async fn append(
    connection: &mut AnyConnection,
    run: RunId,
    epoch: Epoch,
    now: i64,
    events: Vec<Event>,
) -> Result<u64> {
    let count = events.len() as u64;
    let row = sqlx::query(
        "UPDATE runs SET last_sequence = last_sequence + $2 WHERE id = $1 RETURNING last_sequence",
    )
    .bind(run.to_string())
    .bind(int(count))
    .fetch_one(&mut *connection)
    .await?;
    let last = Columns::new("runs", &row).count("last_sequence")?;
    for (event, sequence) in events.into_iter().zip(last - count + 1..) {
        let kind = kind(&event);
        let message = v1::RunEvent {
            sequence,
            time_micros: now,
            epoch: epoch.0,
            event: Some(event),
        };
        sqlx::query(
            "INSERT INTO run_events (run_id, sequence, time_micros, epoch, kind, event) VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(run.to_string())
        .bind(int(sequence))
        .bind(now)
        .bind(int(epoch.0))
        .bind(kind)
        .bind(message.encode_to_vec())
        .execute(&mut *connection)
        .await?;
    }
    Ok(last)
}

/// How many log lines a run has.
pub async fn log_lines(connection: &mut AnyConnection, run: RunId) -> Result<i64> {
    let row =
        sqlx::query("SELECT count(*) AS n FROM run_events WHERE run_id = $1 AND kind = 'log'")
            .bind(run.to_string())
            .fetch_one(connection)
            .await?;
    Columns::new("run_events", &row).int("n")
}

/// Up to `limit` events after number `after`, in order.
pub async fn list(
    connection: &mut AnyConnection,
    run: RunId,
    after: u64,
    limit: i64,
) -> Result<Vec<v1::RunEvent>> {
    let rows = sqlx::query(
        "SELECT event FROM run_events WHERE run_id = $1 AND sequence > $2 ORDER BY sequence LIMIT $3",
    )
    .bind(run.to_string())
    .bind(int(after))
    .bind(limit)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Columns::new("run_events", row).message("event"))
        .collect()
}

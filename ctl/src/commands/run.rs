//! `run list|show|logs|cancel`.

use holdfast_proto::{convert::run_state, run::RunState, v1, v1::run_event::Event};
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;

use crate::client::{Client, Control, QUICK};
use crate::commands::Context;
use crate::exit::CommandError;
use crate::follow::{LogView, log_line, where_to_look};
use crate::output::human::{age, clean, duration, moment, short, size};
use crate::output::view::{RunView, kind, state};
use crate::output::{Output, note, result};

/// When a run goes on, this much quiet after what has been said so far counts as its end.
const QUIET: Duration = Duration::from_secs(1);

/// What can be asked about runs.
#[derive(clap::Subcommand)]
pub enum RunCommand {
    /// The newest runs
    List {
        /// Only runs of this source
        #[arg(long, value_name = "SOURCE")]
        source: Option<String>,
        /// Only runs in this state; may be repeated
        #[arg(long, value_name = "STATE", value_parser = parse_state)]
        state: Vec<RunState>,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// One run with its result
    Show {
        /// The run's id, or its beginning
        id: String,
    },
    /// What a run and its child programs have said
    Logs {
        /// The run's id, or its beginning
        id: String,
        /// Go on until the run has ended
        #[arg(long, short)]
        follow: bool,
    },
    /// Stop a run; a backup that is cancelled leaves no snapshot
    Cancel {
        /// The run's id, or its beginning
        id: String,
    },
}

fn parse_state(text: &str) -> Result<RunState, String> {
    text.parse::<RunState>().map_err(|error| error.to_string())
}

/// Runs `run ...`.
pub async fn run(context: &Context, command: RunCommand) -> Result<(), CommandError> {
    let client = context.client().await?;
    match command {
        RunCommand::List {
            source,
            state,
            limit,
        } => {
            let request = v1::ListRunsRequest {
                source: source.unwrap_or_default(),
                states: state
                    .into_iter()
                    .map(|state| v1::RunState::from(state).into())
                    .collect(),
                limit,
            };
            list(context.output, &client, request).await
        }
        RunCommand::Show { id } => {
            let run = get(&client, id).await?;
            context
                .output
                .show(&RunView::from(&run), |output| show(output, &run))
        }
        RunCommand::Logs { id, follow } => {
            let run = get(&client, id).await?;
            logs(context.output, &client, &run, follow).await
        }
        RunCommand::Cancel { id } => cancel(context.output, &client, id).await,
    }
}

async fn get(client: &Client, run_id: String) -> Result<v1::Run, CommandError> {
    let call =
        |mut control: Control| async move { control.get_run(v1::GetRunRequest { run_id }).await };
    client.call(QUICK, call).await
}

async fn list(
    output: Output,
    client: &Client,
    request: v1::ListRunsRequest,
) -> Result<(), CommandError> {
    let call = |mut control: Control| async move { control.list_runs(request).await };
    let runs = client.call(QUICK, call).await?.runs;
    let views: Vec<RunView> = runs.iter().map(RunView::from).collect();
    output.show(&json!({ "runs": views }), |output| {
        print(output, &runs, Timestamp::now())
    })
}

/// Runs as a table.
pub fn print(output: Output, runs: &[v1::Run], now: Timestamp) -> Result<(), CommandError> {
    let rows = runs.iter().map(|run| row(run, now)).collect();
    let header = [
        "RUN", "WHAT", "SOURCE", "STATE", "CREATED", "TOOK", "RESULT",
    ];
    output.table(&header, rows, "no runs")
}

fn row(run: &v1::Run, now: Timestamp) -> Vec<String> {
    let spec = run.spec.clone().unwrap_or_default();
    vec![
        short(&run.id).into(),
        kind(&spec).into(),
        spec.source,
        state(run.state).into(),
        age(run.created_at_micros, now),
        took(run, now),
        outcome(run),
    ]
}

fn took(run: &v1::Run, now: Timestamp) -> String {
    let end = match run.finished_at_micros {
        0 => now.as_microsecond(),
        end => end,
    };
    match run.started_at_micros {
        0 => "-".into(),
        start => duration(end.saturating_sub(start).max(0).unsigned_abs() / 1_000_000),
    }
}

/// A run's result in a few words.
fn outcome(run: &v1::Run) -> String {
    use v1::run_result::Result as Outcome;
    match run
        .result
        .as_ref()
        .and_then(|result| result.result.as_ref())
    {
        Some(Outcome::Backup(backup)) => {
            format!(
                "snapshot {}, stored {}",
                short(&backup.snapshot_id),
                size(backup.stored_bytes)
            )
        }
        Some(Outcome::Restore(restore)) => format!("read {}", size(restore.read_bytes)),
        Some(Outcome::Failure(failure)) => failure.message.clone(),
        Some(Outcome::CancelledBy(who)) => format!("by {who}"),
        Some(Outcome::DroppedCopy(name)) => format!("dropped {name}"),
        None if !run.waiting_for.is_empty() => format!("waits for {}", run.waiting_for),
        None => run
            .progress
            .as_ref()
            .map_or("-".into(), |progress| progress.phase.clone()),
    }
}

fn show(output: Output, run: &v1::Run) -> Result<(), CommandError> {
    let spec = run.spec.clone().unwrap_or_default();
    let shown = |text: &str| {
        if text.is_empty() {
            "-".into()
        } else {
            clean(text)
        }
    };
    let facts = [
        ("run", run.id.clone()),
        (
            "what",
            format!("{} of {}", kind(&spec), clean(&spec.source)),
        ),
        ("state", state(run.state).to_owned()),
        ("agent", shown(&run.agent)),
        ("vault", shown(&spec.vault)),
        ("asked by", shown(&run.requested_by)),
        ("created", moment(run.created_at_micros)),
        ("started", moment(run.started_at_micros)),
        ("finished", moment(run.finished_at_micros)),
        (
            "hand-outs",
            format!("{} (attempt {})", run.epoch, run.attempt),
        ),
    ];
    for (name, value) in facts {
        output.line(&format!("{name:<10} {value}"))?;
    }
    for line in ending(run) {
        output.line(&line)?;
    }
    Ok(())
}

/// How it ended, or what it does now.
fn ending(run: &v1::Run) -> Vec<String> {
    if !run_state(run.state).is_some_and(RunState::is_final) {
        return vec![format!("{:<10} {}", "now", clean(&outcome(run)))];
    }
    match result::conclude(run) {
        Ok(lines) => lines,
        Err(error) if error.hint.is_empty() => vec![error.message],
        Err(error) => vec![error.message, format!("  hint: {}", error.hint)],
    }
}

async fn logs(
    output: Output,
    client: &Client,
    run: &v1::Run,
    follow: bool,
) -> Result<(), CommandError> {
    let goes_on = !run_state(run.state).is_some_and(RunState::is_final);
    let request = v1::WatchRunRequest {
        run_id: run.id.clone(),
        after_sequence: 0,
    };
    let call = |mut control: Control| async move { control.watch_run(request).await };
    let mut stream = client.call(QUICK, call).await?;
    loop {
        let next = stream.message();
        let event = if goes_on && !follow {
            match tokio::time::timeout(QUIET, next).await {
                Ok(event) => event,
                Err(_) => {
                    note(&format!(
                        "the run goes on; --follow waits for its end, or {}",
                        where_to_look(&run.id)
                    ));
                    return Ok(());
                }
            }
        } else {
            next.await
        };
        match event.map_err(|status| client.explain(&status))? {
            Some(v1::RunEvent {
                event: Some(Event::Ended(_)),
                ..
            }) => return Ok(()),
            Some(event) => log(output, &run.id, &event)?,
            None => {
                return Err(CommandError::failed(
                    "the coordinator ended the stream before the run's end",
                ));
            }
        }
    }
}

fn log(output: Output, run_id: &str, event: &v1::RunEvent) -> Result<(), CommandError> {
    let Some(Event::Log(line)) = &event.event else {
        return Ok(());
    };
    output.show(&LogView::new(run_id, event, line), |output| {
        output.line(&format!(
            "{}  {}",
            moment(event.time_micros),
            log_line(line)
        ))
    })
}

async fn cancel(output: Output, client: &Client, run_id: String) -> Result<(), CommandError> {
    let request = v1::CancelRunRequest { run_id };
    let call = |mut control: Control| async move { control.cancel_run(request).await };
    let run = client.call(QUICK, call).await?;
    output.show(&RunView::from(&run), |output| {
        let text = match run_state(run.state) {
            Some(RunState::Cancelled) => format!("cancelled {}", result::subject(&run)),
            _ => format!(
                "asked the agent to stop {}; it is {} now",
                result::subject(&run),
                state(run.state)
            ),
        };
        output.line(&text)
    })
}

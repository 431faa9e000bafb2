//! Waits for a run, and shows it, until it has ended.
//!
//! Promise: the run belongs to the coordinator, never to this process. A broken connection is taken up again where it broke
//! (events are numbered); ctrl-C detaches and leaves the run alone; both say how to find it again. Nothing is reported as
//! the run's end but the coordinator's own final word.

mod display;
mod patience;

use std::time::Duration;

use holdfast_proto::v1::{self, run_event::Event};
use tonic::Status;

pub use display::{Display, LogView, log_line};
use patience::Patience;

use crate::client::{Client, Control, QUICK};
use crate::exit::{Class, CommandError, is_worth_retrying};
use crate::interrupt::interrupted;
use crate::output::{Output, note, result};

/// How long an unanswered start is asked for again.
const LONGEST_START: Duration = Duration::from_secs(60);

/// How an operator waits.
#[derive(Debug, Clone, clap::Args)]
pub struct WaitArgs {
    /// Print the run's id and do not wait for its end
    #[arg(long)]
    pub detach: bool,
    /// How long to look for a coordinator that went away while waiting; the run goes on meanwhile
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = holdfast_config::parse_duration)]
    pub reconnect_for: Duration,
}

/// Starts a run. The key makes a repeated request start nothing new, so a lost answer is asked for again.
pub async fn start(
    client: &Client,
    mut request: v1::StartRunRequest,
    wait: &WaitArgs,
) -> Result<v1::StartRunResponse, CommandError> {
    request.idempotency_key = uuid::Uuid::now_v7().to_string();
    let mut patience = Patience::new(wait.reconnect_for.min(LONGEST_START));
    loop {
        let request = request.clone();
        let call = |mut control: Control| async move { control.start_run(request).await };
        match client.try_call(QUICK, call).await {
            Ok(started) => return Ok(started),
            Err(status) if is_worth_retrying(&status) && patience.is_left() => {
                if patience.is_new() {
                    note(
                        "the coordinator did not answer whether the run has started; asking again",
                    );
                }
                patience.pause().await;
            }
            Err(status) => return Err(client.explain(&status)),
        }
    }
}

/// Waits for what was started, the safety backup first, and gives the final word on the run.
pub async fn conclude(
    client: &Client,
    started: v1::StartRunResponse,
    wait: &WaitArgs,
    output: Output,
) -> Result<(), CommandError> {
    let run = started.run.ok_or_else(|| {
        CommandError::failed("the coordinator answered without the run it started")
    })?;
    let mut display = Display::new(output);
    display.started(&run, started.safety_run.as_ref())?;
    if wait.detach {
        return display.detached(&run);
    }
    if let Some(safety) = &started.safety_run {
        let ended = follow(client, safety, wait.reconnect_for, &mut display).await?;
        display.ended(&ended)?;
        if !output.is_json() {
            note(after_safety(&ended));
        }
    }
    let ended = follow(client, &run, wait.reconnect_for, &mut display).await?;
    display.ended(&ended)?;
    let lines = result::conclude(&ended)?;
    if !output.is_json() {
        for line in lines {
            output.line(&line)?;
        }
    }
    Ok(())
}

fn after_safety(safety: &v1::Run) -> &'static str {
    match result::conclude(safety) {
        Ok(_) => "the safety backup is done; now the restore",
        Err(_) => "the safety backup did not succeed; the restore will not start without it",
    }
}

/// The run's final form, or the reason why this process stopped waiting for it.
pub async fn follow(
    client: &Client,
    run: &v1::Run,
    reconnect_for: Duration,
    display: &mut Display,
) -> Result<v1::Run, CommandError> {
    tokio::select! {
        // Listens before anything is waited for.
        biased;
        () = interrupted() => {
            display.pause();
            Err(CommandError::new(
                Class::Cancelled,
                format!("detached: {} goes on", result::subject(run)),
            )
            .hint(where_to_look(&run.id)))
        }
        ended = follow_through_losses(client, run, reconnect_for, display) => ended,
    }
}

async fn follow_through_losses(
    client: &Client,
    run: &v1::Run,
    reconnect_for: Duration,
    display: &mut Display,
) -> Result<v1::Run, CommandError> {
    let mut patience = Patience::new(reconnect_for);
    let mut seen = 0;
    loop {
        let lost = match watch(client, &run.id, &mut seen, &mut patience, display).await? {
            Attached::Ended(run) => return Ok(*run),
            Attached::Lost(status) => status,
        };
        if !is_worth_retrying(&lost) {
            return Err(client.explain(&lost));
        }
        if !patience.is_left() {
            display.pause();
            let error = client.explain(&lost);
            return Err(error.hint(format!(
                "the run goes on without the coordinator; when it is back: {}",
                where_to_look(&run.id)
            )));
        }
        if patience.is_new() {
            display
                .note("the coordinator does not answer; the run goes on, trying to reach it again");
        }
        patience.pause().await;
    }
}

enum Attached {
    Ended(Box<v1::Run>),
    Lost(Status),
}

/// Follows one stream until it ends or breaks. `seen` is the last numbered event shown.
async fn watch(
    client: &Client,
    run_id: &str,
    seen: &mut u64,
    patience: &mut Patience,
    display: &mut Display,
) -> Result<Attached, CommandError> {
    let request = v1::WatchRunRequest {
        run_id: run_id.to_owned(),
        after_sequence: *seen,
    };
    let call = |mut control: Control| async move { control.watch_run(request).await };
    let mut stream = match client.try_call(QUICK, call).await {
        Ok(stream) => stream,
        Err(status) => return Ok(Attached::Lost(status)),
    };
    loop {
        let event = match stream.message().await {
            Ok(Some(event)) => event,
            Ok(None) => {
                return Ok(Attached::Lost(Status::unavailable(
                    "the stream of events ended",
                )));
            }
            Err(status) => return Ok(Attached::Lost(status)),
        };
        if patience.reset() {
            display.note("the coordinator is back");
        }
        let numbered = matches!(event.event, Some(Event::State(_) | Event::Log(_)));
        if numbered && event.sequence != 0 && event.sequence <= *seen {
            continue;
        }
        *seen = event.sequence.max(*seen);
        display.event(run_id, &event)?;
        if let Some(Event::Ended(run)) = event.event {
            return Ok(Attached::Ended(Box::new(run)));
        }
    }
}

/// Where a run that this process does not wait for any more is found.
pub fn where_to_look(run_id: &str) -> String {
    format!("holdfastctl run show {run_id}, or holdfastctl run cancel {run_id}")
}

//! holdfastctl: the operator's hand.
//!
//! Reads the arguments, does the one thing they ask for, and ends with the exit code that the help names. What it prints on
//! standard output is the answer; everything beside it goes to standard error.

mod cli;
mod client;
mod commands;
mod config;
mod confirm;
mod credentials;
mod exit;
mod export;
mod follow;
mod granted;
mod interrupt;
mod offline;
mod output;

use std::process::ExitCode;
use std::time::Duration;

use holdfast_telemetry::{LogFormat, Telemetry};
use serde_json::json;
use tracing::Instrument;

use crate::cli::Cli;
use crate::exit::CommandError;

/// How long what was measured may take to leave at the end.
const TELEMETRY_DEADLINE: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let cli = Cli::read();
    let json = cli.is_json();
    let outcome = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(cli));
            // A prompt that still waits for a key must not hold the process.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(CommandError::failed(format!("cannot start: {error}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error, json);
            ExitCode::from(error.class.code())
        }
    }
}

async fn run(cli: Cli) -> Result<(), CommandError> {
    let telemetry =
        Telemetry::init("holdfastctl", LogFormat::Text, "warn").map_err(CommandError::failed)?;
    let span = tracing::info_span!("holdfastctl", command = cli.name());
    let outcome = cli.run().instrument(span).await;
    telemetry.shutdown(TELEMETRY_DEADLINE).await;
    outcome
}

fn report(error: &CommandError, json: bool) {
    if error.message.is_empty() {
        return;
    }
    if json {
        let hint = (!error.hint.is_empty()).then_some(&error.hint);
        let body = json!({ "error": {
            "class": error.class.as_str(),
            "exit_code": error.class.code(),
            "message": error.message,
            "hint": hint,
        }});
        return output::note(&body.to_string());
    }
    output::note(&format!("holdfastctl: {}", error.message));
    if !error.hint.is_empty() {
        output::note(&format!("  hint: {}", error.hint));
    }
}

//! `holdfast-agent`: reads the command line, ends with the exit code that the help lists.

use std::process::ExitCode;

use clap::Parser as _;
use holdfast_agent::cli::{self, Cli};
use holdfast_agent::exit::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Two threads: the session and uploads stay responsive while the other one feeds a pipeline.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(cli::execute(cli)),
        Err(error) => {
            eprintln!("holdfast-agent: cannot start its threads: {error}");
            return Exit::Failed.into();
        }
    };
    match outcome {
        Ok(()) => Exit::Done.into(),
        Err(error) => {
            eprintln!("holdfast-agent: {error}");
            error.exit().into()
        }
    }
}

//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::exit::{self, CommandError, Exit};
use crate::state::StateFolder;
use crate::{app, check, config, enroll};

/// Stands beside the services, does the runs that the coordinator hands out.
#[derive(Debug, Parser)]
#[command(name = "holdfast-agent", version, after_help = exit::HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Become an agent of the coordinator that a join token names
    #[command(after_help = exit::HELP)]
    Join {
        /// The agent's configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Read the token from this file (mode 0600) instead of standard input
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Join although this agent has a certificate that still works
        #[arg(long)]
        force: bool,
        /// Never: arguments can be seen by everybody on this host
        #[arg(hide = true, value_name = "TOKEN")]
        token: Option<String>,
    },
    /// Serve until told to end by SIGTERM
    #[command(after_help = exit::HELP)]
    Run {
        /// The agent's configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Say whether the configuration is right and every service answers
    #[command(after_help = exit::HELP)]
    CheckConfig {
        /// The agent's configuration
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Do not connect to the services
        #[arg(long)]
        offline: bool,
    },
}

/// Does what the command line asks.
pub async fn execute(cli: Cli) -> Result<(), CommandError> {
    match cli.command {
        Command::Join { token: Some(_), .. } => Err(CommandError::new(
            Exit::Usage,
            "a join token is never an argument, because everybody on this host can read arguments: take this one for seen",
            "make a new one, and pipe it in: holdfastctl agent invite NAME | holdfast-agent join --config FILE",
        )),
        Command::Join {
            config,
            token_file,
            force,
            token: None,
        } => join(&config, token_file.as_deref(), force).await,
        Command::Run { config } => app::run(&config).await,
        Command::CheckConfig { config, offline } => check::check(&config, offline).await,
    }
}

async fn join(
    config_path: &std::path::Path,
    token_file: Option<&std::path::Path>,
    force: bool,
) -> Result<(), CommandError> {
    let config = config::load(config_path).map_err(CommandError::usage)?;
    let state = StateFolder::at(&config.state);
    let token = enroll::read_token(token_file)?;
    let identity = enroll::join(&state, &token, force).await?;
    println!(
        "joined {} as agent {:?}; the certificate is good until {} and renews itself",
        token.address(),
        identity.peer().name(),
        identity.peer().not_after()
    );
    println!(
        "next: holdfast-agent run --config {}",
        config_path.display()
    );
    Ok(())
}

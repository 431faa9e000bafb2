//! The command line: what can be asked for, and the help that goes with it.

use std::any::TypeId;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands::{
    Context, agent, backup, program, restore, run, snapshot, source, status, vault,
};
use crate::exit::{CommandError, EXIT_CODES};
use crate::output::Output;

/// Backups, restores and the state of Holdfast, from the operator's side.
#[derive(Parser)]
#[command(name = "holdfastctl", version)]
pub struct Cli {
    /// The configuration [default: $HOLDFAST_CONFIG, or ~/.config/holdfast/ctl.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON; field names are stable. Commands that wait print a line for each event, the last one with the run
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// What needs attention, and how everything stands
    Status,
    /// Back a source up now
    Backup(backup::BackupArgs),
    /// Bring a source, some of its databases or some tables back
    Restore(restore::RestoreArgs),
    /// Runs: what was done, what goes on, and how to stop it
    #[command(subcommand)]
    Run(run::RunCommand),
    /// Snapshots: what can be restored, what is in it, and taking it out
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
    /// Sources: the services that are protected
    #[command(subcommand)]
    Source(source::SourceCommand),
    /// Agents: the programs beside the services
    #[command(subcommand)]
    Agent(agent::AgentCommand),
    /// Vaults: where backups are kept
    #[command(subcommand)]
    Vault(vault::VaultCommand),
    /// Print the completions for a shell
    Completions(program::CompletionsArgs),
    /// Write the man pages into a folder
    Man(program::ManArgs),
}

impl Cli {
    /// Reads the arguments of this process; wrong ones, `--help` and `--version` end it here.
    pub fn read() -> Self {
        let matches = command().get_matches();
        match Self::from_arg_matches(&matches) {
            Ok(cli) => cli,
            Err(error) => error.exit(),
        }
    }

    /// Whether scripts read the answer.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// The command's words, for the trace.
    pub fn name(&self) -> &'static str {
        match self.command {
            Command::Status => "status",
            Command::Backup(_) => "backup",
            Command::Restore(_) => "restore",
            Command::Run(_) => "run",
            Command::Snapshot(_) => "snapshot",
            Command::Source(_) => "source",
            Command::Agent(_) => "agent",
            Command::Vault(_) => "vault",
            Command::Completions(_) => "completions",
            Command::Man(_) => "man",
        }
    }

    /// Does what was asked.
    pub async fn run(self) -> Result<(), CommandError> {
        let context = Context {
            config: self.config,
            output: Output::new(self.json),
        };
        match self.command {
            Command::Status => status::run(&context).await,
            Command::Backup(args) => backup::run(&context, args).await,
            Command::Restore(args) => restore::run(&context, args).await,
            Command::Run(command) => run::run(&context, command).await,
            Command::Snapshot(command) => snapshot::run(&context, command).await,
            Command::Source(command) => source::run(&context, command).await,
            Command::Agent(command) => agent::run(&context, command).await,
            Command::Vault(command) => vault::run(&context, command).await,
            Command::Completions(args) => program::completions(&args),
            Command::Man(args) => program::man(&context, &args),
        }
    }
}

/// The whole command line, with the exit codes at the end of each help text.
pub fn command() -> clap::Command {
    with_exit_codes(without_empty_values(Cli::command()))
}

/// No value may be empty. `--into "$name"` with a variable that is not set must not mean "in place", and so on.
fn without_empty_values(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg| match arg.get_value_parser().type_id() {
            id if id == TypeId::of::<String>() => {
                arg.value_parser(NonEmptyStringValueParser::new())
            }
            _ => arg,
        })
        .mut_subcommands(without_empty_values)
}

fn with_exit_codes(mut command: clap::Command) -> clap::Command {
    let names: Vec<String> = command
        .get_subcommands()
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for name in names {
        command = command.mut_subcommand(name, with_exit_codes);
    }
    let before = command.get_after_help().map(ToString::to_string);
    let text = match before {
        Some(before) => format!("{before}\n\n{EXIT_CODES}"),
        None => EXIT_CODES.to_owned(),
    };
    command.after_help(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_help_text_names_the_exit_codes() {
        fn check(command: &clap::Command) {
            let text = command.get_after_help().map(ToString::to_string);
            assert!(
                text.is_some_and(|text| text.contains(EXIT_CODES)),
                "{}",
                command.get_name()
            );
            command.get_subcommands().for_each(check);
        }
        check(&command());
    }
}

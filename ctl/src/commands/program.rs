//! `completions SHELL` and `man DIR`: what a package puts beside the program.

use std::io::Write;
use std::path::PathBuf;

use clap_complete::Shell;

use crate::cli;
use crate::commands::Context;
use crate::exit::CommandError;

/// Arguments of `completions`.
#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Arguments of `man`.
#[derive(clap::Args)]
pub struct ManArgs {
    /// The folder; it is made where it is missing
    dir: PathBuf,
}

/// Prints the completions. The text is made in memory first: the generator panics where it cannot write.
pub fn completions(args: &CompletionsArgs) -> Result<(), CommandError> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut cli::command(), "holdfastctl", &mut text);
    match std::io::stdout().lock().write_all(&text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CommandError::failed(
            format!("cannot write to standard output: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Writes one page for each command.
pub fn man(context: &Context, args: &ManArgs) -> Result<(), CommandError> {
    let unwritable = |error: std::io::Error| {
        CommandError::failed(format!("cannot write into {}: {error}", args.dir.display()))
    };
    std::fs::create_dir_all(&args.dir).map_err(unwritable)?;
    clap_mangen::generate_to(cli::command(), &args.dir).map_err(unwritable)?;
    let document = serde_json::json!({ "dir": args.dir });
    context.output.show(&document, |output| {
        output.line(&format!("man pages written to {}", args.dir.display()))
    })
}

//! Asks before something is taken away: the operator types the name of what it is about.
//!
//! Promise: without a terminal and without `--yes` nothing happens, and the refusal says how a script agrees.

use std::io::{IsTerminal, Write};

use crate::exit::CommandError;
use crate::output::note;

/// Leave to go on: given by `--yes`, or by typing `name` after reading `consequences`.
pub fn confirm(yes: bool, name: &str, consequences: &[String]) -> Result<(), CommandError> {
    for line in consequences {
        note(line);
    }
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(CommandError::refused(
            "nothing was done: this needs a confirmation, and there is no terminal to ask on",
        )
        .hint("add --yes when a script is meant to do this"));
    }
    match ask(name) {
        Ok(typed) if typed == name => Ok(()),
        Ok(_) => Err(CommandError::refused(
            "nothing was done: what was typed is not the name",
        )),
        Err(error) => Err(CommandError::refused(format!(
            "nothing was done: cannot read the answer: {error}"
        ))),
    }
}

fn ask(name: &str) -> std::io::Result<String> {
    let mut error_output = std::io::stderr().lock();
    write!(error_output, "Type {name} to go on: ")?;
    error_output.flush()?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

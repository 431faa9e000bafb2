//! How a command ends: the exit codes all programs share, and the error that carries one.

use std::fmt;
use std::process::ExitCode;

/// The exit codes, as the help lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All was done.
    Done = 0,
    /// It was tried and failed.
    Failed = 1,
    /// The arguments or the configuration are wrong.
    Usage = 2,
    /// A condition forbids it; also: displaced by another process, revoked.
    Refused = 3,
    /// The coordinator is not reachable.
    NotReachable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Shown at the end of every help.
pub const HELP: &str = "Exit codes: 0 done | 1 failed | 2 usage: arguments or configuration | \
                        3 refused, displaced by another process, or revoked | 4 coordinator not reachable";

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub struct CommandError {
    exit: Exit,
    message: String,
    hint: String,
}

impl CommandError {
    /// What is wrong and where, and what to do (may be empty).
    pub fn new(exit: Exit, message: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.to_string(),
            hint: hint.into(),
        }
    }

    /// A failure that says itself what to do.
    pub fn failed(error: impl fmt::Display) -> Self {
        Self::new(Exit::Failed, error, "")
    }

    /// Wrong arguments or configuration.
    pub fn usage(error: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, error, "")
    }

    /// How the program ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}

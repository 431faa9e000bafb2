//! One file for each noun: its arguments, the calls it makes, and what it prints.

pub mod agent;
pub mod backup;
pub mod program;
pub mod restore;
pub mod run;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod vault;

use std::path::{Path, PathBuf};

use crate::client::Client;
use crate::exit::CommandError;
use crate::output::Output;

/// What every command gets.
pub struct Context {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// Where answers go.
    pub output: Output,
}

impl Context {
    /// A connection to the coordinator.
    pub async fn client(&self) -> Result<Client, CommandError> {
        Client::connect(self.config.as_deref().map(Path::new)).await
    }
}

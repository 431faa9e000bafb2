//! The agent's state folder: who it is, and whom it serves.
//!
//! ```text
//! identity.pem   private key, certificate, authority's certificate (0600)
//! coordinator    the coordinator's address, one line
//! agent.lock     held while an agent runs, so that no two share one identity on one host
//! ```
//!
//! The identity is written last: an agent with an identity has joined, and the address beside it is the one it
//! joined.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use holdfast_config::{create_private_folder, read_private, write_private};
use holdfast_identity::{CoordinatorAddress, Identity, IdentityFiles};

use crate::exit::{CommandError, Exit};

/// The folder.
#[derive(Debug, Clone)]
pub struct StateFolder {
    path: PathBuf,
}

/// Held while an agent runs on the folder.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

impl StateFolder {
    /// The folder at `path`, which may not be there yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the identity lies.
    #[must_use]
    pub fn identity(&self) -> IdentityFiles {
        IdentityFiles::in_folder(&self.path)
    }

    /// Makes the folder (0700) where it is missing, and sees that files can be written.
    pub fn prepare(&self) -> Result<(), CommandError> {
        create_private_folder(&self.path).map_err(CommandError::failed)?;
        let probe = self.path.join(".probe");
        write_private(&probe, b"").map_err(CommandError::failed)?;
        std::fs::remove_file(&probe).map_err(|error| {
            CommandError::failed(format!("cannot remove {}: {error}", probe.display()))
        })
    }

    /// Keeps what a join brought: the address first, the identity last.
    pub fn save(
        &self,
        address: &CoordinatorAddress,
        identity: &Identity,
    ) -> Result<(), CommandError> {
        write_private(&self.address_file(), format!("{address}\n").as_bytes())
            .map_err(CommandError::failed)?;
        self.identity().save(identity).map_err(CommandError::failed)
    }

    /// The coordinator that the agent has joined.
    pub fn address(&self) -> Result<CoordinatorAddress, CommandError> {
        let path = self.address_file();
        let bytes = read_private(&path).map_err(|error| {
            CommandError::new(Exit::Refused, error, "join again: holdfast-agent join")
        })?;
        let text = String::from_utf8_lossy(&bytes);
        text.trim().parse().map_err(|error| {
            CommandError::new(
                Exit::Refused,
                format!("{}: {error}", path.display()),
                "join again: holdfast-agent join",
            )
        })
    }

    /// Makes sure that no other agent runs on this folder.
    pub fn lock(&self) -> Result<StateLock, CommandError> {
        let path = self.path.join("agent.lock");
        let cannot = |error: std::io::Error| {
            CommandError::failed(format!("cannot lock {}: {error}", path.display()))
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => Ok(StateLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(CommandError::new(
                Exit::Refused,
                format!("another agent runs on {}", self.path.display()),
                "one agent serves all sources of a host; give a second one a state folder and an invitation of its own",
            )),
            Err(TryLockError::Error(error)) => Err(cannot(error)),
        }
    }

    fn address_file(&self) -> PathBuf {
        self.path.join("coordinator")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_on_the_folder_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateFolder::at(folder.path());
        let first = state.lock().expect("free");
        let error = state.lock().expect_err("taken");
        assert_eq!(error.exit(), Exit::Refused);
        drop(first);
        state.lock().expect("free again");
    }
}

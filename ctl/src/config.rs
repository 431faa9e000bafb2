//! `ctl.toml`: which coordinator, and who we are.
//!
//! Found at `--config`, else `$HOLDFAST_CONFIG`, else `~/.config/holdfast/ctl.toml`. The identity's file name is relative to
//! the configuration's folder.

use std::path::{Path, PathBuf};

use holdfast_identity::{CoordinatorAddress, Identity, IdentityFiles, Role};
use jiff::Timestamp;
use serde::Deserialize;

use crate::exit::CommandError;

/// Names it where no argument does.
const VARIABLE: &str = "HOLDFAST_CONFIG";

/// Where people put it when they say nothing else, below the home folder.
const DEFAULT_PATH: &str = ".config/holdfast/ctl.toml";

#[derive(Deserialize)]
struct File {
    address: String,
    identity: PathBuf,
}

/// What a connection needs.
pub struct Config {
    /// The coordinator.
    pub address: CoordinatorAddress,
    /// Where the operator's identity lies.
    pub files: IdentityFiles,
    /// The identity as it was read.
    pub identity: Identity,
}

impl Config {
    /// Reads the configuration and the identity it names.
    pub fn load(given: Option<&Path>) -> Result<Self, CommandError> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => usual_path()?,
        };
        let file = read(&path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let files = IdentityFiles::at(folder.join(&file.identity));
        let identity = operator_identity(&files, &path)?;
        Ok(Self {
            address: address(&file.address)?,
            files,
            identity,
        })
    }
}

fn usual_path() -> Result<PathBuf, CommandError> {
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    match std::env::home_dir() {
        Some(home) => Ok(home.join(DEFAULT_PATH)),
        None => Err(CommandError::usage(
            "no configuration was named, and there is no home folder to look in",
        )
        .hint("name it: --config FILE, or HOLDFAST_CONFIG=FILE")),
    }
}

fn read(path: &Path) -> Result<File, CommandError> {
    let checked = holdfast_config::load_checked::<File>(path, |file, problems| {
        if let Err(error) = address(&file.address) {
            problems.at("address", error.message);
        }
    });
    checked.map_err(|error| {
        let error = CommandError::from(error);
        if path.exists() {
            return error;
        }
        error.hint(
            "`holdfast-coordinator init` makes operator/ctl.toml; copy that folder here and name it: --config FILE, or HOLDFAST_CONFIG=FILE",
        )
    })
}

/// `host:port`, with or without `https://` before it.
fn address(text: &str) -> Result<CoordinatorAddress, CommandError> {
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    full.parse().map_err(|_| {
        CommandError::usage(format!(
            "{text:?} is not a coordinator's address; write host:port, such as \"backup.example:7600\""
        ))
    })
}

/// The operator's identity; one that cannot work is told before anything is dialled.
fn operator_identity(files: &IdentityFiles, config: &Path) -> Result<Identity, CommandError> {
    let place = files.path().display();
    let identity = files.load()?.ok_or_else(|| {
        CommandError::usage(format!(
            "there is no identity at {place}, which {} names",
            config.display()
        ))
        .hint("copy the operator's identity there, or correct `identity`")
    })?;
    let peer = identity.peer();
    if !matches!(peer.role(), Role::Operator(_)) {
        return Err(CommandError::usage(format!(
            "{place} is the identity of {} {:?}; holdfastctl needs an operator's",
            peer.role(),
            peer.name()
        )));
    }
    if identity.is_expired(Timestamp::now()) {
        return Err(CommandError::refused(format!(
            "the certificate of operator {:?} in {place} expired on {:.0}",
            peer.name(),
            peer.not_after()
        ))
        .hint("check this host's clock; if it is right, ask an administrator for a new operator's identity"));
    }
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_host_and_port() {
        for good in [
            "127.0.0.1:7600",
            "https://backup.example:7600",
            "[::1]:7600",
        ] {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in ["", "backup.example", "http://x:1", "a b:1"] {
            let error = address(bad).expect_err(bad);
            assert!(error.message.contains("host:port"), "{}", error.message);
        }
    }
}

//! `check-config`: is the configuration right, and does every service answer?

use std::io::Write as _;
use std::path::Path;

use jiff::Timestamp;

use crate::app::open_sources;
use crate::config::{self, AgentConfig};
use crate::exit::{CommandError, Exit};
use crate::session::describe::{PATIENT_LIMIT, describe_all};
use crate::state::StateFolder;

/// Checks the configuration at `path` and, unless `offline`, asks each service.
pub async fn check(path: &Path, offline: bool) -> Result<(), CommandError> {
    let config = config::load(path).map_err(CommandError::usage)?;
    let sources = open_sources(&config, path)?;
    say(&format!(
        "{}: {} source(s), no mistakes found",
        path.display(),
        sources.len()
    ))?;
    say(&identity_line(&config))?;
    if offline {
        return Ok(());
    }
    let mut problems = 0;
    for source in describe_all(&sources, PATIENT_LIMIT).await {
        if source.problem.is_empty() {
            let mut facts: Vec<_> = source.facts.into_iter().collect();
            facts.sort();
            let facts: Vec<_> = facts.iter().map(|(k, v)| format!("{k} {v}")).collect();
            say(&format!("{}: answers ({})", source.name, facts.join(", ")))?;
        } else {
            problems += 1;
            say(&format!("{}: PROBLEM: {}", source.name, source.problem))?;
        }
    }
    if problems == 0 {
        return Ok(());
    }
    Err(CommandError::new(
        Exit::Failed,
        format!(
            "{problems} of {} source(s) could not be backed up now",
            sources.len()
        ),
        "mend what is said above, and check again",
    ))
}

fn identity_line(config: &AgentConfig) -> String {
    let state = StateFolder::at(&config.state);
    match state.identity().load() {
        Ok(Some(identity)) if identity.is_expired(Timestamp::now()) => format!(
            "identity: the certificate of {:?} expired on {}; join again with a new invitation",
            identity.peer().name(),
            identity.peer().not_after()
        ),
        Ok(Some(identity)) => format!(
            "identity: {:?}, certificate good until {}",
            identity.peer().name(),
            identity.peer().not_after()
        ),
        Ok(None) => "identity: none yet; next: holdfast-agent join".to_owned(),
        Err(error) => format!("identity: {error}"),
    }
}

/// To standard output; a reader that went away is no failure of the check.
fn say(line: &str) -> Result<(), CommandError> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CommandError::failed(format!("cannot write: {error}")))
        }
        _ => Ok(()),
    }
}

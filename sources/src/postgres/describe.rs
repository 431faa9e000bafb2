//! What a server says of itself before any run: for `check-config`, and for the list of sources.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Postgres;
use super::catalog::{self, ServerFacts};
use super::dump_facts::unreadable;
use super::selection::{Selection, select};
use crate::error::SourceError;
use crate::run::Description;

/// All of it, or the answer is that the server is too slow.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(40);
/// Databases whose privileges are looked at; a backup looks at all of them.
const MAX_CHECKED: usize = 32;

/// Connects and looks around. What is wrong is part of the answer.
pub(crate) async fn describe(postgres: &Postgres) -> Description {
    let mut facts = BTreeMap::from([
        ("address".to_owned(), postgres.server.address()),
        ("user".to_owned(), postgres.server.user().to_owned()),
    ]);
    let problem =
        match tokio::time::timeout(DESCRIBE_TIMEOUT, look_around(postgres, &mut facts)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) if error.hint().is_empty() => Some(error.to_string()),
            Ok(Err(error)) => Some(format!("{error}; {}", error.hint())),
            Err(_) => Some(format!(
                "PostgreSQL at {} answers too slowly",
                postgres.server.address()
            )),
        };
    Description { facts, problem }
}

async fn look_around(
    postgres: &Postgres,
    facts: &mut BTreeMap<String, String>,
) -> Result<(), SourceError> {
    let mut fact = |name: &str, value: String| facts.insert(name.to_owned(), value);
    let session = postgres
        .server
        .connect(&postgres.config.maintenance_database)
        .await?;
    let server = catalog::server_facts(&session).await?;
    fact("server_version", server.version.clone());
    fact("system_identifier", server.system_identifier.clone());
    fact("role", role_words(&server).to_owned());
    if server.in_recovery {
        fact("standby", "yes".to_owned());
    }
    let installed = postgres.installed(&CancellationToken::new()).await;
    fact("client_versions", installed.versions());
    let Selection { chosen, skipped } =
        select(catalog::databases(&session).await?, &postgres.config)?;
    let names = |names: Vec<&str>| names.join(", ");
    fact(
        "databases",
        names(
            chosen
                .iter()
                .map(|database| database.name.as_str())
                .collect(),
        ),
    );
    fact(
        "skipped",
        names(
            skipped
                .iter()
                .map(|database| database.name.as_str())
                .collect(),
        ),
    );
    let size: u64 = chosen.iter().map(|database| database.size_bytes).sum();
    fact("size_bytes", size.to_string());
    installed.to_dump(server.major)?;
    for database in chosen.iter().take(MAX_CHECKED) {
        let inside = postgres.server.connect(&database.name).await?;
        if let Some((what, hint)) = unreadable(&inside, &server, postgres.server.user()).await? {
            return Err(SourceError::permanent(
                format!("database {}: {what}", database.name),
                hint,
            ));
        }
    }
    Ok(())
}

fn role_words(server: &ServerFacts) -> &'static str {
    match server {
        ServerFacts {
            superuser: true, ..
        } => "superuser",
        ServerFacts {
            create_db: true, ..
        } => "may back up, may create databases",
        _ => "may back up; a restore needs a superuser",
    }
}

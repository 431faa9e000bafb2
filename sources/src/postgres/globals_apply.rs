//! Brings roles and tablespaces of a snapshot's `globals.sql` back.
//!
//! What exists already is kept and then altered as the snapshot says; nothing is dropped. The role that we are is left as it
//! is: a restored password or a lost attribute would lock the agent out in the middle of its work. Settings of
//! roles in single databases are left to the restore of those databases.

use super::catalog;
use super::connect::{Session, spoken};
use super::restore::Restore;
use super::statements::{name_after, split};
use crate::error::SourceError;

/// As long as what a backup accepts.
const MAX_GLOBALS_BYTES: usize = 128 << 20;

/// What is done with one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A role or tablespace that must be there afterwards.
    Create,
    /// Anything else; when it fails, that is told.
    Run,
    /// Left out.
    Skip,
}

/// Applies it. Says what did not succeed; a role or tablespace that cannot be created is an error.
pub(crate) async fn apply(restore: &Restore<'_>) -> Result<Vec<String>, SourceError> {
    restore.context.reporter.phase("restoring globals");
    let bytes = restore
        .reader
        .read_bytes(&format!("{}/globals.sql", restore.root), MAX_GLOBALS_BYTES)
        .await?;
    let script = std::str::from_utf8(&bytes).map_err(|_| {
        SourceError::permanent(
            "the snapshot's globals.sql is not UTF-8 text",
            "apply it by hand with psql",
        )
    })?;
    // A session of its own, since the script has settings of its own.
    let session = restore.server.connect(&restore.control_database).await?;
    let there = There {
        roles: catalog::roles(&session).await?,
        tablespaces: catalog::tablespaces(&session)
            .await?
            .into_iter()
            .map(|tablespace| tablespace.name)
            .collect(),
        ourselves: restore.server.user().to_owned(),
    };
    let mut told = Vec::new();
    for statement in split(script) {
        let step = there.step(&statement);
        if step == Step::Skip {
            continue;
        }
        if let Err(sentence) = run(&session, &statement).await {
            if step == Step::Create {
                return Err(SourceError::permanent(
                    format!("restoring globals failed: {sentence}"),
                    "create it by hand, then restore again",
                ));
            }
            told.push(sentence);
        }
    }
    session.close().await;
    Ok(told)
}

/// The sentence about a failure repeats the head of the statement only: the rest may hold a password's hash.
async fn run(session: &Session, statement: &str) -> Result<(), String> {
    session
        .client
        .batch_execute(statement)
        .await
        .map_err(|error| {
            let head: Vec<&str> = statement.split_whitespace().take(3).collect();
            format!("{}: {}", head.join(" "), spoken(&error))
        })
}

struct There {
    roles: Vec<String>,
    tablespaces: Vec<String>,
    ourselves: String,
}

impl There {
    fn step(&self, statement: &str) -> Step {
        if let Some(role) = name_after(statement, "CREATE ROLE") {
            return if self.roles.contains(&role) {
                Step::Skip
            } else {
                Step::Create
            };
        }
        if let Some(tablespace) = name_after(statement, "CREATE TABLESPACE") {
            return if self.tablespaces.contains(&tablespace) {
                Step::Skip
            } else {
                Step::Create
            };
        }
        match name_after(statement, "ALTER ROLE") {
            Some(role) if role == self.ourselves => Step::Skip,
            Some(role) if names_a_database(statement, &role) => Step::Skip,
            _ => Step::Run,
        }
    }
}

/// Whether it is `ALTER ROLE <role> IN DATABASE ...`.
fn names_a_database(statement: &str, role: &str) -> bool {
    let written = [super::sql::ident(role), role.to_owned()];
    written.iter().any(|name| {
        statement
            .strip_prefix("ALTER ROLE ")
            .and_then(|rest| rest.strip_prefix(name.as_str()))
            .is_some_and(|rest| rest.starts_with(" IN DATABASE "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn existing_things_are_kept_and_we_stay_who_we_are() {
        let there = There {
            roles: vec!["postgres".to_owned(), "old".to_owned()],
            tablespaces: vec!["fast".to_owned()],
            ourselves: "postgres".to_owned(),
        };
        assert_eq!(there.step("CREATE ROLE old"), Step::Skip);
        assert_eq!(there.step("CREATE ROLE \"new one\""), Step::Create);
        assert_eq!(
            there.step("CREATE TABLESPACE fast OWNER x LOCATION '/x'"),
            Step::Skip
        );
        assert_eq!(
            there.step("CREATE TABLESPACE slow OWNER x LOCATION '/x'"),
            Step::Create
        );
        assert_eq!(
            there.step("ALTER ROLE old WITH SUPERUSER PASSWORD 'x'"),
            Step::Run
        );
        assert_eq!(
            there.step("ALTER ROLE postgres WITH NOSUPERUSER"),
            Step::Skip
        );
        assert_eq!(
            there.step("ALTER ROLE \"old\" IN DATABASE \"d\" SET \"a\" TO 'b'"),
            Step::Skip
        );
        assert_eq!(
            there.step("ALTER ROLE old SET work_mem TO '1MB'"),
            Step::Run
        );
        assert_eq!(there.step("GRANT a TO b"), Step::Run);
    }
}

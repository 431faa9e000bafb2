//! Which databases a backup takes.

use super::catalog::ListedDatabase;
use super::config::PostgresConfig;
use super::glob::Glob;
use crate::error::SourceError;

/// What is backed up, and what is not.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub chosen: Vec<ListedDatabase>,
    pub skipped: Vec<Skipped>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub name: String,
    pub reason: Reason,
}

/// Why a database is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Reason {
    #[error("no pattern of `databases` matches")]
    NotNamed,
    #[error("a pattern of `exclude` matches")]
    Excluded,
    #[error("it allows no connections (datallowconn is false)")]
    NoConnections,
    #[error("it is PostgreSQL's own template; name it in `databases` to back it up")]
    Template,
    #[error("it is a copy that a restore is making")]
    Copy,
    #[error("it is the safety copy of an earlier restore; name it in `databases` to back it up")]
    SafetyCopy,
    #[error("it was dropped or renamed after the backup had begun")]
    Gone,
}

impl Skipped {
    /// Whether somebody may have expected it to be backed up.
    pub(crate) fn is_worth_a_warning(&self) -> bool {
        match self.reason {
            Reason::NoConnections => self.name != "template0",
            Reason::Gone => true,
            _ => false,
        }
    }
}

/// Applies the patterns. A database that is named without wildcards and is not there, or may not be read, is an error.
pub(crate) fn select(
    listed: Vec<ListedDatabase>,
    config: &PostgresConfig,
) -> Result<Selection, SourceError> {
    let (wanted, unwanted) = (globs(&config.databases)?, globs(&config.exclude)?);
    if let Some(missing) = wanted
        .iter()
        .filter_map(Glob::literal)
        .find(|name| listed.iter().all(|database| database.name != *name))
    {
        return Err(SourceError::permanent(
            format!("database {missing} does not exist"),
            "correct `databases` of the source, or create it",
        ));
    }
    let mut selection = Selection {
        chosen: Vec::new(),
        skipped: Vec::new(),
    };
    for database in listed {
        match reason(&database.name, &database, &wanted, &unwanted) {
            None if !database.may_connect => {
                return Err(SourceError::permanent(
                    format!(
                        "{} may not connect to database {}",
                        config.user, database.name
                    ),
                    format!(
                        "GRANT CONNECT ON DATABASE \"{}\" TO {}; or leave it out with `exclude`",
                        database.name, config.user
                    ),
                ));
            }
            None => selection.chosen.push(database),
            Some(reason) => selection.skipped.push(Skipped {
                name: database.name,
                reason,
            }),
        }
    }
    if selection.chosen.is_empty() {
        return Err(SourceError::permanent(
            "no database is chosen for backup",
            "correct `databases` and `exclude` of the source",
        ));
    }
    Ok(selection)
}

/// Why a backup leaves `database` out; `None`: it takes it.
pub(crate) fn left_out(
    database: &ListedDatabase,
    config: &PostgresConfig,
) -> Result<Option<Reason>, SourceError> {
    let (wanted, unwanted) = (globs(&config.databases)?, globs(&config.exclude)?);
    Ok(reason(&database.name, database, &wanted, &unwanted))
}

fn globs(patterns: &[String]) -> Result<Vec<Glob>, SourceError> {
    let glob = |pattern: &String| {
        Glob::new(pattern).map_err(|error| {
            SourceError::permanent(
                format!("pattern {pattern:?}: {error}"),
                "correct `databases` or `exclude`",
            )
        })
    };
    patterns.iter().map(glob).collect()
}

fn reason(
    name: &str,
    database: &ListedDatabase,
    wanted: &[Glob],
    unwanted: &[Glob],
) -> Option<Reason> {
    let named = wanted.iter().any(|glob| glob.literal() == Some(name));
    if !wanted.iter().any(|glob| glob.matches(name)) {
        Some(Reason::NotNamed)
    } else if unwanted.iter().any(|glob| glob.matches(name)) {
        Some(Reason::Excluded)
    } else if !database.allows_connections {
        Some(Reason::NoConnections)
    } else if matches!(name, "template0" | "template1") && !named {
        Some(Reason::Template)
    } else if super::names::restoring_tag(name).is_some() && !named {
        Some(Reason::Copy)
    } else if super::names::is_before(name) && !named {
        Some(Reason::SafetyCopy)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(names: &[&str]) -> Vec<ListedDatabase> {
        let database = |(oid, name): (usize, &&str)| ListedDatabase {
            oid: u32::try_from(oid).unwrap(),
            name: (*name).to_owned(),
            allows_connections: *name != "template0" && *name != "closed",
            is_template: name.starts_with("template"),
            may_connect: *name != "secret",
            size_bytes: 1,
        };
        names.iter().enumerate().map(database).collect()
    }

    fn config(databases: &[&str], exclude: &[&str]) -> PostgresConfig {
        let list = |patterns: &[&str]| format!("{patterns:?}");
        let text = format!(
            "name = 'a'\nuser = 'u'\ndatabases = {}\nexclude = {}",
            list(databases),
            list(exclude)
        );
        holdfast_config::parse("test", &text).unwrap()
    }

    fn chosen(selection: &Selection) -> Vec<&str> {
        selection
            .chosen
            .iter()
            .map(|database| database.name.as_str())
            .collect()
    }

    const NAMES: [&str; 7] = [
        "app",
        "app_before_0190f5fe89ab",
        "closed",
        "app_restoring_0190f5fe89ab",
        "scratch_1",
        "template0",
        "template1",
    ];

    #[test]
    fn stars_take_all_but_templates_copies_and_closed_ones() {
        let selection = select(listed(&NAMES), &config(&["*"], &["scratch_*"])).unwrap();
        assert_eq!(chosen(&selection), ["app"]);
        let reasons: Vec<Reason> = selection
            .skipped
            .iter()
            .map(|skipped| skipped.reason)
            .collect();
        use Reason::{Copy, Excluded, NoConnections, SafetyCopy, Template};
        assert_eq!(
            reasons,
            [
                SafetyCopy,
                NoConnections,
                Copy,
                Excluded,
                NoConnections,
                Template
            ]
        );
        let warned: Vec<&str> = selection
            .skipped
            .iter()
            .filter(|s| s.is_worth_a_warning())
            .map(|s| s.name.as_str())
            .collect();
        assert_eq!(warned, ["closed"]);
    }

    #[test]
    fn what_is_named_must_be_there() {
        let selection = select(listed(&NAMES), &config(&["template1", "app"], &[])).unwrap();
        assert_eq!(chosen(&selection), ["app", "template1"]);
        let error = select(listed(&NAMES), &config(&["ap"], &[])).unwrap_err();
        assert_eq!(error.to_string(), "database ap does not exist");
        assert!(select(listed(&NAMES), &config(&["x*"], &[])).is_err());
        let error = select(listed(&["secret"]), &config(&["*"], &[])).unwrap_err();
        assert!(error.hint().contains("GRANT CONNECT"), "{}", error.hint());
    }
}

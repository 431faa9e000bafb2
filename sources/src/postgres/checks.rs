//! What forbids a restore, found before the work starts, all at once, each with what to do.

use std::collections::BTreeSet;

use super::catalog::{self, names};
use super::config::PostgresConfig;
use super::drop::clients;
use super::manifest::Manifest;
use super::restore::{Restore, Target};
use super::selection::left_out;
use super::{space, subscriptions};
use crate::error::SourceError;
use crate::run::Subscriptions;

/// Nothing forbids it; this should be known.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub warnings: Vec<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(super) problems: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    pub(super) fn problem(&mut self, what: String, hint: impl Into<String>) {
        self.problems.push((what, hint.into()));
    }

    /// All problems in one refusal.
    pub(crate) fn into_result(self) -> Result<Checked, SourceError> {
        if self.problems.is_empty() {
            return Ok(Checked {
                warnings: self.warnings,
            });
        }
        let (what, hints): (Vec<String>, Vec<String>) = self.problems.into_iter().unzip();
        let mut seen = BTreeSet::new();
        let hints: Vec<String> = hints
            .into_iter()
            .filter(|hint| seen.insert(hint.clone()))
            .collect();
        Err(SourceError::refused(what.join("; "), hints.join("; ")))
    }
}

/// Everything that can be known before the work.
pub(crate) async fn check(
    restore: &Restore<'_>,
    config: &PostgresConfig,
    manifest: &Manifest,
    targets: &[Target<'_>],
) -> Result<Checked, SourceError> {
    let mut found = check_live(restore, targets).await?;
    check_role(restore, &mut found);
    check_drop_old(restore, config, targets, &mut found).await?;
    check_names(restore, targets, &mut found).await?;
    check_clients(restore, targets, &mut found).await?;
    for target in targets {
        check_needs(restore, manifest, target, &mut found).await?;
    }
    space::check(restore, manifest, targets, &mut found);
    found.into_result()
}

/// The same for a target that replaces nothing, which may be a scratch database.
pub(crate) async fn check_new(
    restore: &Restore<'_>,
    manifest: &Manifest,
    target: &Target<'_>,
) -> Result<Checked, SourceError> {
    let mut found = Findings::default();
    check_role(restore, &mut found);
    check_names(restore, std::slice::from_ref(target), &mut found).await?;
    check_needs(restore, manifest, target, &mut found).await?;
    space::check(restore, manifest, std::slice::from_ref(target), &mut found);
    found.into_result()
}

/// What concerns the live databases and may change while the copies are made: looked at again right before the swap.
pub(crate) async fn check_live(
    restore: &Restore<'_>,
    targets: &[Target<'_>],
) -> Result<Findings, SourceError> {
    let mut found = Findings::default();
    let control = &restore.control;
    for target in targets.iter().filter(|target| target.replaces) {
        let name = &target.name;
        let sql =
            "SELECT gid FROM pg_prepared_xacts WHERE database = $1 ORDER BY prepared LIMIT 10";
        let prepared = names(control, sql, &[name], "listing the prepared transactions").await?;
        if !prepared.is_empty() {
            found.problem(
                format!(
                    "{name} has prepared transactions, which block its renaming: {}",
                    prepared.join(", ")
                ),
                "end each with COMMIT PREPARED or ROLLBACK PREPARED",
            );
        }
        if restore.request.subscriptions == Subscriptions::Refuse {
            check_replication(restore, name, &mut found).await?;
        }
    }
    Ok(found)
}

async fn check_replication(
    restore: &Restore<'_>,
    name: &str,
    found: &mut Findings,
) -> Result<(), SourceError> {
    let hint = "add --subscriptions skip (the restored database has none) or --subscriptions move (it takes them over)";
    let subscriptions = subscriptions::of_database(&restore.control, name).await?;
    if !subscriptions.is_empty() {
        let list: Vec<&str> = subscriptions
            .iter()
            .map(|subscription| subscription.name.as_str())
            .collect();
        found.problem(
            format!("{name} has subscriptions: {}", list.join(", ")),
            hint,
        );
    }
    let slots = subscriptions::slots_of_database(&restore.control, name).await?;
    if !slots.is_empty() {
        let list: Vec<&str> = slots.iter().map(|slot| slot.name.as_str()).collect();
        found.problem(
            format!("{name} has logical replication slots: {}", list.join(", ")),
            hint,
        );
    }
    Ok(())
}

/// A safety copy that is dropped must be in the safety backup, and that takes what the source's backups take.
async fn check_drop_old(
    restore: &Restore<'_>,
    config: &PostgresConfig,
    targets: &[Target<'_>],
    found: &mut Findings,
) -> Result<(), SourceError> {
    if !restore.request.drop_old {
        return Ok(());
    }
    let listed = catalog::databases(&restore.control).await?;
    for target in targets.iter().filter(|target| target.replaces) {
        let live = listed.iter().find(|database| database.name == target.name);
        let reason = match live {
            Some(live) => left_out(live, config)?,
            None => None,
        };
        if let Some(reason) = reason {
            found.problem(
                format!(
                    "{} would be dropped, and no backup of this source holds it: {reason}",
                    target.name
                ),
                "leave out --drop-old, and drop the copy that stays by command once it is not needed",
            );
        }
    }
    Ok(())
}

fn check_role(restore: &Restore<'_>, found: &mut Findings) {
    let facts = &restore.facts;
    let user = restore.server.user();
    if facts.in_recovery {
        found.problem(
            "the server is a standby: nothing can be restored into it".to_owned(),
            "restore into its primary",
        );
    }
    if !facts.superuser && !facts.create_db {
        found.problem(
            format!("{user} may not create databases"),
            format!("use a superuser, or ALTER ROLE {user} CREATEDB"),
        );
    }
    if restore.request.globals && !facts.superuser {
        found.problem(
            format!("{user} may not restore roles and tablespaces"),
            "use a superuser, or leave out --globals",
        );
    }
}

async fn check_names(
    restore: &Restore<'_>,
    targets: &[Target<'_>],
    found: &mut Findings,
) -> Result<(), SourceError> {
    let listed = catalog::database_names(&restore.control).await?;
    for target in targets {
        let name = &target.name;
        if restore.request.into.is_some() && listed.iter().any(|other| other == name) {
            found.problem(
                format!("database {name} exists"),
                "name another one with --into, or leave it out to swap in place",
            );
        }
        if matches!(name.as_str(), "template0" | "template1") {
            found.problem(
                format!("{name} is PostgreSQL's own template and is not swapped"),
                "restore it with --into NAME",
            );
        }
    }
    Ok(())
}

async fn check_clients(
    restore: &Restore<'_>,
    targets: &[Target<'_>],
    found: &mut Findings,
) -> Result<(), SourceError> {
    if restore.request.disconnect_clients {
        return Ok(());
    }
    for target in targets.iter().filter(|target| target.replaces) {
        let clients = clients(&restore.control, &target.name).await?;
        if !clients.is_empty() {
            found.problem(
                format!("{} is in use: {}", target.name, clients.join("; ")),
                "end these sessions, or add --disconnect-clients (they are ended at the swap, not before)",
            );
        }
    }
    Ok(())
}

async fn check_needs(
    restore: &Restore<'_>,
    manifest: &Manifest,
    target: &Target<'_>,
    found: &mut Findings,
) -> Result<(), SourceError> {
    let control = &restore.control;
    let database = target.manifest;
    let name = database.name();
    let brought = |names: &[String], wanted: &str| {
        restore.request.globals && names.iter().any(|name| name == wanted)
    };

    let there = catalog::roles(control).await?;
    let missing: Vec<&str> = database
        .roles
        .iter()
        .map(String::as_str)
        .filter(|role| !there.iter().any(|other| other == role) && !brought(&manifest.roles, role))
        .collect();
    if !missing.is_empty() {
        found.problem(
            format!(
                "{name} needs roles that the server lacks: {}",
                missing.join(", ")
            ),
            "add --globals to bring roles from the snapshot, or create them",
        );
    }

    let there = catalog::tablespaces(control).await?;
    let in_snapshot: Vec<String> = manifest
        .tablespaces
        .iter()
        .map(|tablespace| tablespace.name.clone())
        .collect();
    let own =
        (database.properties.tablespace != "pg_default").then_some(&database.properties.tablespace);
    let missing: Vec<&str> = database
        .tablespaces
        .iter()
        .chain(own)
        .map(String::as_str)
        .filter(|wanted| {
            !there.iter().any(|tablespace| tablespace.name == *wanted)
                && !brought(&in_snapshot, wanted)
        })
        .collect();
    if !missing.is_empty() {
        found.problem(
            format!(
                "{name} needs tablespaces that the server lacks: {}",
                missing.join(", ")
            ),
            "create them, or make their folders on the server's host and add --globals",
        );
    }

    let available = names(
        control,
        "SELECT name::text FROM pg_available_extensions",
        &[],
        "listing the available extensions",
    )
    .await?;
    let missing: Vec<&str> = database
        .extensions
        .iter()
        .map(|extension| extension.name.as_str())
        .filter(|wanted| !available.iter().any(|name| name == wanted))
        .collect();
    if !missing.is_empty() {
        found.problem(
            format!(
                "{name} needs extensions that the server lacks: {}",
                missing.join(", ")
            ),
            "install their packages on the server's host",
        );
    }
    if manifest.server.major != restore.facts.major {
        found.warnings.push(format!(
            "{name} comes from PostgreSQL {} and goes into {}",
            manifest.server.version, restore.facts.version
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_are_told_at_once_and_hints_once() {
        let mut found = Findings::default();
        found.problem("a is in use".to_owned(), "end it");
        found.problem("b is in use".to_owned(), "end it");
        let error = found.into_result().unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.hint()),
            ("a is in use; b is in use", "end it")
        );
        assert_eq!(error.class(), crate::FailureClass::Refused);
    }
}

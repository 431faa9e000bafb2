//! One restore: copies beside the live databases, proven equal, then one swap.
//!
//! Promise: until the swap the live databases are untouched and serving; the swap is one transaction over all of them, so
//! either every database of the run is the restored one or none is. Whatever fails before it takes the half-made copies
//! away again. A run that is given out anew finds by [`swap::swapped_already`] that its swap has happened, and reports
//! that instead of doing it twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use holdfast_vault::SnapshotReader;

use super::Postgres;
use super::aftermath::{Rest, whole_or_failed};
use super::catalog::{self, ServerFacts};
use super::checks::{self, Checked};
use super::connect::{Server, Session};
use super::manifest::{DatabaseManifest, MAX_MANIFEST_BYTES, Manifest};
use super::programs::Programs;
use super::{
    compare, create, drop, globals_apply, load, names, subscriptions, swap, tables, until_cancelled,
};
use crate::error::SourceError;
use crate::run::{RestoreOutcome, RestoreRequest, RestoredDatabase, RunContext, Subscriptions};

/// One database of a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target<'m> {
    pub manifest: &'m DatabaseManifest,
    /// The name it gets in the end.
    pub name: String,
    /// Its name while it is half made.
    pub copy: String,
    /// The name that what stands there now gets.
    pub before: String,
    /// Something stands there now.
    pub replaces: bool,
}

/// A restore under way: what every step needs.
pub(crate) struct Restore<'a> {
    pub server: &'a Server,
    pub request: &'a RestoreRequest,
    pub reader: &'a SnapshotReader,
    pub context: &'a RunContext,
    pub facts: ServerFacts,
    pub programs: Programs,
    /// The snapshot's one path.
    pub root: String,
    /// A database that is none of the targets, and a session in it.
    pub control_database: String,
    pub control: Session,
    /// The copies that this attempt made.
    pub copies: Copies,
}

/// Runs the whole restore.
pub(crate) async fn restore(
    postgres: &Postgres,
    request: &RestoreRequest,
    reader: &SnapshotReader,
    context: &RunContext,
) -> Result<RestoreOutcome, SourceError> {
    // What the snapshot holds, and what of it is wanted.
    context.reporter.phase("reading the manifest");
    let root = snapshot_root(reader)?;
    let manifest = until_cancelled(context, read_manifest(reader, &root)).await?;
    let wanted = choose(&manifest, request)?;

    // What stands on the server.
    context.reporter.phase("checking the server");
    let control_database = control_database(postgres, &wanted, request);
    let control = until_cancelled(context, postgres.server.connect(&control_database)).await?;
    let facts = catalog::server_facts(&control).await?;
    let choice = postgres
        .installed(&context.cancel)
        .await
        .to_restore(manifest.pg_dump_major(), facts.major)?;
    let mut outcome = RestoreOutcome::default();
    outcome.warnings.extend(choice.warning);
    let restore = Restore {
        server: &postgres.server,
        request,
        reader,
        context,
        facts,
        programs: choice.programs,
        root,
        control_database,
        control,
        copies: Copies::default(),
    };
    if !request.tables.is_empty() {
        return tables::restore_tables(&restore, &manifest, wanted[0], outcome).await;
    }
    let targets = restore.targets(&wanted).await?;

    if swap::swapped_already(&restore.control, &targets, context).await? {
        context.reporter.log(
            "info",
            "this run has swapped already; nothing is restored again",
        );
    } else {
        // What forbids the work, before it starts.
        let Checked { warnings } = until_cancelled(
            context,
            checks::check(&restore, &postgres.config, &manifest, &targets),
        )
        .await?;
        outcome.warnings.extend(warnings);
        if request.globals {
            outcome
                .warnings
                .extend(until_cancelled(context, globals_apply::apply(&restore)).await?);
        }
        // Copies beside the live databases, each compared with the manifest, and the swap.
        let made = async {
            until_cancelled(context, restore.make_copies(&targets)).await?;
            swap::swap(&restore, &targets).await
        };
        if let Err(error) = made.await {
            restore.drop_copies(&targets).await;
            return Err(error);
        }
    }

    // What follows a swap: done again, it finds nothing left to do.
    let mut rest = subscriptions::after_swap(&restore, &targets).await;
    for target in &targets {
        let dropped = restore.finish(target, &mut rest).await;
        outcome.databases.push(restored(target, dropped));
    }
    outcome.warnings.extend(rest.told);
    whole_or_failed(outcome, &rest.undone)
}

fn snapshot_root(reader: &SnapshotReader) -> Result<String, SourceError> {
    reader.snapshot().paths.first().cloned().ok_or_else(|| {
        SourceError::permanent("the snapshot has no path", "restore from another snapshot")
    })
}

async fn read_manifest(reader: &SnapshotReader, root: &str) -> Result<Manifest, SourceError> {
    let bytes = reader
        .read_bytes(&format!("{root}/manifest.json"), MAX_MANIFEST_BYTES)
        .await?;
    Manifest::from_json(&bytes)
}

fn choose<'m>(
    manifest: &'m Manifest,
    request: &RestoreRequest,
) -> Result<Vec<&'m DatabaseManifest>, SourceError> {
    let all = || {
        manifest
            .databases
            .iter()
            .map(DatabaseManifest::name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut chosen = Vec::new();
    for name in &request.databases {
        chosen.push(manifest.database(name).ok_or_else(|| {
            SourceError::permanent(
                format!("the snapshot holds no database {name}"),
                format!("it holds: {}", all()),
            )
        })?);
    }
    if request.databases.is_empty() {
        chosen = manifest.databases.iter().collect();
    }
    let single = request.into.is_some() || !request.tables.is_empty();
    if single && chosen.len() != 1 {
        return Err(SourceError::refused(
            format!(
                "one database is needed, and {} are named or in the snapshot",
                chosen.len()
            ),
            format!("name one of: {}", all()),
        ));
    }
    if let Some(into) = &request.into
        && (into.is_empty() || into.len() > names::MAX_NAME_BYTES || into.contains('\0'))
    {
        return Err(SourceError::refused(
            format!("{into:?} cannot be a database's name"),
            format!("a name has 1 to {} bytes", names::MAX_NAME_BYTES),
        ));
    }
    Ok(chosen)
}

/// A database to work from: the maintenance database, unless it is to be swapped itself.
fn control_database(
    postgres: &Postgres,
    wanted: &[&DatabaseManifest],
    request: &RestoreRequest,
) -> String {
    let configured = &postgres.config.maintenance_database;
    let in_place = request.into.is_none() && request.tables.is_empty();
    let swapped = |name: &str| in_place && wanted.iter().any(|database| database.name() == name);
    [configured.as_str(), "postgres"]
        .into_iter()
        .find(|name| !swapped(name))
        .unwrap_or("template1")
        .to_owned()
}

fn restored(target: &Target<'_>, dropped_old: bool) -> RestoredDatabase {
    RestoredDatabase {
        name: target.manifest.name().to_owned(),
        restored_as: target.name.clone(),
        previous_as: (target.replaces && !dropped_old).then(|| target.before.clone()),
        tables: target.manifest.tables.len() as u64,
        rows: target.manifest.tables.iter().map(|table| table.rows).sum(),
    }
}

impl Restore<'_> {
    async fn targets<'m>(
        &self,
        wanted: &[&'m DatabaseManifest],
    ) -> Result<Vec<Target<'m>>, SourceError> {
        let listed = catalog::database_names(&self.control).await?;
        let there = |name: &str| listed.iter().any(|other| other == name);
        let run_id = &self.context.run_id;
        Ok(wanted
            .iter()
            .map(|manifest| {
                let name = self
                    .request
                    .into
                    .clone()
                    .unwrap_or_else(|| manifest.name().to_owned());
                let before = names::before(&name, run_id);
                Target {
                    manifest,
                    copy: names::restoring(&name, run_id),
                    replaces: self.request.into.is_none() && (there(&name) || there(&before)),
                    before,
                    name,
                }
            })
            .collect())
    }

    async fn make_copies(&self, targets: &[Target<'_>]) -> Result<(), SourceError> {
        let expected = targets
            .iter()
            .map(|target| target.manifest.dump_bytes)
            .sum();
        self.context.reporter.expected_bytes(expected);
        for target in targets {
            self.make_copy(target).await?;
        }
        Ok(())
    }

    async fn make_copy(&self, target: &Target<'_>) -> Result<(), SourceError> {
        let name = target.manifest.name();
        self.context
            .reporter
            .phase(&format!("creating a copy of {name}"));
        // An earlier attempt of this run may have left one; whoever still works on it loses it.
        drop::drop_database(self.server, &self.control, &target.copy).await?;
        create::create(self, target).await?;
        self.context.reporter.phase(&format!("loading {name}"));
        let with_subscriptions = self.moves_subscriptions();
        load::load(
            self,
            &target.manifest.file,
            &target.copy,
            &load::Part::Whole { with_subscriptions },
        )
        .await?;
        self.context.reporter.phase(&format!("comparing {name}"));
        compare::analyze_and_compare(self.server, &target.copy, target.manifest).await?;
        create::put_back_properties(self, target).await
    }

    /// Whether the restored databases take the subscriptions over.
    pub(crate) fn moves_subscriptions(&self) -> bool {
        self.request.subscriptions == Subscriptions::Move
            && self.request.into.is_none()
            && self.request.tables.is_empty()
    }

    /// Takes half-made copies away. What cannot be is left to the next sweep, and said.
    pub(crate) async fn drop_copies(&self, targets: &[Target<'_>]) {
        for target in targets {
            drop_half_made(self, &target.copy).await;
        }
    }

    /// What comes last; whether the previous database was dropped. The mark goes at the very end: until then another attempt
    /// of this run finds by it that the swap has happened.
    async fn finish(&self, target: &Target<'_>, rest: &mut Rest) -> bool {
        let mut dropped = false;
        if self.request.drop_old && target.replaces {
            self.context
                .reporter
                .phase(&format!("dropping {}", target.before));
            match drop::drop_database(self.server, &self.control, &target.before).await {
                Ok(()) => dropped = true,
                Err(error) => rest.undone.push(format!(
                    "{} could not be dropped and is still there: {error}",
                    target.before
                )),
            }
        }
        if let Err(error) = create::unmark(self, target).await {
            rest.told.push(format!(
                "{} keeps the setting {}: {error}",
                target.name,
                catalog::RESTORED_BY
            ));
        }
        dropped
    }
}

/// Takes one half-made copy away with a session of its own: the control session may be what failed. Only a copy that
/// this attempt made: one of the same name may be a later attempt's.
pub(crate) async fn drop_half_made(restore: &Restore<'_>, copy: &str) {
    let dropping = async {
        let session = restore.server.connect(&restore.control_database).await?;
        let there = catalog::database_oid(&session, copy).await?;
        if there.is_some_and(|oid| restore.copies.made_here(copy, oid)) {
            drop::drop_database(restore.server, &session, copy).await?;
        }
        Ok::<(), SourceError>(())
    };
    if let Err(error) = dropping.await {
        let text =
            format!("the half-made copy {copy} could not be dropped; it is swept later: {error}");
        restore.context.reporter.log("warn", &text);
    }
}

/// Which copies an attempt made, by oid. The names are the same in every attempt of a run; an attempt that was taken for
/// dead and wakes up must neither swap in nor drop what its successor is making.
#[derive(Debug, Default)]
pub(crate) struct Copies(Mutex<BTreeMap<String, Option<u32>>>);

impl Copies {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<u32>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is about to be created.
    pub(crate) fn begin(&self, copy: &str) {
        self.lock().insert(copy.to_owned(), None);
    }

    /// It was created.
    pub(crate) fn made(&self, copy: &str, oid: u32) {
        self.lock().insert(copy.to_owned(), Some(oid));
    }

    /// Its oid, once it was created.
    pub(crate) fn oid(&self, copy: &str) -> Option<u32> {
        self.lock().get(copy).copied().flatten()
    }

    /// Whether the database `copy` with this oid is this attempt's; also when its creation was cut off before its oid
    /// was known.
    fn made_here(&self, copy: &str, oid: u32) -> bool {
        self.lock()
            .get(copy)
            .is_some_and(|made| made.is_none_or(|made| made == oid))
    }
}

//! Single tables out of a dump: into a new database, or into a schema of a live one.
//!
//! Promise: a table comes whole (see `toc_selection`), and nothing that exists is overwritten: where an object of its
//! name stands already, the restore is refused before anything is changed.

use std::io::Write;

use holdfast_vault::SnapshotReader;
use tokio::io::AsyncReadExt;

use super::archive::{ArchiveReader, Toc};
use super::compare;
use super::load::{self, Part, read_error};
use super::manifest::{DatabaseManifest, Manifest};
use super::restore::{Restore, Target, drop_half_made};
use super::toc_selection::{Selected, select};
use super::wanted_table::WantedTable;
use super::{checks, create, drop, names as made_names, swap, tables_into_schema, until_cancelled};
use crate::error::SourceError;
use crate::run::{RestoreOutcome, RestoredDatabase};

const BUFFER_BYTES: usize = 256 * 1024;

/// Restores `restore.request.tables` of `database`.
pub(crate) async fn restore_tables(
    restore: &Restore<'_>,
    manifest: &Manifest,
    database: &DatabaseManifest,
    mut outcome: RestoreOutcome,
) -> Result<RestoreOutcome, SourceError> {
    // Which entries of the archive they are.
    restore
        .context
        .reporter
        .phase("reading the table of contents");
    let wanted = wanted(restore)?;
    let path = format!("{}/{}", restore.root, database.file);
    let toc = until_cancelled(restore.context, read_toc(restore.reader, &path)).await?;
    let selected = select(&toc, &wanted).map_err(|error| {
        SourceError::permanent(
            error.to_string(),
            "name tables as schema.table, as `snapshot show` lists them",
        )
    })?;
    for name in &selected.foreign_keys_left_out {
        outcome.warnings.push(format!(
            "foreign key {name} is left out, since it refers to a table that is not restored"
        ));
    }

    // A manifest of these tables alone, which the copy is compared with.
    let part = only(database, &selected);
    let name = restore
        .request
        .into
        .clone()
        .unwrap_or_else(|| made_names::tables(database.name(), &restore.context.run_id));
    let target = Target {
        manifest: &part,
        copy: made_names::restoring(&name, &restore.context.run_id),
        before: made_names::before(&name, &restore.context.run_id),
        name,
        replaces: false,
    };
    let restored_as = match &restore.request.into_schema {
        None => {
            into_new_database(restore, manifest, &target, &selected, &mut outcome).await?;
            target.name.clone()
        }
        Some(schema) => {
            tables_into_schema::into_schema(
                restore,
                manifest,
                &target,
                &selected,
                schema,
                &mut outcome,
            )
            .await?;
            format!("{}, schema {schema}", database.name())
        }
    };
    outcome.databases.push(RestoredDatabase {
        name: database.name().to_owned(),
        restored_as,
        previous_as: None,
        tables: part.tables.len() as u64,
        rows: part.tables.iter().map(|table| table.rows).sum(),
    });
    Ok(outcome)
}

fn wanted(restore: &Restore<'_>) -> Result<Vec<WantedTable>, SourceError> {
    let parse = |text: &String| {
        WantedTable::parse(text).ok_or_else(|| {
            SourceError::permanent(
                format!("{text:?} is no table's name"),
                "write table or schema.table, parts with dots in double quotes",
            )
        })
    };
    restore.request.tables.iter().map(parse).collect()
}

/// Reads as much of the dump as its table of contents takes.
async fn read_toc(reader: &SnapshotReader, path: &str) -> Result<Toc, SourceError> {
    let mut stream = reader.read_file(path).await?;
    let mut archive = ArchiveReader::listing();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = stream.read(&mut buffer).await.map_err(read_error)?;
        let damaged = |error: super::archive::ArchiveError| {
            SourceError::permanent(format!("{path}: {error}"), "restore from another snapshot")
        };
        archive.push(&buffer[..length]).map_err(damaged)?;
        if let Some(toc) = archive.toc() {
            return Ok(toc.clone());
        }
        if length == 0 {
            return Err(SourceError::permanent(
                format!("{path} ends in its table of contents"),
                "restore from another snapshot",
            ));
        }
    }
}

fn only(database: &DatabaseManifest, selected: &Selected) -> DatabaseManifest {
    let mut part = database.clone();
    part.tables.retain(|table| {
        selected
            .tables
            .contains(&(table.schema.clone(), table.name.clone()))
    });
    part.large_objects = 0;
    part.subscriptions.clear();
    part.logical_slots.clear();
    part
}

async fn into_new_database(
    restore: &Restore<'_>,
    manifest: &Manifest,
    target: &Target<'_>,
    selected: &Selected,
    outcome: &mut RestoreOutcome,
) -> Result<(), SourceError> {
    let targets = std::slice::from_ref(target);
    if swap::swapped_already(&restore.control, targets, restore.context).await? {
        return create::unmark(restore, target).await;
    }
    let checked = until_cancelled(
        restore.context,
        checks::check_new(restore, manifest, target),
    )
    .await?;
    outcome.warnings.extend(checked.warnings);
    let made = async {
        until_cancelled(restore.context, make_copy(restore, target, selected)).await?;
        until_cancelled(
            restore.context,
            create::put_back_properties(restore, target),
        )
        .await?;
        swap::swap(restore, targets).await
    };
    if let Err(error) = made.await {
        drop_half_made(restore, &target.copy).await;
        return Err(error);
    }
    create::unmark(restore, target).await
}

/// A half-made copy that holds the selected tables, compared with the manifest.
pub(crate) async fn make_copy(
    restore: &Restore<'_>,
    target: &Target<'_>,
    selected: &Selected,
) -> Result<(), SourceError> {
    let reporter = &restore.context.reporter;
    reporter.phase("creating a database for the tables");
    reporter.expected_bytes(target.manifest.dump_bytes);
    drop::drop_database(restore.server, &restore.control, &target.copy).await?;
    create::create(restore, target).await?;
    reporter.phase("loading the tables");
    let list = list_file(selected).map_err(|error| {
        SourceError::permanent(
            format!("the list of tables cannot be written: {error}"),
            "check the space in the folder for temporary files",
        )
    })?;
    load::load(
        restore,
        &target.manifest.file,
        &target.copy,
        &Part::Listed(list.path().to_owned()),
    )
    .await?;
    reporter.phase("comparing the tables");
    compare::analyze_and_compare(restore.server, &target.copy, target.manifest).await
}

/// What `pg_restore --use-list` reads: the number of an entry begins each line.
fn list_file(selected: &Selected) -> std::io::Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    for id in &selected.ids {
        writeln!(file, "{id};")?;
    }
    file.flush()?;
    Ok(file)
}

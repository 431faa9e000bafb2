//! Single tables into a schema of a live database.
//!
//! The tables are first restored into a scratch database and compared there; there they are moved into the schema, so
//! that the server itself rewrites every name; then they are copied over by `pg_dump` and `pg_restore` in one transaction.
//! (Whole databases never are: thousands of tables run out of locks. A few tables do not, and in a live database half
//! of them would be worse.) Nothing that exists is overwritten: a name that is taken refuses all of it, before the work
//! and once more right before the copy.

use std::collections::BTreeSet;

use tokio::io::AsyncWriteExt;

use super::catalog::{self, names, query};
use super::connect::Server;
use super::dump_stream::DumpStream;
use super::manifest::Manifest;
use super::restore::{Restore, Target, drop_half_made};
use super::sql::{ident, qualified};
use super::tables::make_copy;
use super::toc_selection::Selected;
use super::{checks, until_cancelled};
use crate::error::SourceError;
use crate::process::Pipes;
use crate::run::RestoreOutcome;

/// Restores the selected tables into `schema` of the live database.
pub(crate) async fn into_schema(
    restore: &Restore<'_>,
    manifest: &Manifest,
    target: &Target<'_>,
    selected: &Selected,
    schema: &str,
    outcome: &mut RestoreOutcome,
) -> Result<(), SourceError> {
    let checked = until_cancelled(
        restore.context,
        checks::check_new(restore, manifest, target),
    )
    .await?;
    outcome.warnings.extend(checked.warnings);
    until_cancelled(
        restore.context,
        check_schema(restore, target, selected, schema),
    )
    .await?;
    let made = async {
        until_cancelled(restore.context, make_copy(restore, target, selected)).await?;
        until_cancelled(
            restore.context,
            move_into_schema(restore, target, selected, schema),
        )
        .await?;
        until_cancelled(restore.context, restore.context.gate.enter()).await?;
        restore
            .context
            .reporter
            .phase(&format!("copying into schema {schema}"));
        check_schema(restore, target, selected, schema).await?;
        copy_over(restore, target, schema).await?;
        Ok(copy_statistics(restore, target, schema).await)
    };
    let made: Result<Vec<String>, SourceError> = made.await;
    drop_half_made(restore, &target.copy).await;
    outcome.warnings.extend(made?);
    Ok(())
}

/// The live database is there, and nothing in the schema has the name of a table that comes.
async fn check_schema(
    restore: &Restore<'_>,
    target: &Target<'_>,
    selected: &Selected,
    schema: &str,
) -> Result<(), SourceError> {
    let live = target.manifest.name();
    if catalog::database_oid(&restore.control, live)
        .await?
        .is_none()
    {
        return Err(SourceError::refused(
            format!("there is no database {live} to restore tables into"),
            "leave out --into-schema: a new database is made",
        ));
    }
    let incoming: Vec<&str> = selected
        .tables
        .iter()
        .map(|(_, name)| name.as_str())
        .collect();
    let distinct: BTreeSet<&str> = incoming.iter().copied().collect();
    if distinct.len() < incoming.len() {
        return Err(SourceError::refused(
            "two of the tables have the same name in different schemas",
            "restore them one after the other, into different schemas",
        ));
    }
    let session = restore.server.connect(live).await?;
    let sql = "SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = ANY($2) ORDER BY 1";
    let existing = names(
        &session,
        sql,
        &[&schema, &incoming],
        "looking for tables of the same name",
    )
    .await?;
    if existing.is_empty() {
        return Ok(());
    }
    Err(SourceError::refused(
        format!(
            "schema {schema} of {live} has {} already, and nothing is overwritten",
            existing.join(", ")
        ),
        "name another schema, or rename these tables",
    ))
}

async fn move_into_schema(
    restore: &Restore<'_>,
    target: &Target<'_>,
    selected: &Selected,
    schema: &str,
) -> Result<(), SourceError> {
    let session = restore.server.connect(&target.copy).await?;
    session
        .run(
            &format!("CREATE SCHEMA IF NOT EXISTS {}", ident(schema)),
            "creating the schema",
        )
        .await?;
    for (from, name) in selected.tables.iter().filter(|(from, _)| from != schema) {
        let sql = format!(
            "ALTER TABLE {} SET SCHEMA {}",
            qualified(from, name),
            ident(schema)
        );
        session.run(&sql, "moving a table into its schema").await?;
    }
    // Extended statistics have a schema of their own and stay behind otherwise.
    let sql = "SELECT format('ALTER STATISTICS %I.%I SET SCHEMA %I', n.nspname, s.stxname, $1::text) FROM pg_statistic_ext s \
         JOIN pg_namespace n ON n.oid = s.stxnamespace JOIN pg_class c ON c.oid = s.stxrelid JOIN pg_namespace t ON t.oid = c.relnamespace \
         WHERE t.nspname = $1::text AND n.nspname <> $1::text";
    for statement in names(&session, sql, &[&schema], "listing the extended statistics").await? {
        session
            .run(&statement, "moving extended statistics")
            .await?;
    }
    session.close().await;
    Ok(())
}

/// From the scratch database into the live one, in one transaction.
async fn copy_over(
    restore: &Restore<'_>,
    target: &Target<'_>,
    schema: &str,
) -> Result<(), SourceError> {
    let live = target.manifest.name();
    let session = restore.server.connect(live).await?;
    session
        .run(
            &format!("CREATE SCHEMA IF NOT EXISTS {}", ident(schema)),
            "creating the schema",
        )
        .await?;
    let (server, programs, cancel) = (restore.server, &restore.programs, &restore.context.cancel);
    let reporter = || Some(restore.context.reporter.clone());
    let dumping = server
        .program(&programs.pg_dump(), programs.major)?
        .arg("--format=custom")
        .arg("--compress=0")
        .arg(format!("--table={}.*", ident(schema)))
        .arg(Server::database_argument(&target.copy))
        .start(
            Pipes {
                stdin: false,
                stdout: true,
            },
            cancel,
            reporter(),
        )?;
    let mut loading = server
        .program(&programs.pg_restore(), programs.major)?
        .arg("--format=custom")
        .arg("--exit-on-error")
        .arg("--single-transaction")
        .arg(Server::database_argument(live))
        .start(
            Pipes {
                stdin: true,
                stdout: false,
            },
            cancel,
            reporter(),
        )?;
    let (mut stream, outcome) = DumpStream::new(dumping)?;
    let mut stdin = loading
        .stdin
        .take()
        .ok_or_else(|| SourceError::permanent("pg_restore was started without a pipe", ""))?;
    let copied = tokio::io::copy(&mut stream, &mut stdin).await;
    let _closed = stdin.shutdown().await;
    drop(stdin);
    let dumped = outcome.take();
    if matches!(dumped, Some(Err(_))) {
        loading.stop();
    }
    let exit = loading.waiter().wait().await;
    match dumped {
        _ if cancel.is_cancelled() && !exit.success() => Err(SourceError::Cancelled),
        Some(Err(error)) => Err(error),
        _ => {
            exit.into_result("pg_restore")?;
            copied.map(|_| ()).map_err(|error| {
                SourceError::retryable(format!("copying the tables failed: {error}"), "")
            })
        }
    }
}

/// Extended statistics, which `pg_dump --table` leaves out (seen with 15). The tables are there already: what fails is told.
async fn copy_statistics(restore: &Restore<'_>, target: &Target<'_>, schema: &str) -> Vec<String> {
    let sql = "SELECT s.stxname::text, pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace \
         WHERE n.nspname = $1 ORDER BY 1";
    let doing = "listing the extended statistics";
    let copying = async {
        let scratch = restore.server.connect(&target.copy).await?;
        let live = restore.server.connect(target.manifest.name()).await?;
        let there = names(&live, sql, &[&schema], doing).await?;
        let mut told = Vec::new();
        for row in query(&scratch, sql, &[&schema], doing).await? {
            let (name, definition): (String, String) = (row.get(0), row.get(1));
            if there.contains(&name) {
                continue;
            }
            if let Err(error) = live
                .run(&definition, &format!("creating statistics {name}"))
                .await
            {
                told.push(error.to_string());
            }
        }
        Ok::<_, SourceError>(told)
    };
    copying.await.unwrap_or_else(|error| {
        vec![format!(
            "extended statistics of the tables were not restored: {error}"
        )]
    })
}

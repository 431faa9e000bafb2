//! One backup: globals, one dump per database, the manifest last.
//!
//! Promise: `Ok` means that every database that was to be dumped is whole in the writer, each as of one moment of its own,
//! and that the manifest says what is in it. Whatever fails on the way fails the backup. Nothing touches the disk.

use std::collections::BTreeSet;

use bytes::Bytes;
use holdfast_vault::{BackupWriter, ChunkerKind, FileMeta, VaultError};

use super::Postgres;
use super::archive::ArchiveSummary;
use super::catalog::{self, ListedDatabase, ServerFacts};
use super::connect::Server;
use super::dump_facts::{DumpFacts, Snapshot};
use super::dump_stream::DumpStream;
use super::globals::dump_globals;
use super::manifest::{
    DatabaseManifest, DatabaseProperties, MANIFEST_FORMAT, Manifest, ServerInfo, SkippedDatabase,
    TableRows, dump_file, globals_path, manifest_path,
};
use super::programs::Programs;
use super::selection::{Reason, Selection, Skipped, select};
use crate::error::SourceError;
use crate::process::Pipes;
use crate::run::{BackupOutcome, RunContext};

/// Runs the whole backup.
pub(crate) async fn backup(
    postgres: &Postgres,
    writer: &BackupWriter,
    context: &RunContext,
) -> Result<BackupOutcome, SourceError> {
    let started_at = jiff::Timestamp::now();
    context.reporter.phase("connecting");

    // What is there, and what can dump it.
    let session = postgres
        .server
        .connect(&postgres.config.maintenance_database)
        .await?;
    let facts = catalog::server_facts(&session).await?;
    let choice = postgres
        .installed(&context.cancel)
        .await
        .to_dump(facts.major)?;
    let mut warnings: Vec<String> = choice.warning.into_iter().collect();
    warnings.extend(version_warning(&facts));
    let Selection {
        chosen,
        mut skipped,
    } = select(catalog::databases(&session).await?, &postgres.config)?;
    let mut run = Backup {
        server: &postgres.server,
        source: &postgres.name,
        stall_timeout: postgres.config.stall_timeout,
        programs: choice.programs,
        facts,
        writer,
        context,
        warnings,
        done_bytes: 0,
    };
    run.warn_skipped(&skipped);

    // The globals.
    context.reporter.phase("dumping globals");
    run.globals(&session, &postgres.config.maintenance_database)
        .await?;
    let roles = catalog::roles(&session).await?;
    let tablespaces = catalog::tablespaces(&session).await?;

    // The databases, one after the other: each holds back vacuum while it is dumped.
    let mut databases = Vec::new();
    for (at, database) in chosen.iter().enumerate() {
        let rest: u64 = chosen[at..]
            .iter()
            .map(|database| database.size_bytes)
            .sum();
        context.reporter.expected_bytes(run.done_bytes + rest);
        let there = catalog::database_oid(&session, &database.name).await?;
        if there != Some(database.oid) {
            skipped.push(Skipped {
                name: database.name.clone(),
                reason: Reason::Gone,
            });
            run.warn_skipped(&skipped[skipped.len() - 1..]);
            continue;
        }
        let properties = catalog::database_properties(&session, database.oid).await?;
        let dumped = run.database(database, properties).await?;
        run.done_bytes += dumped.dump_bytes;
        databases.push(dumped);
    }
    context.reporter.expected_bytes(run.done_bytes);

    // The manifest, which says that all of this is whole.
    context.reporter.phase("writing the manifest");
    let manifest = Manifest {
        format: MANIFEST_FORMAT,
        kind: "postgres".to_owned(),
        method: "dump".to_owned(),
        source: postgres.name.clone(),
        run_id: context.run_id.clone(),
        started_at,
        finished_at: jiff::Timestamp::now(),
        server: ServerInfo {
            version: run.facts.version.clone(),
            major: run.facts.major,
            system_identifier: run.facts.system_identifier.clone(),
            in_recovery: run.facts.in_recovery,
        },
        pg_dump_version: run.programs.version.clone(),
        roles,
        role_passwords: run.facts.reads_passwords,
        tablespaces,
        skipped: skipped
            .into_iter()
            .map(|skipped| SkippedDatabase {
                name: skipped.name,
                reason: skipped.reason.to_string(),
            })
            .collect(),
        databases,
    };
    let manifest_json = manifest.to_json()?;
    let bytes = Bytes::from(manifest_json.clone());
    writer
        .write_bytes(
            &manifest_path(&postgres.name),
            FileMeta::new(manifest.finished_at),
            bytes,
        )
        .await?;
    Ok(BackupOutcome {
        manifest_json,
        warnings: run.warnings,
    })
}

fn version_warning(facts: &ServerFacts) -> Option<String> {
    (!catalog::SUPPORTED.contains(&facts.major)).then(|| {
        let (oldest, newest) = catalog::SUPPORTED.into_inner();
        format!(
            "the server is PostgreSQL {}; this program is tested with {oldest} to {newest}",
            facts.version
        )
    })
}

struct Backup<'a> {
    server: &'a Server,
    source: &'a str,
    stall_timeout: std::time::Duration,
    programs: Programs,
    facts: ServerFacts,
    writer: &'a BackupWriter,
    context: &'a RunContext,
    warnings: Vec<String>,
    done_bytes: u64,
}

impl Backup<'_> {
    fn warn_skipped(&mut self, skipped: &[Skipped]) {
        let worth = skipped
            .iter()
            .filter(|skipped| skipped.is_worth_a_warning());
        self.warnings.extend(worth.map(|skipped| {
            format!(
                "database {} is not backed up: {}",
                skipped.name, skipped.reason
            )
        }));
    }

    async fn globals(
        &mut self,
        session: &super::connect::Session,
        maintenance_database: &str,
    ) -> Result<(), SourceError> {
        let text = dump_globals(
            self.server,
            session,
            &self.facts,
            &self.programs,
            maintenance_database,
            self.context,
        )
        .await?;
        if !self.facts.reads_passwords {
            self.warnings.push(format!(
                "globals.sql has no passwords of roles, since {} may not read them: roles that a restore creates cannot log in by password",
                self.server.user()
            ));
        }
        self.done_bytes += text.len() as u64;
        let meta = FileMeta::new(jiff::Timestamp::now());
        self.writer
            .write_bytes(&globals_path(self.source), meta, Bytes::from(text))
            .await?;
        Ok(())
    }

    async fn database(
        &mut self,
        database: &ListedDatabase,
        properties: DatabaseProperties,
    ) -> Result<DatabaseManifest, SourceError> {
        let name = &database.name;
        self.context.reporter.phase(&format!("dumping {name}"));
        let snapshot = Snapshot::export(self.server.connect(name).await?).await?;
        snapshot
            .check_readable(name, &self.facts, self.server.user())
            .await?;
        let facts = snapshot.facts(database.oid).await?;
        self.warn(name, &facts);
        let summary = self.stream(name, &snapshot).await?;
        let manifest = describe(database, properties, &snapshot, facts, &summary)?;
        snapshot.release().await;
        Ok(manifest)
    }

    fn warn(&mut self, name: &str, facts: &DumpFacts) {
        if !facts.subscriptions.is_empty() && !self.facts.reads_subscriptions {
            self.warnings.push(format!(
                "database {name}: its subscriptions ({}) are not in the dump, since only a superuser may read them",
                facts.subscriptions.join(", ")
            ));
        }
        if !facts.logical_slots.is_empty() {
            self.warnings.push(format!(
                "database {name}: its logical replication slots ({}) are not in the dump; no dump can bring them back",
                facts.logical_slots.join(", ")
            ));
        }
    }

    /// Streams the dump into the writer. On every way out `pg_dump` has ended.
    async fn stream(&self, name: &str, snapshot: &Snapshot) -> Result<ArchiveSummary, SourceError> {
        let pipes = Pipes {
            stdin: false,
            stdout: true,
        };
        let running = self
            .server
            .program(&self.programs.pg_dump(), self.programs.major)?
            .arg("--format=custom")
            .arg("--compress=0")
            .arg(format!("--snapshot={}", snapshot.id))
            .arg(format!(
                "--lock-wait-timeout={}",
                self.server.lock_wait_timeout().as_millis()
            ))
            .arg(Server::database_argument(name))
            .start(
                pipes,
                &self.context.cancel,
                Some(self.context.reporter.clone()),
            )?;
        let ended = running.waiter();
        let (stream, outcome) = DumpStream::new(running)?;
        let path = format!("/{}/{}", self.source, dump_file(name));
        let writing = self.writer.write_stream(
            &path,
            FileMeta::new(snapshot.time),
            ChunkerKind::ContentDefined,
            stream,
        );
        let written = tokio::select! {
            biased;
            () = self.context.cancel.cancelled() => Err(SourceError::Cancelled),
            written = writing => written.map_err(SourceError::from),
            () = outcome.stalled(self.stall_timeout) => Err(SourceError::retryable(
                format!("the dump of {name} moved no byte for {}: it was cancelled, since it holds back vacuum on the server", holdfast_config::format_duration(self.stall_timeout)),
                "check the connection to the vault and locks on the server; `stall_timeout` sets how long a dump may stand still",
            )),
        };
        ended.wait().await;
        match (written, outcome.take()) {
            _ if self.context.cancel.is_cancelled() => Err(SourceError::Cancelled),
            // The writer only knows that its reader failed; the outcome knows why.
            (Err(SourceError::Vault(VaultError::SourceFailed(_))), Some(Err(error))) => {
                Err(in_database(name, error))
            }
            (Err(error), _) => Err(error),
            (Ok(written), Some(Ok(summary))) if written.read_bytes == summary.bytes => Ok(summary),
            (Ok(_), Some(Err(error))) => Err(in_database(name, error)),
            (Ok(_), _) => Err(SourceError::retryable(
                format!("the dump of {name} was not stored to its end"),
                "",
            )),
        }
    }
}

/// Says which database it was, and what a lock has to do with it.
fn in_database(name: &str, error: SourceError) -> SourceError {
    match error {
        SourceError::Failed {
            class,
            message,
            hint,
        } => {
            let waited = message.contains("LOCK TABLE") && message.contains("timeout");
            SourceError::Failed {
                class,
                hint: if waited {
                    "another session holds a lock on that table; `lock_wait_timeout` sets how long a dump waits for it".to_owned()
                } else {
                    hint
                },
                message: format!("dumping {name} failed: {message}"),
            }
        }
        other => other,
    }
}

fn describe(
    database: &ListedDatabase,
    properties: DatabaseProperties,
    snapshot: &Snapshot,
    facts: DumpFacts,
    summary: &ArchiveSummary,
) -> Result<DatabaseManifest, SourceError> {
    let mut tables = Vec::with_capacity(summary.rows.len());
    for (oid, rows) in &summary.rows {
        let table = facts.tables.get(oid).ok_or_else(|| {
            SourceError::retryable(
                format!(
                    "the dump of {} holds a table (oid {oid}) that its snapshot does not",
                    database.name
                ),
                "",
            )
        })?;
        tables.push(TableRows {
            schema: table.schema.clone(),
            name: table.name.clone(),
            rows: *rows,
            at_least: table.of_extension,
        });
    }
    tables.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
    let mut roles: BTreeSet<String> = facts.roles.into_iter().collect();
    roles.extend(summary.owners.iter().cloned());
    roles.insert(properties.owner.clone());
    let granted = properties.acl.iter().flatten();
    roles.extend(
        granted.flat_map(|item| std::iter::once(item.grantor.clone()).chain(item.grantee.clone())),
    );
    roles.extend(
        properties
            .settings
            .iter()
            .filter_map(|setting| setting.role.clone()),
    );
    let mut tablespaces = facts.tablespaces;
    tablespaces.retain(|tablespace| *tablespace != properties.tablespace);
    Ok(DatabaseManifest {
        file: dump_file(&database.name),
        size_bytes: database.size_bytes,
        dump_bytes: summary.bytes,
        snapshot_time: snapshot.time,
        snapshot_lsn: snapshot.lsn.clone(),
        extensions: facts.extensions,
        roles: roles.into_iter().collect(),
        tablespaces,
        tables,
        large_objects: summary.large_objects,
        subscriptions: facts.subscriptions,
        logical_slots: facts.logical_slots,
        properties,
    })
}

//! What is read inside a dump's own snapshot: its time and place in the log, tables, extensions, roles, and whether we
//! may read all of it.
//!
//! Ordering: the snapshot is exported and everything here read in its transaction before `pg_dump` starts, so that the
//! facts and the dump are of one moment; the transaction stays open until `pg_dump` has ended.

use std::collections::HashMap;

use super::catalog::{ServerFacts, extensions, names, one, query};
use super::connect::Session;
use super::manifest::Extension;
use crate::error::SourceError;

/// An exported snapshot; it ends with its session.
#[derive(Debug)]
pub(crate) struct Snapshot {
    session: Session,
    /// For `pg_dump --snapshot`.
    pub id: String,
    pub time: jiff::Timestamp,
    pub lsn: Option<String>,
}

impl Snapshot {
    /// Exports a snapshot of the session's database.
    pub(crate) async fn export(session: Session) -> Result<Self, SourceError> {
        session
            .run(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
                "starting the dump's transaction",
            )
            .await?;
        let sql = "SELECT pg_export_snapshot(), (extract(epoch FROM clock_timestamp()) * 1000000)::int8, \
             (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END)::text";
        let row = one(&session, sql, &[], "exporting the snapshot").await?;
        let time = jiff::Timestamp::from_microsecond(row.get(1)).map_err(|error| {
            SourceError::permanent(
                format!("the server's clock is out of range: {error}"),
                "set the server's clock",
            )
        })?;
        Ok(Self {
            id: row.get(0),
            time,
            lsn: row.get(2),
            session,
        })
    }

    /// Lets the server's vacuum go on.
    pub(crate) async fn release(self) {
        self.session.close().await;
    }

    /// What the manifest needs to know of the database `oid`.
    pub(crate) async fn facts(&self, oid: u32) -> Result<DumpFacts, SourceError> {
        let session = &self.session;
        let roles_sql = "SELECT DISTINCT r.rolname::text FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid \
             WHERE s.dbid = $1 AND s.refclassid = 'pg_authid'::regclass ORDER BY 1";
        let tablespaces_sql = "SELECT DISTINCT t.spcname::text FROM pg_class c JOIN pg_tablespace t ON t.oid = c.reltablespace \
             WHERE t.spcname NOT IN ('pg_global', 'pg_default') ORDER BY 1";
        let subscriptions_sql =
            "SELECT subname::text FROM pg_subscription WHERE subdbid = $1 ORDER BY 1";
        let slots_sql = "SELECT s.slot_name::text FROM pg_replication_slots s JOIN pg_database d ON d.datname = s.database \
             WHERE d.oid = $1 AND s.slot_type = 'logical' AND NOT s.temporary ORDER BY 1";
        Ok(DumpFacts {
            tables: tables(session).await?,
            extensions: extensions(session).await?,
            roles: names(session, roles_sql, &[&oid], "listing the roles in use").await?,
            tablespaces: names(
                session,
                tablespaces_sql,
                &[],
                "listing the tablespaces in use",
            )
            .await?,
            subscriptions: names(
                session,
                subscriptions_sql,
                &[&oid],
                "listing the subscriptions",
            )
            .await?,
            logical_slots: names(session, slots_sql, &[&oid], "listing the replication slots")
                .await?,
        })
    }

    /// Refuses early what `pg_dump` would stumble over late.
    pub(crate) async fn check_readable(
        &self,
        database: &str,
        facts: &ServerFacts,
        user: &str,
    ) -> Result<(), SourceError> {
        unreadable(&self.session, facts, user)
            .await?
            .map_or(Ok(()), |(what, hint)| {
                Err(SourceError::permanent(
                    format!("database {database}: {what}"),
                    hint,
                ))
            })
    }
}

/// Tables, extensions and what a restore needs on its server.
#[derive(Debug)]
pub(crate) struct DumpFacts {
    /// By oid.
    pub tables: HashMap<u32, TableFacts>,
    pub extensions: Vec<Extension>,
    pub roles: Vec<String>,
    pub tablespaces: Vec<String>,
    pub subscriptions: Vec<String>,
    pub logical_slots: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableFacts {
    pub schema: String,
    pub name: String,
    /// A configuration table of an extension.
    pub of_extension: bool,
}

async fn tables(session: &Session) -> Result<HashMap<u32, TableFacts>, SourceError> {
    let sql = "SELECT c.oid, n.nspname, c.relname, x.oid IS NOT NULL FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN (SELECT DISTINCT unnest(extconfig) AS oid FROM pg_extension) x ON x.oid = c.oid WHERE c.relkind = 'r'";
    let rows = query(session, sql, &[], "listing the tables").await?;
    Ok(rows
        .iter()
        .map(|row| {
            let facts = TableFacts {
                schema: row.get(1),
                name: row.get(2),
                of_extension: row.get(3),
            };
            (row.get(0), facts)
        })
        .collect())
}

/// What of the session's database the role could not dump, with what to do; `None`: nothing.
pub(crate) async fn unreadable(
    session: &Session,
    facts: &ServerFacts,
    user: &str,
) -> Result<Option<(String, String)>, SourceError> {
    if facts.superuser {
        return Ok(None);
    }
    let hidden_sql = "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'S') \
         AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.relpersistence <> 't' \
         AND NOT (CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END \
                  AND has_schema_privilege(n.oid, 'USAGE')) \
         AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') LIMIT 4";
    let hidden = names(session, hidden_sql, &[], "checking the privileges").await?;
    if !hidden.is_empty() {
        return Ok(Some((
            format!("{user} may not read {}", some(&hidden)),
            format!("GRANT pg_read_all_data TO {user}; or use a superuser"),
        )));
    }
    let guarded_sql = "SELECT c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relrowsecurity \
         AND (c.relforcerowsecurity OR NOT pg_has_role(c.relowner, 'USAGE')) LIMIT 4";
    let guarded = if facts.bypass_rls {
        Vec::new()
    } else {
        names(session, guarded_sql, &[], "checking row-level security").await?
    };
    if !guarded.is_empty() {
        return Ok(Some((
            format!(
                "row-level security hides rows of {} from {user}",
                some(&guarded)
            ),
            format!("ALTER ROLE {user} BYPASSRLS; or use a superuser"),
        )));
    }
    let objects_sql = "SELECT oid::text FROM pg_largeobject_metadata WHERE NOT pg_has_role(lomowner, 'USAGE') AND lomacl IS NULL LIMIT 4";
    let objects = names(session, objects_sql, &[], "checking the large objects").await?;
    if !objects.is_empty() {
        return Ok(Some((
            format!("{user} may not read large objects such as {}", some(&objects)),
            "pg_read_all_data does not cover large objects: use a superuser, or grant the role SELECT on each of them".to_owned(),
        )));
    }
    Ok(None)
}

/// "a, b, c and more".
fn some(names: &[String]) -> String {
    match names {
        [first @ .., _] if names.len() > 3 => format!("{} and more", first.join(", ")),
        names => names.join(", "),
    }
}

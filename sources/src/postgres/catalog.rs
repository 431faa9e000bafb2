//! What a server says about itself and its databases. Version differences (14 to 18) end here.

use tokio_postgres::Row;

use super::connect::{Session, failed};
use super::manifest::{AclItem, DatabaseProperties, Extension, Setting, TablespaceInfo};
use crate::error::SourceError;

/// Oldest and newest server version this program was written for.
pub(crate) const SUPPORTED: std::ops::RangeInclusive<u32> = 14..=18;

/// The server and the role we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerFacts {
    /// "15.14".
    pub version: String,
    /// 15.
    pub major: u32,
    pub system_identifier: String,
    /// It is a standby.
    pub in_recovery: bool,
    /// Where its files are; not told to everybody.
    pub data_directory: Option<String>,
    pub superuser: bool,
    pub bypass_rls: bool,
    pub create_db: bool,
    /// Password hashes can be read.
    pub reads_passwords: bool,
    /// Subscriptions with their connections can be read.
    pub reads_subscriptions: bool,
}

pub(crate) async fn server_facts(session: &Session) -> Result<ServerFacts, SourceError> {
    let sql = "SELECT current_setting('server_version'), current_setting('server_version_num')::int8, \
         (SELECT system_identifier::text FROM pg_control_system()), pg_is_in_recovery(), \
         CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE') THEN current_setting('data_directory', true) END, \
         r.rolsuper, r.rolbypassrls, r.rolcreatedb, has_table_privilege('pg_authid', 'SELECT'), \
         has_column_privilege('pg_subscription', 'subconninfo', 'SELECT') \
         FROM pg_roles r WHERE r.rolname = current_user";
    let row = one(session, sql, &[], "reading the server's version").await?;
    let version: String = row.get(0);
    let number: i64 = row.get(1);
    Ok(ServerFacts {
        version: version
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned(),
        major: u32::try_from(number / 10_000).unwrap_or_default(),
        system_identifier: row.get(2),
        in_recovery: row.get(3),
        data_directory: row.get(4),
        superuser: row.get(5),
        bypass_rls: row.get(6),
        create_db: row.get(7),
        reads_passwords: row.get(8),
        reads_subscriptions: row.get(9),
    })
}

/// A database in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListedDatabase {
    pub oid: u32,
    pub name: String,
    pub allows_connections: bool,
    pub is_template: bool,
    /// We may connect to it.
    pub may_connect: bool,
    /// On disk, in bytes; 0 when we may not know.
    pub size_bytes: u64,
}

pub(crate) async fn databases(session: &Session) -> Result<Vec<ListedDatabase>, SourceError> {
    let sql = "SELECT d.oid, d.datname, d.datallowconn, d.datistemplate, has_database_privilege(d.oid, 'CONNECT'), \
         CASE WHEN has_database_privilege(d.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE') \
              THEN pg_database_size(d.oid) ELSE 0 END \
         FROM pg_database d ORDER BY d.datname";
    let rows = query(session, sql, &[], "listing the databases").await?;
    Ok(rows.iter().map(listed).collect())
}

fn listed(row: &Row) -> ListedDatabase {
    ListedDatabase {
        oid: row.get(0),
        name: row.get(1),
        allows_connections: row.get(2),
        is_template: row.get(3),
        may_connect: row.get(4),
        size_bytes: unsigned(row.get(5)),
    }
}

/// What stands about a database outside of it, which no dump of it brings back.
pub(crate) async fn database_properties(
    session: &Session,
    oid: u32,
) -> Result<DatabaseProperties, SourceError> {
    // A whole row as JSON has the columns that this version has, under their names.
    let sql = "SELECT d.datname, pg_encoding_to_char(d.encoding), to_jsonb(d)->>'datlocprovider', d.datcollate::text, d.datctype::text, \
         coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale'), to_jsonb(d)->>'daticurules', \
         t.spcname, pg_get_userbyid(d.datdba), d.datconnlimit, d.datistemplate, \
         shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL, to_jsonb(d)->>'datcollversion' \
         FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.oid = $1";
    let doing = "reading the database's properties";
    let row = one(session, sql, &[&oid], doing).await?;
    let provider: Option<String> = row.get(2);
    let has_acl: bool = row.get(12);
    Ok(DatabaseProperties {
        name: row.get(0),
        encoding: row.get(1),
        locale_provider: provider_word(provider.as_deref().unwrap_or("c")),
        collate: row.get(3),
        ctype: row.get(4),
        locale: row.get(5),
        icu_rules: row.get(6),
        tablespace: row.get(7),
        owner: row.get(8),
        connection_limit: row.get(9),
        is_template: row.get(10),
        comment: row.get(11),
        acl: if has_acl {
            Some(database_acl(session, oid).await?)
        } else {
            None
        },
        collation_version: row.get(13),
        settings: database_settings(session, oid).await?,
    })
}

/// The letters of pg_collation.h.
fn provider_word(letter: &str) -> String {
    match letter {
        "c" => "libc",
        "i" => "icu",
        "b" => "builtin",
        other => other,
    }
    .to_owned()
}

async fn database_acl(session: &Session, oid: u32) -> Result<Vec<AclItem>, SourceError> {
    let sql = "SELECT pg_get_userbyid(a.grantor), CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END, \
         a.privilege_type, a.is_grantable FROM pg_database d, aclexplode(d.datacl) WITH ORDINALITY AS \
         a(grantor, grantee, privilege_type, is_grantable, position) WHERE d.oid = $1 ORDER BY a.position";
    let rows = query(session, sql, &[&oid], "reading the database's privileges").await?;
    Ok(rows
        .iter()
        .map(|row| AclItem {
            grantor: row.get(0),
            grantee: row.get(1),
            privilege: row.get(2),
            grantable: row.get(3),
        })
        .collect())
}

/// The setting that says which run restored a database; ours, and no part of a backup.
pub(crate) const RESTORED_BY: &str = "holdfast.restored_by";

async fn database_settings(session: &Session, oid: u32) -> Result<Vec<Setting>, SourceError> {
    // In the order in which they are stored: a list that comes back the same compares equal.
    let sql = "SELECT r.rolname, c.setting FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) WITH ORDINALITY AS c(setting, position) \
         LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE s.setdatabase = $1 AND (s.setrole = 0 OR r.oid IS NOT NULL) \
         ORDER BY r.rolname NULLS FIRST, c.position";
    let rows = query(session, sql, &[&oid], "reading the database's settings").await?;
    Ok(rows
        .iter()
        .filter_map(|row| setting(row.get(0), row.get(1)))
        .collect())
}

fn setting(role: Option<String>, stored: &str) -> Option<Setting> {
    let (name, value) = stored.split_once('=')?;
    (name != RESTORED_BY).then(|| Setting {
        role,
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

/// Names of all databases.
pub(crate) async fn database_names(session: &Session) -> Result<Vec<String>, SourceError> {
    let sql = "SELECT datname::text FROM pg_database ORDER BY 1";
    names(session, sql, &[], "listing the databases").await
}

/// The oid of the database of that name.
pub(crate) async fn database_oid(
    session: &Session,
    name: &str,
) -> Result<Option<u32>, SourceError> {
    let sql = "SELECT oid FROM pg_database WHERE datname = $1";
    let rows = query(session, sql, &[&name], "looking for a database").await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// The value of one setting of a database, for all roles.
pub(crate) async fn database_setting(
    session: &Session,
    database: &str,
    name: &str,
) -> Result<Option<String>, SourceError> {
    let sql = "SELECT unnest(s.setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase \
         WHERE d.datname = $1 AND s.setrole = 0";
    let rows = query(session, sql, &[&database], "reading a database's settings").await?;
    let wanted = |row: &Row| {
        let stored: String = row.get(0);
        stored
            .strip_prefix(name)?
            .strip_prefix('=')
            .map(str::to_owned)
    };
    Ok(rows.iter().find_map(wanted))
}

/// Extensions of the session's database.
pub(crate) async fn extensions(session: &Session) -> Result<Vec<Extension>, SourceError> {
    let sql = "SELECT e.extname, e.extversion, n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace ORDER BY e.extname";
    let rows = query(session, sql, &[], "listing the extensions").await?;
    Ok(rows
        .iter()
        .map(|row| Extension {
            name: row.get(0),
            version: row.get(1),
            schema: row.get(2),
        })
        .collect())
}

/// Tablespaces of the server, without the two built-in ones.
pub(crate) async fn tablespaces(session: &Session) -> Result<Vec<TablespaceInfo>, SourceError> {
    let sql = "SELECT spcname, pg_get_userbyid(spcowner), pg_tablespace_location(oid) FROM pg_tablespace \
         WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY spcname";
    let rows = query(session, sql, &[], "listing the tablespaces").await?;
    Ok(rows
        .iter()
        .map(|row| TablespaceInfo {
            name: row.get(0),
            owner: row.get(1),
            location: row.get(2),
        })
        .collect())
}

/// Names of all roles.
pub(crate) async fn roles(session: &Session) -> Result<Vec<String>, SourceError> {
    names(
        session,
        "SELECT rolname::text FROM pg_roles ORDER BY 1",
        &[],
        "listing the roles",
    )
    .await
}

/// The first column of every row.
pub(crate) async fn names(
    session: &Session,
    sql: &str,
    parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    doing: &str,
) -> Result<Vec<String>, SourceError> {
    let rows = query(session, sql, parameters, doing).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

pub(crate) async fn query(
    session: &Session,
    sql: &str,
    parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    doing: &str,
) -> Result<Vec<Row>, SourceError> {
    session
        .client
        .query(sql, parameters)
        .await
        .map_err(|error| failed(doing, &error))
}

pub(crate) async fn one(
    session: &Session,
    sql: &str,
    parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    doing: &str,
) -> Result<Row, SourceError> {
    session
        .client
        .query_one(sql, parameters)
        .await
        .map_err(|error| failed(doing, &error))
}

/// Counts and sizes are never negative.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

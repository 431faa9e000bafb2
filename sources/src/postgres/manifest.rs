//! `manifest.json`: what a dump snapshot holds, and what a restore needs to know before it reads a byte of data.
//!
//! It is the last file written, so its presence says that every dump it names is whole. Fields that a reader does not
//! know are ignored; `format` grows only when an old reader would misunderstand a new manifest.

use serde::{Deserialize, Serialize};

use super::names::path_segment;
use crate::error::SourceError;

/// The format written and the newest one understood.
pub const MANIFEST_FORMAT: u32 = 1;
/// Longest manifest read: a million tables take about a hundred bytes each.
pub(crate) const MAX_MANIFEST_BYTES: usize = 256 << 20;

/// The whole manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub format: u32,
    /// "postgres".
    pub kind: String,
    /// "dump".
    pub method: String,
    /// The source's name.
    pub source: String,
    /// The run that made it.
    pub run_id: String,
    /// When the run began.
    pub started_at: jiff::Timestamp,
    /// When the manifest was written.
    pub finished_at: jiff::Timestamp,
    /// The server.
    pub server: ServerInfo,
    /// Version of the client programs: "15.14". Decides which servers can load the dumps.
    pub pg_dump_version: String,
    /// Roles that `globals.sql` holds.
    pub roles: Vec<String>,
    /// Whether `globals.sql` holds the roles' password hashes.
    pub role_passwords: bool,
    /// Tablespaces that `globals.sql` holds.
    pub tablespaces: Vec<TablespaceInfo>,
    /// What was left out, and why.
    pub skipped: Vec<SkippedDatabase>,
    /// What was dumped. Each database is a point of its own: nothing is claimed across them.
    pub databases: Vec<DatabaseManifest>,
}

/// The server of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// "15.14".
    pub version: String,
    /// 15.
    pub major: u32,
    /// The cluster's own number, as text.
    pub system_identifier: String,
    /// It was a standby.
    pub in_recovery: bool,
}

/// A tablespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablespaceInfo {
    /// Its name.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// Its folder on the server's host.
    pub location: String,
}

/// A database that was not dumped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedDatabase {
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// One dumped database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseManifest {
    /// What stands about it outside of it.
    #[serde(flatten)]
    pub properties: DatabaseProperties,
    /// Its dump's file below the snapshot's path.
    pub file: String,
    /// Its size on the server, in bytes.
    pub size_bytes: u64,
    /// Its dump's length, in bytes.
    pub dump_bytes: u64,
    /// When its snapshot was taken, by the server's clock.
    pub snapshot_time: jiff::Timestamp,
    /// Where the server's log was then; `None` where the server would not say.
    pub snapshot_lsn: Option<String>,
    /// Its extensions.
    pub extensions: Vec<Extension>,
    /// Roles that it cannot be restored without.
    pub roles: Vec<String>,
    /// Tablespaces that it cannot be restored without, its own and pg_default left out.
    pub tablespaces: Vec<String>,
    /// Rows of every table with data of its own (partitions, not their parents), counted in the dump as it streamed.
    pub tables: Vec<TableRows>,
    /// Large objects in the dump.
    pub large_objects: u64,
    /// Subscriptions it had.
    pub subscriptions: Vec<String>,
    /// Logical replication slots it had; no dump brings them back.
    pub logical_slots: Vec<String>,
}

/// What stands about a database outside of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DatabaseProperties {
    /// Its name.
    pub name: String,
    /// "UTF8", ...
    pub encoding: String,
    /// "libc", "icu" or "builtin".
    pub locale_provider: String,
    /// LC_COLLATE.
    pub collate: String,
    /// LC_CTYPE.
    pub ctype: String,
    /// The locale of ICU or of the built-in provider.
    pub locale: Option<String>,
    /// Additional ICU collation rules (16 and later).
    pub icu_rules: Option<String>,
    /// The collation's version when the database was made.
    pub collation_version: Option<String>,
    /// Its default tablespace.
    pub tablespace: String,
    /// Its owner.
    pub owner: String,
    /// Its privileges in the order of the catalog; `None`: the default ones.
    pub acl: Option<Vec<AclItem>>,
    /// -1: none.
    pub connection_limit: i32,
    /// Whoever may create databases may copy it.
    pub is_template: bool,
    /// Its comment.
    pub comment: Option<String>,
    /// `ALTER DATABASE ... SET` and `ALTER ROLE ... IN DATABASE ... SET`.
    pub settings: Vec<Setting>,
}

/// One privilege of one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclItem {
    /// Who granted it.
    pub grantor: String,
    /// Who has it; `None`: everybody.
    pub grantee: Option<String>,
    /// "CONNECT", "CREATE", "TEMPORARY".
    pub privilege: String,
    /// The grantee may grant it further.
    pub grantable: bool,
}

/// One stored setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// For this role only.
    pub role: Option<String>,
    /// The parameter.
    pub name: String,
    /// Its value as stored.
    pub value: String,
}

/// One extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its name.
    pub name: String,
    /// Its version in the source; a restore takes the target's default one.
    pub version: String,
    /// The schema of its objects.
    pub schema: String,
}

/// One table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRows {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Rows in the dump.
    pub rows: u64,
    /// A configuration table of an extension: CREATE EXTENSION may add rows of its own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_least: bool,
}

impl Manifest {
    /// Reads it from the bytes of the file.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SourceError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |error: serde_json::Error| {
            SourceError::permanent(
                format!("the snapshot's manifest.json cannot be read: {error}"),
                "restore from another snapshot",
            )
        };
        let format: Format = serde_json::from_slice(bytes).map_err(damaged)?;
        if format.format > MANIFEST_FORMAT {
            return Err(SourceError::permanent(
                format!(
                    "the snapshot's manifest has format {}, and this program knows {MANIFEST_FORMAT}",
                    format.format
                ),
                "use the version of Holdfast that made the backup, or a later one",
            ));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// As it is stored.
    pub fn to_json(&self) -> Result<String, SourceError> {
        serde_json::to_string(self).map_err(|error| {
            SourceError::permanent(format!("the manifest cannot be written: {error}"), "")
        })
    }

    /// The database of that name.
    #[must_use]
    pub fn database(&self, name: &str) -> Option<&DatabaseManifest> {
        self.databases
            .iter()
            .find(|database| database.properties.name == name)
    }

    /// Major version of the programs that made the dumps.
    #[must_use]
    pub fn pg_dump_major(&self) -> u32 {
        self.pg_dump_version
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|major| major.parse().ok())
            .unwrap_or(self.server.major)
    }
}

impl DatabaseManifest {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.properties.name
    }
}

/// `/<source>/manifest.json`.
#[must_use]
pub fn manifest_path(source: &str) -> String {
    format!("/{source}/manifest.json")
}

/// `/<source>/globals.sql`.
#[must_use]
pub fn globals_path(source: &str) -> String {
    format!("/{source}/globals.sql")
}

/// `databases/<name>.dump`, below the snapshot's path.
#[must_use]
pub fn dump_file(database: &str) -> String {
    format!("databases/{}.dump", path_segment(database))
}

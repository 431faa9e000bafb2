//! A PostgreSQL server's keys in the agent's configuration.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_config::SecretSource;
use serde::Deserialize;

use super::glob::Glob;

/// Whether and how the connection is encrypted, in the words of libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    Disable,
    /// When the server offers it; its certificate is not checked.
    #[default]
    Prefer,
    /// Always; its certificate is not checked.
    Require,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// Always, with a certificate of a known authority for this host name.
    VerifyFull,
}

impl TlsMode {
    /// libpq's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }

    /// Whether the server's certificate must come from a known authority.
    pub(crate) fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

/// A PostgreSQL server in the agent's configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// The source's name.
    pub name: String,
    /// Host name, address, or the folder of its socket.
    #[serde(default = "default_host")]
    pub host: String,
    /// TCP port, also part of the socket's name.
    #[serde(default = "default_port")]
    pub port: u16,
    /// The role that backs up and restores.
    pub user: String,
    /// Its password; none where the server asks for none.
    #[serde(default)]
    pub password: Option<SecretSource>,
    /// Encryption of TCP connections; sockets are never encrypted.
    #[serde(default)]
    pub tls: TlsMode,
    /// PEM file of the authorities that `verify-ca` and `verify-full` trust; the system's when absent.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Glob patterns of the databases to back up.
    #[serde(default = "default_databases")]
    pub databases: Vec<String>,
    /// Glob patterns of databases to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Folders with `pg_dump`, `pg_dumpall`, `pg_restore`; empty: the known places and PATH.
    #[serde(default)]
    pub programs: Vec<PathBuf>,
    /// How long a dump may wait for a table's lock.
    #[serde(default = "default_lock_wait", with = "holdfast_config::duration")]
    pub lock_wait_timeout: Duration,
    /// A dump that moves no byte for this long is cancelled: it holds back vacuum.
    #[serde(default = "default_stall", with = "holdfast_config::duration")]
    pub stall_timeout: Duration,
    /// The database for what concerns the whole server.
    #[serde(default = "default_maintenance")]
    pub maintenance_database: String,
}

fn default_host() -> String {
    "/var/run/postgresql".to_owned()
}
fn default_port() -> u16 {
    5432
}
fn default_databases() -> Vec<String> {
    vec!["*".to_owned()]
}
fn default_lock_wait() -> Duration {
    Duration::from_secs(60)
}
fn default_stall() -> Duration {
    Duration::from_secs(15 * 60)
}
fn default_maintenance() -> String {
    "postgres".to_owned()
}

impl PostgresConfig {
    /// Whether `host` is the folder of a socket.
    #[must_use]
    pub fn is_socket(&self) -> bool {
        self.host.starts_with('/')
    }

    /// What contradicts itself, as (key, sentence).
    pub(crate) fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut problem = |key: String, text: &str| found.push((key, text.to_owned()));
        for (key, value) in [
            ("host", &self.host),
            ("user", &self.user),
            ("maintenance_database", &self.maintenance_database),
        ] {
            if value.is_empty() || value.contains('\0') {
                problem(key.to_owned(), "may not be empty");
            }
        }
        if self.host.contains(',') {
            problem(
                "host".to_owned(),
                "names one server; write one source for each",
            );
        }
        if self.port == 0 {
            problem("port".to_owned(), "must be from 1 to 65535");
        }
        if self.databases.is_empty() {
            problem(
                "databases".to_owned(),
                "names no database; leave it out for all of them",
            );
        }
        for (key, patterns) in [("databases", &self.databases), ("exclude", &self.exclude)] {
            for (at, pattern) in patterns.iter().enumerate() {
                if let Err(error) = Glob::new(pattern) {
                    problem(format!("{key}[{at}]"), &error.to_string());
                }
            }
        }
        for (at, folder) in self.programs.iter().enumerate() {
            if !folder.is_absolute() {
                problem(
                    format!("programs[{at}]"),
                    "must be an absolute path to a folder",
                );
            }
        }
        if self.ca_file.is_some() && !self.tls.verifies() {
            problem(
                "ca_file".to_owned(),
                "is used only with tls = \"verify-ca\" or \"verify-full\"",
            );
        }
        if self.is_socket()
            && matches!(
                self.tls,
                TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull
            )
        {
            problem(
                "tls".to_owned(),
                "a socket is never encrypted; name a host, or leave `tls` out",
            );
        }
        if self.stall_timeout < Duration::from_secs(1) {
            problem("stall_timeout".to_owned(), "must be at least 1s");
        }
        if self.lock_wait_timeout < Duration::from_millis(1) {
            problem("lock_wait_timeout".to_owned(), "must be at least 1ms");
        }
        if self.lock_wait_timeout >= self.stall_timeout {
            problem(
                "lock_wait_timeout".to_owned(),
                "must be shorter than stall_timeout",
            );
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        source: Vec<crate::SourceConfig>,
    }

    fn read(text: &str) -> Result<PostgresConfig, String> {
        let file: File =
            holdfast_config::parse("agent.toml", text).map_err(|error| error.to_string())?;
        match file.source.into_iter().next() {
            Some(crate::SourceConfig::Postgres(config)) => Ok(config),
            None => Err("no source".to_owned()),
        }
    }

    const MINIMAL: &str = "[[source]]\nname = 'a'\nkind = 'postgres'\nuser = 'u'\n";

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = read(MINIMAL).unwrap();
        assert_eq!(
            (config.host.as_str(), config.port),
            ("/var/run/postgresql", 5432)
        );
        assert_eq!(config.databases, ["*"]);
        assert_eq!(config.lock_wait_timeout, Duration::from_secs(60));
        assert_eq!(config.stall_timeout, Duration::from_secs(900));
        assert_eq!(config.tls, TlsMode::Prefer);
        assert!(config.problems().is_empty(), "{:?}", config.problems());
    }

    #[test]
    fn all_keys_are_read() {
        let config = read(&format!(
            "{MINIMAL}host = 'db'\nport = 1\npassword = {{ env = 'P' }}\ntls = 'verify-full'\nca_file = '/ca'\n\
             databases = ['a*']\nexclude = ['b']\nprograms = ['/x']\nlock_wait_timeout = '5s'\nstall_timeout = '1m'\n\
             maintenance_database = 'm'\n"
        ))
        .unwrap();
        assert_eq!(config.password, Some(SecretSource::Env("P".to_owned())));
        assert_eq!(config.tls, TlsMode::VerifyFull);
        assert!(config.problems().is_empty(), "{:?}", config.problems());
    }

    #[test]
    fn unknown_keys_and_written_passwords_are_refused() {
        let error = read(&format!("{MINIMAL}prot = 1\n")).unwrap_err();
        assert!(error.contains("prot") && error.contains(":5:"), "{error}");
        let error = read(&format!("{MINIMAL}password = 'hunter2'\n")).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn contradictions_are_named_by_key() {
        let config = read(&format!(
            "{MINIMAL}port = 0\ntls = 'require'\nca_file = '/ca'\ndatabases = ['[']\nstall_timeout = '10s'\nprograms = ['bin']\n"
        ))
        .unwrap();
        let keys: Vec<String> = config.problems().into_iter().map(|(key, _)| key).collect();
        assert_eq!(
            keys,
            [
                "port",
                "databases[0]",
                "programs[0]",
                "ca_file",
                "tls",
                "lock_wait_timeout"
            ]
        );
    }
}

//! `coordinator.toml`: where the coordinator listens, keeps its state, and how patient it is.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_config::{ConfigError, Problems, SecretError, SecretSource};
use holdfast_identity::CoordinatorAddress;
use holdfast_telemetry::LogFormat;
use serde::Deserialize;

use crate::model::lease::LeaseTerms;
use crate::model::retry::RetryTerms;
use crate::store::Place;

/// The whole file.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// The one port.
    pub listen: SocketAddr,
    /// `host:port` that agents and operators dial.
    pub address: String,
    /// The folder with keys and state.
    pub state: PathBuf,
    /// Plain gRPC health, loopback only.
    #[serde(default)]
    pub health_listen: Option<SocketAddr>,
    /// How log lines look.
    #[serde(default)]
    log_format: LogFormatWord,
    /// A PostgreSQL server for the state.
    #[serde(default)]
    database: Option<DatabaseConfig>,
    /// Patience with runs.
    #[serde(default)]
    pub runs: RunsConfig,
    /// Lifetimes of certificates.
    #[serde(default)]
    pub certificates: CertificatesConfig,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LogFormatWord {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Deserialize)]
struct DatabaseConfig {
    url: DatabaseUrl,
    #[serde(default)]
    password: Option<SecretSource>,
}

#[derive(Debug, Clone)]
struct DatabaseUrl(url::Url);

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What was written is not repeated: it may hold a password.
        let url = text.parse().map_err(|error| {
            serde::de::Error::custom(format!(
                "not a URL such as postgres://user@host/database ({error})"
            ))
        })?;
        Ok(Self(url))
    }
}

/// `[runs]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct RunsConfig {
    /// How long a run stays with a silent agent.
    #[serde(with = "holdfast_config::duration")]
    pub lease: Duration,
    /// How long a permission to commit holds.
    #[serde(with = "holdfast_config::duration")]
    pub commit_window: Duration,
    /// The longest backup.
    #[serde(with = "holdfast_config::duration")]
    pub backup_deadline: Duration,
    /// The longest restore.
    #[serde(with = "holdfast_config::duration")]
    pub restore_deadline: Duration,
    /// Hand-outs of one run.
    pub attempts: u32,
    /// The first pause between two.
    #[serde(with = "holdfast_config::duration")]
    pub retry_pause: Duration,
}

impl Default for RunsConfig {
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Self {
            lease: Duration::from_secs(60),
            commit_window: Duration::from_secs(60),
            backup_deadline: day,
            restore_deadline: day,
            attempts: 3,
            retry_pause: Duration::from_secs(10),
        }
    }
}

impl RunsConfig {
    /// What the leases of runs depend on.
    #[must_use]
    pub fn lease_terms(&self) -> LeaseTerms {
        LeaseTerms {
            lease: self.lease,
            commit_window: self.commit_window,
        }
    }

    /// How often and how fast runs are tried again.
    #[must_use]
    pub fn retry_terms(&self) -> RetryTerms {
        RetryTerms {
            attempts: self.attempts,
            pause: self.retry_pause,
        }
    }
}

/// `[certificates]`: each is renewed at two thirds of its life.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub struct CertificatesConfig {
    /// Of agents.
    #[serde(with = "holdfast_config::duration")]
    pub agent: Duration,
    /// Of operators.
    #[serde(with = "holdfast_config::duration")]
    pub operator: Duration,
    /// Of the coordinator itself.
    #[serde(with = "holdfast_config::duration")]
    pub coordinator: Duration,
}

impl Default for CertificatesConfig {
    fn default() -> Self {
        let days = |days: u64| Duration::from_secs(days * 24 * 3600);
        Self {
            agent: days(90),
            operator: days(365),
            coordinator: days(365),
        }
    }
}

impl Config {
    /// Reads and checks the file. A relative `state` is taken from the file's folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = holdfast_config::load_checked(path, check)?;
        if let Some(folder) = path.parent() {
            config.state = folder.join(&config.state);
        }
        Ok(config)
    }

    /// How log lines look.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        match self.log_format {
            LogFormatWord::Text => LogFormat::Text,
            LogFormatWord::Json => LogFormat::Json,
        }
    }

    /// Where the state is; `folder` is that of the file, from which a password's file is taken.
    pub fn place(&self, folder: &Path) -> Result<Place, SecretError> {
        let Some(database) = &self.database else {
            return Ok(Place::Folder(self.state.clone()));
        };
        let password = database
            .password
            .as_ref()
            .map(|password| password.resolve_in(folder))
            .transpose()?;
        Ok(Place::Postgres {
            url: database.url.0.clone(),
            password,
        })
    }
}

/// `host:port` as an address with its scheme.
pub fn parse_address(text: &str) -> Result<CoordinatorAddress, String> {
    let whole = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    whole
        .parse()
        .map_err(|error: holdfast_identity::AddressError| error.to_string())
}

fn check(config: &Config, problems: &mut Problems<'_>) {
    if let Err(error) = parse_address(&config.address) {
        problems.at("address", error);
    }
    if config
        .health_listen
        .is_some_and(|at| !at.ip().is_loopback())
    {
        problems.at(
            "health_listen",
            "it answers without a certificate, so it must be a loopback address such as 127.0.0.1:7601",
        );
    }
    if let Some(database) = &config.database {
        check_database(database, problems);
    }
    check_runs(&config.runs, problems);
    let certificates = &config.certificates;
    for (name, lifetime) in [
        ("agent", certificates.agent),
        ("operator", certificates.operator),
        ("coordinator", certificates.coordinator),
    ] {
        if lifetime < Duration::from_secs(1) {
            problems.at(&format!("certificates.{name}"), "at least 1s");
        }
    }
}

fn check_database(database: &DatabaseConfig, problems: &mut Problems<'_>) {
    if !matches!(database.url.0.scheme(), "postgres" | "postgresql") {
        problems.at(
            "database.url",
            "only postgres:// is understood; leave [database] out for SQLite in the state folder",
        );
    }
    if database.url.0.password().is_some() {
        problems.at(
            "database.url",
            "a password does not stand here; write password = { file = \"...\" } or { env = \"...\" }",
        );
    }
}

fn check_runs(runs: &RunsConfig, problems: &mut Problems<'_>) {
    let second = Duration::from_secs(1);
    if runs.lease < second || runs.lease > Duration::from_secs(3600) {
        problems.at("runs.lease", "between 1s and 1h");
    }
    if runs.commit_window < second || runs.commit_window > Duration::from_secs(3600) {
        problems.at("runs.commit_window", "between 1s and 1h");
    }
    if runs.attempts == 0 {
        problems.at("runs.attempts", "at least 1");
    }
    for (name, deadline) in [
        ("backup_deadline", runs.backup_deadline),
        ("restore_deadline", runs.restore_deadline),
    ] {
        if deadline < second {
            problems.at(&format!("runs.{name}"), "at least 1s");
        }
    }
}

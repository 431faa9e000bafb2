//! Connections to one server: ours by tokio-postgres, and the same address, role and encryption for client programs.
//!
//! Every session of ours finds catalogs by `pg_catalog` alone, is not bound by timeouts that somebody set for a role or a
//! database, and never sees a table through row-level security silently (it fails instead).

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use super::config::{PostgresConfig, TlsMode};
use super::sql::conninfo;
use super::tls;
use crate::error::SourceError;
use crate::process::Program;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// A server that vanished is noticed after two minutes, by us and by client programs.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 6;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How the sessions are named in pg_stat_activity.
pub(crate) const APPLICATION_NAME: &str = "holdfast";

/// Timeouts that somebody may have set for the role or the database are as many as the server's version knows.
const SESSION_SETTINGS: &str = "SET search_path = pg_catalog; SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN \
     ('statement_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout'); \
     SET row_security = off; SET default_transaction_read_only = off; SET extra_float_digits = 3; SET DateStyle = ISO";

/// One server and how to reach it.
#[derive(Clone)]
pub(crate) struct Server {
    host: String,
    port: u16,
    user: String,
    password: Option<SecretString>,
    tls: TlsMode,
    ca_file: Option<PathBuf>,
    lock_wait_timeout: Duration,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address())
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Reads the password and checks the authorities' file; relative files are below `folder`.
    pub(crate) fn new(config: &PostgresConfig, folder: &Path) -> Result<Self, SourceError> {
        let password = match &config.password {
            Some(source) => Some(source.resolve_in(folder).map_err(|error| {
                SourceError::permanent(
                    format!(
                        "the password of source {} cannot be read: {error}",
                        config.name
                    ),
                    "check `password` of the source",
                )
            })?),
            None => None,
        };
        // A socket is never encrypted, whatever is preferred.
        let tls = if config.is_socket() {
            TlsMode::Disable
        } else {
            config.tls
        };
        let ca_file = config.ca_file.as_ref().map(|path| folder.join(path));
        if tls != TlsMode::Disable {
            tls::client_config(tls, ca_file.as_deref())?;
        }
        Ok(Self {
            host: config.host.clone(),
            port: config.port,
            user: config.user.clone(),
            password,
            tls,
            ca_file,
            lock_wait_timeout: config.lock_wait_timeout,
        })
    }

    /// Where it is, for people.
    pub(crate) fn address(&self) -> String {
        if self.host.starts_with('/') {
            format!("{}/.s.PGSQL.{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether it runs on this machine, as far as its address tells.
    pub(crate) fn is_local(&self) -> bool {
        self.host.starts_with('/')
            || matches!(self.host.as_str(), "localhost" | "127.0.0.1" | "::1")
    }

    /// The role we are.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// How long to wait for a lock.
    pub(crate) fn lock_wait_timeout(&self) -> Duration {
        self.lock_wait_timeout
    }

    /// A new session in `database`.
    pub(crate) async fn connect(&self, database: &str) -> Result<Session, SourceError> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(&self.host)
            .port(self.port)
            .user(&self.user)
            .dbname(database)
            .application_name(APPLICATION_NAME)
            .connect_timeout(CONNECT_TIMEOUT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .ssl_mode(match self.tls {
                TlsMode::Disable => SslMode::Disable,
                TlsMode::Prefer => SslMode::Prefer,
                _ => SslMode::Require,
            });
        if let Some(password) = &self.password {
            config.password(password.expose_secret());
        }
        let connecting = async {
            if self.tls == TlsMode::Disable {
                let (client, connection) = config.connect(NoTls).await?;
                Ok((client, tokio::spawn(async move { drop(connection.await) })))
            } else {
                let tls =
                    tls::client_config(self.tls, self.ca_file.as_deref()).map_err(Failure::Ours)?;
                let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await?;
                Ok((client, tokio::spawn(async move { drop(connection.await) })))
            }
        };
        let (client, driver) = match tokio::time::timeout(CONNECT_TIMEOUT * 2, connecting).await {
            Ok(Ok(pair)) => pair,
            Ok(Err(Failure::Ours(error))) => return Err(error),
            Ok(Err(Failure::Theirs(error))) => return Err(self.connect_error(database, &error)),
            Err(_) => {
                return Err(SourceError::retryable(
                    format!(
                        "PostgreSQL at {} did not answer within {:?}",
                        self.address(),
                        CONNECT_TIMEOUT * 2
                    ),
                    "check `host` and `port`, and that the server is not overloaded",
                ));
            }
        };
        let session = Session {
            client,
            driver: AbortOnDropHandle::new(driver),
        };
        session
            .run(SESSION_SETTINGS, "preparing the session")
            .await?;
        let lock_timeout = format!("SET lock_timeout = {}", self.lock_wait_timeout.as_millis());
        session.run(&lock_timeout, "preparing the session").await?;
        Ok(session)
    }

    fn connect_error(&self, database: &str, error: &tokio_postgres::Error) -> SourceError {
        let what = format!(
            "connecting to database {database} at {} as {} failed: {}",
            self.address(),
            self.user,
            spoken(error)
        );
        match error.code() {
            Some(&(SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION)) => {
                SourceError::permanent(
                    what,
                    "check `user` and `password` of the source, and the server's pg_hba.conf",
                )
            }
            Some(&SqlState::INVALID_CATALOG_NAME) => SourceError::permanent(
                what,
                "check the database's name, or set `maintenance_database`",
            ),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => SourceError::permanent(
                what,
                "grant the role CONNECT on that database, or leave the database out with `exclude`",
            ),
            Some(_) => {
                SourceError::retryable(what, "the server refused the connection; its log says more")
            }
            None if what.contains("password") => {
                SourceError::permanent(what, "set `password` of the source")
            }
            None if what.contains("ertificate") || what.contains("TLS") => SourceError::permanent(
                what,
                "check `tls` and `ca_file` of the source against the server's certificate",
            ),
            None => SourceError::retryable(
                what,
                "check that the server runs, and `host` and `port` of the source",
            ),
        }
    }

    /// The same address, role and encryption for a client program of major version `client_major`.
    pub(crate) fn program(&self, path: &Path, client_major: u32) -> Result<Program, SourceError> {
        let mut program = Program::new(path)
            .arg("--no-password")
            .env("PGHOST", &self.host)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGAPPNAME", APPLICATION_NAME)
            .env("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT.as_secs().to_string())
            .env("PGSSLMODE", self.tls.as_str());
        if self.tls.verifies() {
            program = program.env("PGSSLROOTCERT", self.root_certificates(client_major)?);
        }
        if let Some(password) = &self.password {
            program = program.secret_env("PGPASSWORD", password);
        }
        Ok(program)
    }

    /// What libpq takes as `sslrootcert`. libpq 16 and later know `system`, but allow it with verify-full only.
    fn root_certificates(&self, client_major: u32) -> Result<PathBuf, SourceError> {
        if let Some(path) = &self.ca_file {
            return Ok(path.clone());
        }
        if client_major >= 16 && self.tls == TlsMode::VerifyFull {
            return Ok(PathBuf::from("system"));
        }
        tls::system_bundle().ok_or_else(|| {
            SourceError::permanent(
                "the system's certificate authorities are not in a file that pg_dump can read",
                "name a `ca_file`",
            )
        })
    }

    /// The argument that names `database`, safe for every name.
    pub(crate) fn database_argument(database: &str) -> String {
        format!(
            "--dbname={} keepalives_idle={} keepalives_interval={} keepalives_count={KEEPALIVE_RETRIES}",
            conninfo("dbname", database),
            KEEPALIVE_IDLE.as_secs(),
            KEEPALIVE_INTERVAL.as_secs(),
        )
    }
}

enum Failure {
    Ours(SourceError),
    Theirs(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Theirs(error)
    }
}

/// One session; it ends with this value.
#[derive(Debug)]
pub(crate) struct Session {
    pub client: Client,
    driver: AbortOnDropHandle<()>,
}

impl Session {
    /// Ends it in order: when this returns the server has been told (its process may need a moment).
    pub(crate) async fn close(self) {
        let Self { client, driver } = self;
        drop(client);
        let _ended = tokio::time::timeout(CLOSE_TIMEOUT, driver).await;
    }

    /// Runs statements without parameters. `doing` is a verb phrase for the error.
    pub(crate) async fn run(&self, sql: &str, doing: &str) -> Result<(), SourceError> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(|error| failed(doing, &error))
    }
}

/// What a server's error means for the run.
pub(crate) fn failed(doing: &str, error: &tokio_postgres::Error) -> SourceError {
    let message = format!("{doing} failed: {}", spoken(error));
    match error.code().map(SqlState::code) {
        // Connection, resources, operator intervention, rollback: classes 08, 53, 57, 40; 55P03: lock not available;
        // 3D000, XX000: a database or another object went away while it was looked at.
        Some(code)
            if ["08", "53", "57", "40"].contains(&&code[..2])
                || ["55P03", "3D000", "XX000"].contains(&code) =>
        {
            SourceError::retryable(message, "")
        }
        Some("42501") => SourceError::permanent(
            message,
            "the source's `user` lacks a privilege; a superuser has them all",
        ),
        Some(_) => SourceError::permanent(message, ""),
        None => SourceError::retryable(
            message,
            "the connection to the server was lost; its log says more",
        ),
    }
}

/// The server's words with detail and hint, or the whole chain of a client's error.
pub(crate) fn spoken(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        let mut text = db.message().to_owned();
        for more in [db.detail(), db.hint()].into_iter().flatten() {
            text.push_str("; ");
            text.push_str(more);
        }
        return text;
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let more = inner.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = inner.source();
    }
    text
}

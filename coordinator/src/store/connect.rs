//! Opens the state: takes the lock, connects, refuses tables of a later version, brings older ones up to date.
//!
//! The lock comes first, so that two coordinators never migrate or write together.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _};

use super::error::{Result, StoreError};
use super::lock::StateLock;
use super::{Store, migrations};

/// How long a query waits for a connection.
const ACQUIRE_DEADLINE: Duration = Duration::from_secs(30);

/// Reading connections: operators' lists and the agents' questions.
const READERS: u32 = 2;

/// Which database holds the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    /// A file of ours.
    Sqlite,
    /// A server.
    Postgres,
}

impl Database {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// Where the state is.
#[derive(Debug, Clone)]
pub enum Place {
    /// `state.db` in this folder.
    Folder(PathBuf),
    /// A PostgreSQL database.
    Postgres {
        /// `postgres://user@host:port/database`
        url: url::Url,
        /// Put into the URL.
        password: Option<SecretString>,
    },
}

impl Place {
    fn database(&self) -> Database {
        match self {
            Self::Folder(_) => Database::Sqlite,
            Self::Postgres { .. } => Database::Postgres,
        }
    }

    /// The place for people: never with a password.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Folder(folder) => folder.join("state.db").display().to_string(),
            Self::Postgres { url, .. } => {
                let mut shown = url.clone();
                // Fails only for URLs without a host, which carry no password either.
                let _ = shown.set_password(None);
                shown.to_string()
            }
        }
    }

    fn options(&self) -> Result<AnyConnectOptions> {
        let options = match self {
            Self::Folder(folder) => AnyConnectOptions::from_str(&sqlite_url(folder))?,
            Self::Postgres { url, password } => {
                let mut url = url.clone();
                if let Some(password) = password {
                    let _ = url.set_password(Some(password.expose_secret()));
                }
                AnyConnectOptions::from_url(&url)?
            }
        };
        // Parameters may name what an operator typed.
        Ok(options.disable_statement_logging())
    }
}

fn sqlite_url(folder: &Path) -> String {
    let mut url = String::from("sqlite://");
    for byte in folder.join("state.db").as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) {
            url.push(char::from(*byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
    url + "?mode=rwc"
}

impl Store {
    /// Opens the state at `place`, as the one coordinator that uses it until the returned lock is dropped.
    pub async fn open(place: &Place) -> Result<(Self, StateLock)> {
        sqlx::any::install_default_drivers();
        let database = place.database();
        let options = place.options()?;
        let lock = StateLock::take(place, &options).await?;
        prepare(&options, database, place).await?;
        let store = Self {
            writer: pool(&options, database, 1).await?,
            reader: pool(&options, database, READERS).await?,
            database,
        };
        Ok((store, lock))
    }
}

async fn prepare(options: &AnyConnectOptions, database: Database, place: &Place) -> Result<()> {
    let mut connection = AnyConnection::connect_with(options)
        .await
        .map_err(|error| StoreError::Unreachable {
            place: place.shown(),
            error,
        })?;
    if database == Database::Sqlite {
        sqlx::query("PRAGMA journal_mode = WAL")
            .execute(&mut connection)
            .await?;
    }
    migrations::run(&mut connection, database, &place.shown()).await?;
    Ok(connection.close().await?)
}

async fn pool(options: &AnyConnectOptions, database: Database, size: u32) -> Result<AnyPool> {
    let pool = AnyPoolOptions::new()
        .max_connections(size)
        .min_connections(0)
        .acquire_timeout(ACQUIRE_DEADLINE)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if database == Database::Sqlite {
                    // A commit that was acknowledged survives a power cut.
                    sqlx::query("PRAGMA synchronous = FULL")
                        .execute(&mut *connection)
                        .await?;
                    // Pages kept in memory by each connection, in KiB.
                    sqlx::query("PRAGMA cache_size = -1024")
                        .execute(connection)
                        .await?;
                }
                Ok(())
            })
        });
    Ok(pool.connect_with(options.clone()).await?)
}

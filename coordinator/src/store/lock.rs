//! One state serves one coordinator at a time.
//!
//! SQLite: an exclusive lock on `state.lock` beside the file; the kernel gives it back when the process dies. PostgreSQL: a
//! session's advisory lock, which the server gives back when the connection ends; [`StateLock::lost`] watches that
//! connection, because whoever has lost it must stop writing.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

use sqlx::any::AnyConnectOptions;
use sqlx::{AnyConnection, Connection as _, Row as _};
use tokio::sync::Mutex;

use super::connect::Place;
use super::error::{Result, StoreError};

/// Key of the advisory lock: the ASCII bytes of "holdfast".
const ADVISORY_KEY: i64 = 0x686f_6c64_6661_7374;

/// How often the connection that holds the advisory lock is tried.
const WATCH_INTERVAL: Duration = Duration::from_secs(5);

/// How long a lock whose former holder may be on its way out is tried for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The right to use the state, until it is dropped.
pub struct StateLock(Held);

/// The options may carry a password.
impl std::fmt::Debug for StateLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateLock").finish_non_exhaustive()
    }
}

enum Held {
    /// Open, and locked as long as it is.
    File(#[allow(dead_code)] File),
    Advisory {
        options: Box<AnyConnectOptions>,
        connection: Mutex<Option<AnyConnection>>,
    },
}

impl StateLock {
    /// Takes the lock, or says who has it. A former holder may be on its way out, as may a child that is between fork
    /// and exec, or a connection that the server does not know to be gone: so it is tried for a moment.
    pub(super) async fn take(place: &Place, options: &AnyConnectOptions) -> Result<Self> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(held) = try_take(place, options).await? {
                return Ok(Self(held));
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(StoreError::InUse {
                    place: place.shown(),
                });
            }
            tokio::time::sleep(PATIENCE / 10).await;
        }
    }

    /// Returns when somebody else has the lock: stop writing, end the process. A connection that broke is replaced, and
    /// the lock taken again where it is free.
    pub async fn lost(&self) {
        let Held::Advisory {
            options,
            connection,
        } = &self.0
        else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            let mut held = connection.lock().await;
            let alive = match held.as_mut() {
                Some(connection) => {
                    let ping = tokio::time::timeout(WATCH_INTERVAL, connection.ping()).await;
                    ping.is_ok_and(|ping| ping.is_ok())
                }
                None => false,
            };
            if alive {
                continue;
            }
            *held = None;
            match tokio::time::timeout(WATCH_INTERVAL, advisory(options)).await {
                Ok(Ok(None)) => return,
                Ok(Ok(connection)) => *held = connection,
                Ok(Err(error)) => tracing::warn!(%error, "cannot reach the state's database"),
                Err(_) => tracing::warn!("the state's database does not answer"),
            }
        }
    }
}

async fn try_take(place: &Place, options: &AnyConnectOptions) -> Result<Option<Held>> {
    match place {
        Place::Folder(folder) => Ok(lock_file(&folder.join("state.lock"))?.map(Held::File)),
        Place::Postgres { .. } => {
            let taken = advisory(options).await.map_err(|error| match error {
                StoreError::Database(error) => StoreError::Unreachable {
                    place: place.shown(),
                    error,
                },
                other => other,
            })?;
            Ok(taken.map(|connection| Held::Advisory {
                options: Box::new(options.clone()),
                connection: Mutex::new(Some(connection)),
            }))
        }
    }
}

fn lock_file(path: &Path) -> Result<Option<File>> {
    let failed = |error| StoreError::LockFile {
        path: path.to_owned(),
        error,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

async fn advisory(options: &AnyConnectOptions) -> Result<Option<AnyConnection>> {
    let mut connection = AnyConnection::connect_with(options).await?;
    let row = sqlx::query(
        "SELECT CAST(CASE WHEN pg_try_advisory_lock($1) THEN 1 ELSE 0 END AS BIGINT) AS taken",
    )
    .bind(ADVISORY_KEY)
    .fetch_one(&mut connection)
    .await?;
    Ok((row.try_get::<i64, _>("taken")? == 1).then_some(connection))
}

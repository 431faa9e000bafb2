//! The coordinator's state: SQLite by default, PostgreSQL where the configuration names one.
//!
//! One SQL text serves both. Allowed differences: the word for bytes in the tables' definitions, how a transaction
//! begins, and the lock that keeps a second coordinator out. Columns are TEXT, BIGINT and bytes; times are UTC
//! microseconds.
//!
//! All writes go through one connection, in transactions, so they happen one after the other; readers have
//! connections of their own. Every change of a run is an update that names the state and epoch it expects, in one
//! transaction with its event row, and with an audit row where an operator acted.

pub mod agents;
pub mod audit;
pub mod certificates;
mod connect;
pub mod error;
pub mod grants;
pub mod invites;
mod lock;
mod migrations;
mod row;
pub mod run_events;
pub mod runs;
pub mod snapshots;
pub mod sources;
pub mod vaults;

use sqlx::{AnyConnection, AnyPool, Transaction};

pub use connect::{Database, Place};
pub use error::{Result, StoreError};

/// The open state.
#[derive(Debug, Clone)]
pub struct Store {
    writer: AnyPool,
    reader: AnyPool,
    database: Database,
}

/// One transaction. Dropped without [`Tx::commit`], it changes nothing.
#[derive(Debug)]
pub struct Tx {
    inner: Transaction<'static, sqlx::Any>,
}

impl Store {
    /// Which database this is.
    #[must_use]
    pub fn database(&self) -> Database {
        self.database
    }

    /// Begins a transaction that may write. They wait for each other.
    pub async fn begin(&self) -> Result<Tx> {
        let inner = match self.database {
            Database::Sqlite => self.writer.begin_with("BEGIN IMMEDIATE").await?,
            Database::Postgres => self.writer.begin().await?,
        };
        Ok(Tx { inner })
    }

    /// A connection to read with.
    pub async fn read(&self) -> Result<sqlx::pool::PoolConnection<sqlx::Any>> {
        Ok(self.reader.acquire().await?)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

impl Tx {
    /// Makes the changes durable.
    pub async fn commit(self) -> Result<()> {
        Ok(self.inner.commit().await?)
    }
}

impl std::ops::Deref for Tx {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.inner
    }
}

impl std::ops::DerefMut for Tx {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.inner
    }
}

//! What can go wrong with the state.

use std::path::PathBuf;

/// The state could not be read, written, or opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused.
    #[error("the state's database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// It could not be opened.
    #[error(
        "cannot open the state in {place}: {error}\nhint: check that the place exists and may be written, or that the database runs and lets this user in"
    )]
    Unreachable {
        /// Where the state is.
        place: String,
        /// What the database said.
        #[source]
        error: sqlx::Error,
    },
    /// The tables could not be brought up to date.
    #[error("the state's tables could not be brought up to date: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A later version of this program has changed the tables.
    #[error(
        "the state in {place} was written by a newer coordinator: its tables are of version {found}, this program knows up to {known}\nhint: start the newer program again, or restore the state from before the update"
    )]
    NewerSchema {
        /// Where the state is.
        place: String,
        /// The version found.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// Another coordinator has the state open.
    #[error(
        "another coordinator is using the state in {place}\nhint: stop it first; one state serves one coordinator at a time"
    )]
    InUse {
        /// Where the state is.
        place: String,
    },
    /// The lock file could not be used.
    #[error("cannot use the lock file {}: {error}", path.display())]
    LockFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
    /// A row holds what this program never writes.
    #[error("the state holds a row that cannot be read: {table}.{column}: {why}")]
    Unreadable {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl StoreError {
    /// A row that cannot be read.
    pub(crate) fn unreadable(
        table: &'static str,
        column: &'static str,
    ) -> impl FnOnce(&dyn std::fmt::Display) -> Self {
        move |why| Self::Unreadable {
            table,
            column,
            why: why.to_string(),
        }
    }
}

/// `Result` with [`StoreError`].
pub type Result<T> = std::result::Result<T, StoreError>;

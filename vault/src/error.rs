//! What can go wrong with a repository, told so that a caller can branch and a person can act.

use std::io;
use std::time::Duration;

use crate::storage::StorageError;

/// An operation on a repository failed. `Display` says what, where, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The place where the objects live failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// No repository at this place.
    #[error("no repository at {location}: back the source up once, or check the vault's address")]
    NoRepository {
        /// Where it was looked for.
        location: String,
    },
    /// The keys of the repository do not open with this password.
    #[error(
        "the password does not open the repository at {location} ({keys} key(s) tried): check that the vault secret and the source's name are those it was made with"
    )]
    WrongPassword {
        /// The repository.
        location: String,
        /// How many key files were tried.
        keys: usize,
    },
    /// The repository is of a version or shape that this program does not read.
    #[error("the repository at {location} cannot be used: {why}")]
    Unsupported {
        /// The repository.
        location: String,
        /// What about it.
        why: String,
    },
    /// A stored object is not what it should be. Nothing of it was given out.
    #[error(
        "{object} is damaged: {why}; restore from another snapshot or another copy of the vault"
    )]
    Damaged {
        /// The object's name within the repository.
        object: String,
        /// What is wrong with it.
        why: String,
    },
    /// The snapshot, or the file within it, is not there.
    #[error("{path} not found")]
    NotFound {
        /// What was asked for.
        path: String,
    },
    /// Somebody holds the repository exclusively (restic's prune, for instance).
    #[error(
        "the repository is locked exclusively by {holder} since {since}: wait for it to end, or, if it is dead, run `restic unlock`"
    )]
    Locked {
        /// user@host, process id.
        holder: String,
        /// When the lock was last refreshed (UTC).
        since: jiff::Timestamp,
    },
    /// Our own lock could not be refreshed in time, so the work was stopped.
    #[error("the repository's lock could not be refreshed in time; the work was stopped: {why}")]
    LockLost {
        /// The last failure.
        why: String,
    },
    /// The work was cancelled from outside.
    #[error("cancelled")]
    Cancelled,
    /// An earlier failure of the same backup makes this snapshot impossible.
    #[error("this backup has failed already: {why}")]
    Aborted {
        /// The first failure.
        why: String,
    },
    /// Permission to write the snapshot had run out: nothing was written.
    #[error("the snapshot was not written: the permission to commit had run out {late:?} before")]
    CommitTooLate {
        /// How late it was.
        late: Duration,
    },
    /// The reader that the source handed over failed: nothing it gave becomes a snapshot.
    #[error("reading the source failed: {0}")]
    SourceFailed(#[source] io::Error),
    /// The caller asked for something that cannot be.
    #[error("{0}")]
    Refused(String),
    /// Something that should not happen on this machine (a thread that died, no entropy).
    #[error("internal failure: {0}")]
    Internal(String),
}

impl VaultError {
    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_retryable(&self) -> bool {
        match self {
            VaultError::Storage(error) => error.is_retryable(),
            VaultError::Locked { .. } | VaultError::LockLost { .. } => true,
            _ => false,
        }
    }

    /// A damaged object, named within the repository.
    pub(crate) fn damaged(object: impl Into<String>, why: impl std::fmt::Display) -> VaultError {
        VaultError::Damaged {
            object: object.into(),
            why: why.to_string(),
        }
    }
}

/// `Result` with [`VaultError`].
pub(crate) type Result<T> = std::result::Result<T, VaultError>;

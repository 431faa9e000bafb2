//! What can go wrong with stored objects: retry or give up, and what a person does next.

use std::time::Duration;

/// An operation on stored objects failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// No such object.
    #[error("{object} does not exist")]
    NotFound {
        /// Full name of the object.
        object: String,
    },
    /// A write that must not replace anything found the object there.
    #[error("{object} exists already")]
    AlreadyExists {
        /// Full name of the object.
        object: String,
    },
    /// The server or the file system refused.
    #[error(
        "access to {object} denied ({why}): check the vault's credentials and what they are allowed to do"
    )]
    AccessDenied {
        /// Full name of the object.
        object: String,
        /// What the other side said.
        why: String,
    },
    /// The session the request was signed with is over.
    #[error("the storage credentials have expired ({why}): the run needs new ones")]
    CredentialsExpired {
        /// What the other side said.
        why: String,
    },
    /// The bucket is not there.
    #[error("the bucket {bucket} does not exist: create it, or correct the vault's address")]
    BucketMissing {
        /// Its name.
        bucket: String,
    },
    /// This machine's clock is too far from the server's for signed requests.
    #[error(
        "this machine's clock is {} the storage server's at {endpoint}: the server refuses the request; set the clock (NTP) and try again",
        skew_words(*skew_s)
    )]
    ClockSkew {
        /// The server.
        endpoint: String,
        /// Seconds this machine is ahead (positive) or behind (negative), when known.
        skew_s: Option<i64>,
    },
    /// No connection.
    #[error(
        "cannot reach {endpoint} ({why}): check the address, the network and that the server runs"
    )]
    Unreachable {
        /// The server.
        endpoint: String,
        /// What the connection died of.
        why: String,
    },
    /// No answer in time.
    #[error(
        "{operation} on {object} got no answer within {after:?}: check the server's load and the network"
    )]
    Timeout {
        /// get, put, list, ...
        operation: &'static str,
        /// Full name of the object.
        object: String,
        /// How long it was waited.
        after: Duration,
    },
    /// The server asked to come back later, or failed inside (429, 500, 502, 503, 504).
    #[error("the storage server cannot serve {object} now ({why})")]
    Unavailable {
        /// Full name of the object.
        object: String,
        /// What it said.
        why: String,
    },
    /// No space, or no quota, left.
    #[error("no space left to write {object} ({why}): free space in the vault or enlarge it")]
    Full {
        /// Full name of the object.
        object: String,
        /// What the other side said.
        why: String,
    },
    /// What came back, or what arrived, is not what was sent.
    #[error("{object} was damaged on its way or at rest: {why}")]
    Corrupt {
        /// Full name of the object.
        object: String,
        /// What differs.
        why: String,
    },
    /// An object ends before the bytes that were asked for: it was cut off, or is another one.
    #[error("{object} is shorter than it should be: {why}")]
    TooShort {
        /// Full name of the object.
        object: String,
        /// What was asked, and what is there.
        why: String,
    },
    /// The address or its settings cannot work.
    #[error("the vault's address cannot be used: {why}")]
    Misconfigured {
        /// What about it.
        why: String,
    },
    /// Everything else.
    #[error("{operation} on {object} failed: {why}")]
    Other {
        /// get, put, list, ...
        operation: &'static str,
        /// Full name of the object.
        object: String,
        /// What happened.
        why: String,
    },
}

impl StorageError {
    /// Whether the same request may succeed a moment later.
    ///
    /// Refusals (denied, missing, full) never are: repeating them only hides them.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            StorageError::Unreachable { .. }
                | StorageError::Timeout { .. }
                | StorageError::Unavailable { .. }
                | StorageError::Corrupt { .. }
        )
    }

    /// Whether it says that the object is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, StorageError::NotFound { .. })
    }

    /// Whether a write found the object there.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, StorageError::AlreadyExists { .. })
    }
}

fn skew_words(skew_s: Option<i64>) -> String {
    match skew_s {
        Some(seconds) => {
            let side = if seconds < 0 { "behind" } else { "ahead of" };
            format!("{} {side}", duration_words(seconds.unsigned_abs()))
        }
        None => "too far from".to_owned(),
    }
}

fn duration_words(seconds: u64) -> String {
    match (seconds / 3600, seconds % 3600 / 60, seconds % 60) {
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skew_is_named_with_its_side() {
        let told = |skew_s| {
            StorageError::ClockSkew {
                endpoint: "http://store".to_owned(),
                skew_s,
            }
            .to_string()
        };
        assert!(told(Some(3660)).contains("clock is 1 h 1 min ahead of the storage server's"));
        assert!(told(Some(-90)).contains("clock is 1 min 30 s behind the storage server's"));
        assert!(told(None).contains("clock is too far from the storage server's"));
    }
}

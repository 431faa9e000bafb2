//! Why an operation was not done, in the words and codes that callers get.
//!
//! A message says what and where; a hint follows after "\nhint: ".

use holdfast_identity::IdentityError;
use holdfast_proto::convert::Malformed;
use holdfast_vault::{StorageError, VaultError};
use tonic::{Code, Status};

use crate::store::StoreError;

/// An operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The request cannot be what was meant.
    #[error("{0}")]
    Invalid(String),
    /// What it names is not there.
    #[error("{0}")]
    NotFound(String),
    /// A condition forbids it.
    #[error("{0}")]
    Refused(String),
    /// The caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// Something else that it needs does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// The state failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that should not happen here.
    #[error("{0}")]
    Internal(String),
}

/// `Result` with [`Fault`].
pub type Result<T> = std::result::Result<T, Fault>;

impl Fault {
    /// Adds what to do next.
    #[must_use]
    pub fn hint(self, hint: &str) -> Self {
        let add = |text: String| format!("{text}\nhint: {hint}");
        match self {
            Self::Invalid(text) => Self::Invalid(add(text)),
            Self::NotFound(text) => Self::NotFound(add(text)),
            Self::Refused(text) => Self::Refused(add(text)),
            Self::Forbidden(text) => Self::Forbidden(add(text)),
            Self::Unavailable(text) => Self::Unavailable(add(text)),
            Self::Internal(text) => Self::Internal(add(text)),
            Self::Store(error) => Self::Store(error),
        }
    }

    /// Whether the same may work a moment later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Store(_))
    }
}

impl From<Malformed> for Fault {
    fn from(error: Malformed) -> Self {
        Self::Invalid(error.to_string())
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<IdentityError> for Fault {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::Request { .. } | IdentityError::Name { .. } => {
                Self::Invalid(error.to_string())
            }
            _ => Self::Internal(error.to_string()),
        }
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        if error.is_retryable() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

impl From<VaultError> for Fault {
    fn from(error: VaultError) -> Self {
        if error.is_retryable() {
            Self::Unavailable(error.to_string())
        } else {
            Self::Refused(error.to_string())
        }
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = match &fault {
            Fault::Invalid(_) => Code::InvalidArgument,
            Fault::NotFound(_) => Code::NotFound,
            Fault::Refused(_) => Code::FailedPrecondition,
            Fault::Forbidden(_) => Code::PermissionDenied,
            Fault::Unavailable(_) => Code::Unavailable,
            Fault::Store(_) | Fault::Internal(_) => Code::Internal,
        };
        if code == Code::Internal {
            tracing::error!(error = %fault, "a request failed");
        }
        Self::new(code, fault.to_string())
    }
}

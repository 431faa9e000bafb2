//! Why a source could not do what it was asked, told so that the caller can branch and a person can act.

use holdfast_vault::VaultError;

/// Whether another try is worth it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureClass {
    /// Worth another try: the network, the storage, a server that restarts.
    Retryable,
    /// Another try ends the same way: wrong password, unknown database.
    Permanent,
    /// Nothing was done because a condition forbids it: connected clients, too little disk, a subscription.
    Refused,
    /// The run was cancelled.
    Cancelled,
}

/// A failed operation of a source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The run was cancelled; children are ended, half-made copies gone.
    #[error("cancelled")]
    Cancelled,
    /// Everything else: what is wrong and where, and what to do next.
    #[error("{message}")]
    Failed {
        /// Whether another try is worth it.
        class: FailureClass,
        /// What is wrong and where, in one sentence, without secrets.
        message: String,
        /// What to do next; may be empty.
        hint: String,
    },
}

impl SourceError {
    /// Another try may succeed.
    pub fn retryable(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::failed(FailureClass::Retryable, message, hint)
    }

    /// Another try ends the same way.
    pub fn permanent(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::failed(FailureClass::Permanent, message, hint)
    }

    /// Nothing was done.
    pub fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::failed(FailureClass::Refused, message, hint)
    }

    fn failed(class: FailureClass, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed {
            class,
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// Whether another try is worth it.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Vault(VaultError::Cancelled) | Self::Cancelled => FailureClass::Cancelled,
            Self::Vault(error) if error.is_retryable() => FailureClass::Retryable,
            Self::Vault(_) => FailureClass::Permanent,
            Self::Failed { class, .. } => *class,
        }
    }

    /// What to do next; may be empty.
    #[must_use]
    pub fn hint(&self) -> &str {
        match self {
            Self::Failed { hint, .. } => hint,
            Self::Vault(_) | Self::Cancelled => "",
        }
    }
}

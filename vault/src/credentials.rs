//! Credentials of an S3 server, replaceable while work is going on.
//!
//! Sessions of a token service end in the middle of a long backup; whoever renews them puts the new
//! ones into the [`CredentialsCell`] and the next request is signed with them. Nothing here caches:
//! a replaced credential is never used again.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::SecretString;

/// One set of S3 credentials.
#[derive(Clone)]
pub struct S3Credentials {
    /// The public half.
    pub access_key_id: String,
    /// The secret half.
    pub secret_access_key: SecretString,
    /// Present for sessions of a token service.
    pub session_token: Option<SecretString>,
    /// When the session ends; `None` for static keys.
    pub expires_at: Option<jiff::Timestamp>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("session", &self.session_token.is_some())
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Credentials shared by everything that signs requests for one vault.
#[derive(Clone, Debug)]
pub struct CredentialsCell {
    current: Arc<RwLock<S3Credentials>>,
}

impl CredentialsCell {
    /// A cell that holds `credentials`.
    pub fn new(credentials: S3Credentials) -> CredentialsCell {
        CredentialsCell {
            current: Arc::new(RwLock::new(credentials)),
        }
    }

    /// Every request from now on is signed with `credentials`.
    pub fn replace(&self, credentials: S3Credentials) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    /// When the current session ends; `None` for static keys.
    pub fn expires_at(&self) -> Option<jiff::Timestamp> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .expires_at
    }

    /// A copy of what requests are signed with now.
    pub fn current(&self) -> S3Credentials {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_credential_is_seen_by_every_clone_and_never_printed() {
        let make = |key: &str| S3Credentials {
            access_key_id: key.to_owned(),
            secret_access_key: "hush-hush".to_owned().into(),
            session_token: Some("hush-token".to_owned().into()),
            expires_at: None,
        };
        let cell = CredentialsCell::new(make("first"));
        let clone = cell.clone();
        cell.replace(make("second"));
        assert_eq!(clone.current().access_key_id, "second");
        assert!(!format!("{clone:?}").contains("hush"), "{clone:?}");
    }
}

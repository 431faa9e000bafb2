//! Why an identity could not be made, read or accepted.

use holdfast_config::PrivateFileError;

/// Everything that goes wrong with keys and certificates before a connection exists.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A file with keys could not be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A text that should hold a key or a certificate does not.
    #[error("{what} cannot be read: {reason}")]
    Malformed {
        /// What was being read: "the certificate", "the private key", ...
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A certificate says nothing we understand about who it belongs to.
    #[error(
        "the certificate does not name an agent, an operator or a coordinator of ours: {reason}"
    )]
    NotOurs {
        /// What is missing or odd.
        reason: String,
    },
    /// A name that cannot stand in a certificate.
    #[error("{name:?} cannot be a name: {reason}")]
    Name {
        /// The name refused.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A certificate signing request whose sender does not hold the key, or whose key we do not take.
    #[error("the certificate signing request is refused: {reason}")]
    Request {
        /// Why.
        reason: String,
    },
    /// Private key and certificate do not belong together.
    #[error("the private key does not belong to the certificate of {name:?}")]
    KeyMismatch {
        /// The name in the certificate.
        name: String,
    },
    /// The certificate was signed by somebody else.
    #[error(
        "the certificate of {name:?} was not issued by the certificate authority given with it"
    )]
    OtherAuthority {
        /// The name in the certificate.
        name: String,
    },
    /// A lifetime that ends before it begins, or after the authority's own.
    #[error("a certificate cannot be issued: {reason}")]
    Validity {
        /// Why.
        reason: String,
    },
    /// The cryptographic library refused.
    #[error("cannot {action}: {reason}")]
    Crypto {
        /// What was being done.
        action: &'static str,
        /// What the library said.
        reason: String,
    },
}

impl IdentityError {
    pub(crate) fn malformed(what: &'static str) -> impl FnOnce(String) -> Self {
        move |reason| Self::Malformed { what, reason }
    }

    pub(crate) fn crypto<E: std::fmt::Display>(action: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Crypto {
            action,
            reason: error.to_string(),
        }
    }
}

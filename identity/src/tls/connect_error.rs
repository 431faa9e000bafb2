//! Why a connection to a coordinator was not made, in words that say what to do.

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::address::CoordinatorAddress;
use crate::tls::HANDSHAKE_DEADLINE;
use crate::tls::pin_verifier::PinMismatch;

/// Why the coordinator refused our certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It has run out, or one of the two clocks is wrong.
    Expired,
    /// It was revoked.
    Revoked,
    /// Another authority issued it.
    OtherAuthority,
    /// Any other reason.
    Other,
}

impl Refusal {
    fn advice(self) -> &'static str {
        match self {
            Self::Expired => {
                "our certificate has expired (or a clock is wrong): check the time on both hosts, \
                 then join again with a new invitation"
            }
            Self::Revoked => {
                "our certificate was revoked: ask an administrator, and join again with a new invitation"
            }
            Self::OtherAuthority => {
                "our certificate comes from another installation: join this one with an invitation of its own"
            }
            Self::Other => "our certificate was not accepted: look at the coordinator's log",
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.advice())
    }
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// No TCP connection.
    #[error(
        "cannot reach {address} ({error}); check that the coordinator runs and that nothing blocks the way"
    )]
    Unreachable {
        /// Where.
        address: CoordinatorAddress,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// Something is there but did not finish the handshake in time.
    #[error("{address} did not answer within {} s; check that a coordinator listens there", HANDSHAKE_DEADLINE.as_secs())]
    TimedOut {
        /// Where.
        address: CoordinatorAddress,
    },
    /// The coordinator refused our certificate.
    #[error("{address} refused us: {refusal}")]
    Refused {
        /// Where.
        address: CoordinatorAddress,
        /// Why.
        refusal: Refusal,
    },
    /// We refused the coordinator's certificate.
    #[error("{address} is not the coordinator we know: {reason}")]
    Untrusted {
        /// Where.
        address: CoordinatorAddress,
        /// What is wrong with its certificate, and what to do.
        reason: String,
    },
    /// TLS failed for another reason.
    #[error("no TLS connection with {address} ({error}); check that a coordinator listens there")]
    Tls {
        /// Where.
        address: CoordinatorAddress,
        /// What TLS said.
        #[source]
        error: io::Error,
    },
}

impl ConnectError {
    /// Finds the reason in the sources of an error of tonic (`tonic::Status`, `tonic::transport::Error`).
    pub fn find<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    /// True when trying again later can help without anybody doing anything on this host.
    pub fn is_worth_retrying(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Tls { .. }
        )
    }

    pub(crate) fn from_tls(address: &CoordinatorAddress, error: io::Error) -> Self {
        let address = address.clone();
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::AlertReceived(alert)) => match refusal(*alert) {
                Some(refusal) => Self::Refused { address, refusal },
                None => Self::Tls { address, error },
            },
            Some(rustls::Error::InvalidCertificate(why)) => Self::Untrusted {
                reason: untrusted(why),
                address,
            },
            _ => Self::Tls { address, error },
        }
    }
}

fn refusal(alert: AlertDescription) -> Option<Refusal> {
    match alert {
        AlertDescription::CertificateExpired => Some(Refusal::Expired),
        AlertDescription::CertificateRevoked => Some(Refusal::Revoked),
        AlertDescription::UnknownCA => Some(Refusal::OtherAuthority),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError
        | AlertDescription::AccessDenied => Some(Refusal::Other),
        _ => None,
    }
}

fn untrusted(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "another certificate authority issued its certificate; check the address, or join again \
             if the installation was made anew"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; check the time on both hosts, and restart the coordinator to renew it"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: this host's clock is more than a day late".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("{why}; use an address its certificate covers, or have this one added to it")
        }
        CertificateError::Other(other) if other.0.is::<PinMismatch>() => {
            format!(
                "{why}; the invitation is for another installation, or somebody stands between: \
                 check the address with whoever made the invitation"
            )
        }
        _ => why.to_string(),
    }
}

//! Certificates that were read and understood: an authority's, and those it issued.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::IdentityError;
use crate::pem;
use crate::subject::PeerIdentity;
use crate::validity::Validity;

/// SHA-256 of an authority's certificate (DER): what a join token carries to recognise it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CaPin([u8; 32]);

impl CaPin {
    /// From the 32 bytes of the digest.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub(crate) fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, der).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for CaPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CaPin {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        hex::decode_to_slice(digits, &mut bytes)
            .map_err(|error| IdentityError::malformed("the pin")(error.to_string()))?;
        Ok(Self(bytes))
    }
}

/// The certificate of an authority, without its key.
#[derive(Clone, PartialEq, Eq)]
pub struct CaCertificate {
    der: CertificateDer<'static>,
    not_after: Timestamp,
}

impl CaCertificate {
    /// Reads a certificate (DER) that says it is an authority's.
    pub fn from_der(der: Vec<u8>) -> Result<Self, IdentityError> {
        let refuse = IdentityError::malformed("the authority's certificate");
        let not_after = match X509Certificate::from_der(&der) {
            Ok((rest, parsed)) if rest.is_empty() && parsed.is_ca() => {
                parsed.validity().not_after.timestamp()
            }
            Ok(_) => return Err(refuse("it is not an authority's".to_owned())),
            Err(error) => return Err(refuse(error.to_string())),
        };
        let not_after =
            Timestamp::from_second(not_after).map_err(|error| refuse(error.to_string()))?;
        Ok(Self {
            der: der.into(),
            not_after,
        })
    }

    /// Reads a PEM text with exactly one certificate.
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        Self::from_der(pem::certificate(text)?.to_vec())
    }

    /// The certificate as PEM.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.der)
    }

    /// The certificate as DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// The pin that recognises this certificate.
    pub fn pin(&self) -> CaPin {
        CaPin::of(&self.der)
    }

    /// The authority signs nothing that outlives this.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// True when this authority's key signed `certificate`.
    pub(crate) fn has_issued(&self, certificate: &CertificateDer<'_>) -> bool {
        let ours = X509Certificate::from_der(&self.der);
        let theirs = X509Certificate::from_der(certificate);
        match (ours, theirs) {
            (Ok((_, ours)), Ok((_, theirs))) => {
                theirs.issuer() == ours.subject()
                    && theirs.verify_signature(Some(ours.public_key())).is_ok()
            }
            _ => false,
        }
    }
}

impl fmt::Debug for CaCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaCertificate")
            .field("pin", &self.pin())
            .field("not_after", &self.not_after)
            .finish()
    }
}

/// A certificate that an authority issued to one of us.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: CertificateDer<'static>,
    peer: PeerIdentity,
}

impl Certificate {
    /// Reads a certificate (DER) and whom it names.
    pub fn from_der(der: Vec<u8>) -> Result<Self, IdentityError> {
        Ok(Self {
            peer: PeerIdentity::from_certificate(&der)?,
            der: der.into(),
        })
    }

    /// Reads a PEM text with exactly one certificate.
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        Self::from_der(pem::certificate(text)?.to_vec())
    }

    /// The certificate as PEM.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", &self.der)
    }

    /// The certificate as DER.
    pub fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Whom it names, with its serial number and dates.
    pub fn peer(&self) -> &PeerIdentity {
        &self.peer
    }

    /// From when to when it holds.
    pub fn validity(&self) -> Result<Validity, IdentityError> {
        Validity::between(self.peer.not_before(), self.peer.not_after())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

//! A complete identity: private key, certificate, and the authority that issued it.
//!
//! Promise: an `Identity` in memory is consistent. Key and certificate fit, and the authority signed the
//! certificate; whoever holds one need not check again. Whether it has run out is asked with a clock.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::sign::CertifiedKey;
use secrecy::{ExposeSecret, SecretString};

use crate::certificate::{CaCertificate, Certificate};
use crate::error::IdentityError;
use crate::pem;
use crate::subject::PeerIdentity;
use crate::tls::provider;
use crate::validity::Validity;

/// Private key, certificate and authority of this process.
#[derive(Clone)]
pub struct Identity {
    key_pem: SecretString,
    certificate: Certificate,
    ca: CaCertificate,
    validity: Validity,
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// Puts an identity together after checking that its parts belong together.
    pub fn new(
        key_pem: &SecretString,
        certificate: Certificate,
        ca: CaCertificate,
    ) -> Result<Self, IdentityError> {
        let name = certificate.peer().name();
        if !ca.has_issued(certificate.der()) {
            return Err(IdentityError::OtherAuthority {
                name: name.to_owned(),
            });
        }
        let key_pem = pem::private_key_text(key_pem.expose_secret())?;
        // The authority goes along in the handshake, so that a peer that knows only its pin can verify.
        let chain = vec![certificate.der().clone(), ca.der().clone()];
        let certified = CertifiedKey::from_der(chain, pem::private_key(&key_pem)?, &provider())
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => IdentityError::KeyMismatch {
                    name: name.to_owned(),
                },
                other => IdentityError::crypto("use the private key")(other),
            })?;
        Ok(Self {
            key_pem: key_pem.as_str().into(),
            validity: certificate.validity()?,
            certificate,
            ca,
            certified: Arc::new(certified),
        })
    }

    /// Reads one PEM text: private key, certificate, authority's certificate, in this order.
    pub fn from_pem(text: &SecretString) -> Result<Self, IdentityError> {
        let certificates = pem::certificates(text.expose_secret())?;
        let [own, ca] = certificates.as_slice() else {
            return Err(IdentityError::malformed("the identity")(format!(
                "it has {} certificates; its own and the authority's are expected",
                certificates.len()
            )));
        };
        Self::new(
            text,
            Certificate::from_der(own.to_vec())?,
            CaCertificate::from_der(ca.to_vec())?,
        )
    }

    /// Everything as one PEM text, for [`from_pem`](Self::from_pem).
    pub fn to_pem(&self) -> SecretString {
        let mut text = self.key_pem.expose_secret().to_owned();
        text.push_str(&self.certificate.to_pem());
        text.push_str(&self.ca.to_pem());
        text.into()
    }

    /// The certificate.
    pub fn certificate(&self) -> &Certificate {
        &self.certificate
    }

    /// Who we are, as our certificate says it.
    pub fn peer(&self) -> &PeerIdentity {
        self.certificate.peer()
    }

    /// The authority that issued the certificate, and that we trust.
    pub fn ca(&self) -> &CaCertificate {
        &self.ca
    }

    /// When two thirds of the certificate's life are over.
    pub fn renew_at(&self) -> Timestamp {
        self.validity.renew_at()
    }

    /// True from two thirds of the certificate's life on.
    pub fn needs_renewal(&self, now: Timestamp) -> bool {
        now >= self.renew_at()
    }

    /// True when the certificate has run out: nobody accepts it, and it cannot renew itself any more.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.peer().is_expired(now)
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("peer", self.peer())
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

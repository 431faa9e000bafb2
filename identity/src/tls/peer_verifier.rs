//! Checks a client's certificate during the handshake: chain, dates, purpose, name, and the caller's say.
//!
//! No certificate is fine here (whoever serves the connection decides what answers without one); a wrong one
//! never is. The refusal is a TLS alert, so the client learns why: expired, revoked, unknown authority.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};

use crate::certificate::CaCertificate;
use crate::error::IdentityError;
use crate::subject::PeerIdentity;

/// Says whether a peer with a good certificate may come in; `false` refuses it as revoked. It runs in the
/// handshake, so it answers from memory.
pub type AdmitPeer = Arc<dyn Fn(&PeerIdentity) -> bool + Send + Sync>;

pub(crate) struct PeerVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    admit: Option<AdmitPeer>,
}

impl PeerVerifier {
    pub(crate) fn new(
        ca: &CaCertificate,
        admit: Option<AdmitPeer>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, IdentityError> {
        let roots = Arc::new(roots(ca)?);
        let webpki = WebPkiClientVerifier::builder_with_provider(roots, provider)
            .allow_unauthenticated()
            .build()
            .map_err(IdentityError::crypto("set up the check of clients"))?;
        Ok(Self { webpki, admit })
    }
}

/// A trust store with our authority alone.
pub(crate) fn roots(ca: &CaCertificate) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    roots
        .add(ca.der().clone())
        .map_err(IdentityError::crypto("trust the certificate authority"))?;
    Ok(roots)
}

impl ClientCertVerifier for PeerVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: a client sends the one certificate it has, and is told if it is the wrong one.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .webpki
            .verify_client_cert(end_entity, intermediates, now)?;
        let peer = PeerIdentity::from_certificate(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        match &self.admit {
            Some(admit) if !admit(&peer) => {
                Err(Error::InvalidCertificate(CertificateError::Revoked))
            }
            _ => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

impl fmt::Debug for PeerVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerVerifier")
            .field("admit", &self.admit.is_some())
            .finish_non_exhaustive()
    }
}

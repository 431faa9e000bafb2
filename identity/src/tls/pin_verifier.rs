//! Checks a coordinator's certificate when only the pin of its authority is known: at the first join.
//!
//! The coordinator sends its authority's certificate along. The one whose SHA-256 equals the pin becomes the
//! only root, and against it the chain, the dates, the purpose and the name are verified as always. A
//! matching authority certificate alone proves nothing (it is public); the leaf it signed does.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};

use crate::certificate::CaPin;

/// The coordinator showed no certificate with the pinned fingerprint.
#[derive(Debug, thiserror::Error)]
#[error("no certificate it sent has the fingerprint {0}")]
pub(crate) struct PinMismatch(CaPin);

#[derive(Debug)]
pub(crate) struct PinVerifier {
    pin: CaPin,
    provider: Arc<CryptoProvider>,
}

impl PinVerifier {
    pub(crate) fn new(pin: CaPin, provider: Arc<CryptoProvider>) -> Self {
        Self { pin, provider }
    }

    /// The only root: the certificate in the chain that has the pinned fingerprint.
    fn pinned_root(&self, sent: &[CertificateDer<'_>]) -> Result<RootCertStore, Error> {
        let pinned = sent
            .iter()
            .find(|certificate| CaPin::of(certificate) == self.pin)
            .ok_or_else(|| {
                let mismatch = OtherError(Arc::new(PinMismatch(self.pin)));
                Error::InvalidCertificate(CertificateError::Other(mismatch))
            })?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        Ok(roots)
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let roots = Arc::new(self.pinned_root(intermediates)?);
        let provider = Arc::clone(&self.provider);
        let webpki = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

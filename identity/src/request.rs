//! A new key and the request to sign its public half; and the same request on the authority's side.
//!
//! Promise: the private key never leaves the host that made it. On the authority's side a request is a
//! public key with a proof of possession and nothing more: the names in it are not even kept.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair, SubjectPublicKeyInfo};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use secrecy::SecretString;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::authority::new_key;
use crate::certificate::{CaCertificate, Certificate};
use crate::error::IdentityError;
use crate::identity::Identity;
use crate::pem;
use crate::subject::check_name;

/// Longest request read, in bytes; ours have about 250.
const MAX_REQUEST_BYTES: usize = 16 * 1024;

/// Length of an uncompressed P-256 point: 0x04, x, y.
const P256_POINT_BYTES: usize = 65;

/// A private key made on this host, waiting for its certificate.
pub struct NewKey {
    key: KeyPair,
    request_der: Vec<u8>,
}

impl NewKey {
    /// Makes a P-256 key and a request for it. The name is for people who read the request: the authority
    /// puts in its own.
    pub fn generate(name: &str) -> Result<Self, IdentityError> {
        check_name(name)?;
        let key = new_key()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, DnValue::Utf8String(name.to_owned()));
        let request = params
            .serialize_request(&key)
            .map_err(IdentityError::crypto("write the signing request"))?;
        Ok(Self {
            request_der: request.der().to_vec(),
            key,
        })
    }

    /// The request to send, DER.
    pub fn request_der(&self) -> &[u8] {
        &self.request_der
    }

    /// The request to send, PEM.
    pub fn request_pem(&self) -> String {
        pem::encode("CERTIFICATE REQUEST", &self.request_der)
    }

    /// Joins the key with the certificate that came back, after checking that they belong together and
    /// that `ca` issued it.
    pub fn with_certificate(
        self,
        certificate: Certificate,
        ca: CaCertificate,
    ) -> Result<Identity, IdentityError> {
        let key_pem: SecretString = self.key.serialize_pem().into();
        Identity::new(&key_pem, certificate, ca)
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").finish_non_exhaustive()
    }
}

/// A signing request whose sender holds the private key.
#[derive(Debug)]
pub struct CertificateRequest {
    public_key: SubjectPublicKeyInfo,
}

impl CertificateRequest {
    /// Reads a request (DER), verifies its signature, and keeps its public key.
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let refuse = |reason: String| IdentityError::Request { reason };
        if der.len() > MAX_REQUEST_BYTES {
            return Err(refuse(format!("it has {} bytes", der.len())));
        }
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|error| refuse(format!("it cannot be read ({error})")))?;
        if !rest.is_empty() {
            return Err(refuse("it is followed by other bytes".to_owned()));
        }
        request
            .verify_signature()
            .map_err(|_| refuse("its signature does not fit its key".to_owned()))?;
        let public_key =
            SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
                .map_err(|error| refuse(error.to_string()))?;
        check_p256(&public_key).map_err(refuse)?;
        Ok(Self { public_key })
    }

    /// The same from PEM.
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        let der =
            CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).map_err(|error| {
                IdentityError::Request {
                    reason: format!("it cannot be read ({error})"),
                }
            })?;
        Self::from_der(&der)
    }

    pub(crate) fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.public_key
    }
}

fn check_p256(public_key: &SubjectPublicKeyInfo) -> Result<(), String> {
    use rcgen::PublicKeyData as _;
    let fits = public_key.algorithm() == &rcgen::PKCS_ECDSA_P256_SHA256
        && public_key.der_bytes().len() == P256_POINT_BYTES;
    if fits {
        Ok(())
    } else {
        Err("its key is not ECDSA P-256".to_owned())
    }
}

//! The certificate authority: the one root that agents, operators and coordinators trust.
//!
//! Promise: a certificate names only what the authority was told to put into it. From a signing request the
//! public key is taken, after its signature proved that the sender holds the private half; its subject,
//! alternative names and extensions are never looked at. Keys are ECDSA P-256 throughout.

use std::net::IpAddr;
use std::path::Path;

use holdfast_config::{read_private, write_private};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber,
};
use rustls_pki_types::CertificateDer;
use secrecy::{ExposeSecret, SecretString};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificate::{CaCertificate, Certificate};
use crate::error::IdentityError;
use crate::identity::Identity;
use crate::pem;
use crate::random;
use crate::request::CertificateRequest;
use crate::subject::{Role, Subject, check_name};
use crate::validity::{BACKDATED, Validity};

/// Days of an authority's life: ten years.
const AUTHORITY_DAYS: i64 = 3652;

/// A certificate authority with its private key.
pub struct CertificateAuthority {
    certificate: CaCertificate,
    key: KeyPair,
}

impl CertificateAuthority {
    /// A new authority for ten years from `now`, named `name` in its certificate.
    pub fn create(name: &str, now: Timestamp) -> Result<Self, IdentityError> {
        check_name(name)?;
        let key = new_key()?;
        let end = now.saturating_add(SignedDuration::from_hours(24 * AUTHORITY_DAYS));
        let begin = now.saturating_sub(BACKDATED);
        let (Ok(begin), Ok(end)) = (begin, end) else {
            return Err(IdentityError::Validity {
                reason: "the clock is out of range".to_owned(),
            });
        };
        let mut params = parameters(name, Validity::between(begin, end)?)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let signed = params
            .self_signed(&key)
            .map_err(IdentityError::crypto("sign the authority's certificate"))?;
        Ok(Self {
            certificate: CaCertificate::from_der(signed.der().to_vec())?,
            key,
        })
    }

    /// Reads key and certificate from one PEM text.
    pub fn from_pem(text: &SecretString) -> Result<Self, IdentityError> {
        let key = KeyPair::from_pem(&pem::private_key_text(text.expose_secret())?)
            .map_err(IdentityError::crypto("read the authority's private key"))?;
        let certificate = CaCertificate::from_pem(text.expose_secret())?;
        check_key(&certificate, &key)?;
        Ok(Self { certificate, key })
    }

    /// Key and certificate as one PEM text, for [`from_pem`](Self::from_pem).
    pub fn to_pem(&self) -> SecretString {
        let mut text = self.key.serialize_pem();
        text.push_str(&self.certificate.to_pem());
        text.into()
    }

    /// Reads an authority from a file that only its owner may read.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        Self::from_pem(&pem::text(&read_private(path)?)?)
    }

    /// Writes the authority to a file (0600), in one step. The caller decides whether one may be replaced.
    pub fn save(&self, path: &Path) -> Result<(), IdentityError> {
        Ok(write_private(
            path,
            self.to_pem().expose_secret().as_bytes(),
        )?)
    }

    /// The authority's certificate: what others trust, and what join tokens pin.
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// A new key with a certificate for a coordinator that is reached under `hosts` (names or IP addresses).
    pub fn issue_coordinator(
        &self,
        subject: &Subject,
        hosts: &[String],
        validity: Validity,
    ) -> Result<Identity, IdentityError> {
        if hosts.is_empty() {
            return Err(IdentityError::Validity {
                reason: "a coordinator needs at least one host name or address".to_owned(),
            });
        }
        self.issue_with_key(subject, hosts, validity)
    }

    /// A new key with a certificate, made here: for the first operator of a new installation.
    pub fn issue(&self, subject: &Subject, validity: Validity) -> Result<Identity, IdentityError> {
        self.issue_with_key(subject, &[], validity)
    }

    fn issue_with_key(
        &self,
        subject: &Subject,
        hosts: &[String],
        validity: Validity,
    ) -> Result<Identity, IdentityError> {
        let key = new_key()?;
        let certificate = self.certify(&key, subject, hosts, validity)?;
        Identity::new(
            &key.serialize_pem().into(),
            certificate,
            self.certificate.clone(),
        )
    }

    /// Signs the public key of `request` for `subject`. Nothing else of the request is used.
    pub fn sign(
        &self,
        request: &CertificateRequest,
        subject: &Subject,
        validity: Validity,
    ) -> Result<Certificate, IdentityError> {
        self.certify(request.public_key(), subject, &[], validity)
    }

    fn certify(
        &self,
        public_key: &impl PublicKeyData,
        subject: &Subject,
        hosts: &[String],
        validity: Validity,
    ) -> Result<Certificate, IdentityError> {
        let validity = validity.cut_at(self.certificate.not_after())?;
        let mut params = parameters(subject.name(), validity)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages(subject.role());
        params.subject_alt_names = alternative_names(subject, hosts)?;
        let issuer = Issuer::from_ca_cert_der(self.certificate.der(), &self.key)
            .map_err(IdentityError::crypto("use the authority's certificate"))?;
        let signed = params
            .signed_by(public_key, &issuer)
            .map_err(IdentityError::crypto("sign the certificate"))?;
        Certificate::from_der(signed.der().to_vec())
    }
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("pin", &self.certificate.pin())
            .finish_non_exhaustive()
    }
}

pub(crate) fn new_key() -> Result<KeyPair, IdentityError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .map_err(IdentityError::crypto("make a private key"))
}

fn parameters(name: &str, validity: Validity) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::default();
    params.not_before = date(validity.not_before())?;
    params.not_after = date(validity.not_after())?;
    params.serial_number = Some(serial()?);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, DnValue::Utf8String(name.to_owned()));
    Ok(params)
}

/// An agent or an operator opens connections; a coordinator accepts them, and asks other coordinators.
fn usages(role: Role) -> Vec<ExtendedKeyUsagePurpose> {
    match role {
        Role::Agent | Role::Operator(_) => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Role::Coordinator => vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ],
    }
}

fn alternative_names(subject: &Subject, hosts: &[String]) -> Result<Vec<SanType>, IdentityError> {
    let ascii = |text: String| {
        text.clone().try_into().map_err(|_| IdentityError::Name {
            name: text,
            reason: "a host name is written in ASCII (xn--... for others)",
        })
    };
    let mut names = vec![SanType::URI(ascii(subject.uri())?)];
    for host in hosts {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        names.push(match bare.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(ascii(checked_host(host)?)?),
        });
    }
    Ok(names)
}

fn checked_host(host: &str) -> Result<String, IdentityError> {
    match rustls_pki_types::DnsName::try_from(host) {
        Ok(_) => Ok(host.to_owned()),
        Err(_) => Err(IdentityError::Name {
            name: host.to_owned(),
            reason: "it is neither a host name nor an IP address (no scheme, no port)",
        }),
    }
}

/// 126 random bits: unique without a counter to keep. The two highest bits are 01, so that the number is
/// positive and always 16 bytes long.
fn serial() -> Result<SerialNumber, IdentityError> {
    let mut bytes = random::bytes::<16>()?;
    bytes[0] = (bytes[0] & 0x3f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn date(at: Timestamp) -> Result<time::OffsetDateTime, IdentityError> {
    time::OffsetDateTime::from_unix_timestamp(at.as_second())
        .map_err(IdentityError::crypto("write a date"))
}

fn check_key(certificate: &CaCertificate, key: &KeyPair) -> Result<(), IdentityError> {
    let der: &CertificateDer<'_> = certificate.der();
    let (_, parsed) = X509Certificate::from_der(der)
        .map_err(|error| IdentityError::malformed("the certificate")(error.to_string()))?;
    if parsed.public_key().raw == key.subject_public_key_info() {
        return Ok(());
    }
    Err(IdentityError::KeyMismatch {
        name: "the certificate authority".to_owned(),
    })
}

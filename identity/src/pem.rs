//! PEM texts: what is in them, in the order it stands there.

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;

use crate::error::IdentityError;

const KEY_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const KEY_END: &str = "-----END PRIVATE KEY-----";

/// The bytes of a PEM file as text.
pub(crate) fn text(bytes: &[u8]) -> Result<SecretString, IdentityError> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned().into()),
        Err(_) => Err(IdentityError::malformed("the file")(
            "it is not a PEM text".to_owned(),
        )),
    }
}

/// The PKCS#8 private key in a text that may hold certificates too, as PEM.
pub(crate) fn private_key_text(text: &str) -> Result<zeroize::Zeroizing<String>, IdentityError> {
    let begin = text.find(KEY_BEGIN);
    let end = text.find(KEY_END).map(|at| at + KEY_END.len());
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => {
            Ok(zeroize::Zeroizing::new(format!("{}\n", &text[begin..end])))
        }
        _ => Err(IdentityError::malformed("the private key")(format!(
            "there is no {KEY_BEGIN} in it"
        ))),
    }
}

/// The private key in a text, decoded.
pub(crate) fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, IdentityError> {
    PrivateKeyDer::from_pem_slice(private_key_text(text)?.as_bytes())
        .map_err(|error| IdentityError::malformed("the private key")(error.to_string()))
}

/// All certificates in a text.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| IdentityError::malformed("the certificate")(error.to_string()))
}

/// The one certificate in a text.
pub(crate) fn certificate(text: &str) -> Result<CertificateDer<'static>, IdentityError> {
    let mut all = certificates(text)?;
    match (all.pop(), all.is_empty()) {
        (Some(certificate), true) => Ok(certificate),
        (None, _) => Err(IdentityError::malformed("the certificate")(
            "there is no certificate in the text".to_owned(),
        )),
        (Some(_), false) => Err(IdentityError::malformed("the certificate")(
            "there are several where one is expected".to_owned(),
        )),
    }
}

/// `der` as PEM under `label`, 64 characters a line as RFC 7468 has it.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

//! The password of a repository, derived so that one secret opens a whole vault.
//!
//! password = hex(HMAC-SHA256(vault secret, "holdfast/repository/v1/" + source)). The key of the
//! HMAC is the ASCII text of the secret, so that
//! `printf %s holdfast/repository/v1/orders-db | openssl dgst -r -sha256 -hmac <secret>` computes
//! it with nothing of ours. An agent gets the password of its own source and can compute no other.

use aws_lc_rs::{hmac, rand};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

/// What precedes the source's name in the message of the HMAC.
pub const PASSWORD_CONTEXT: &str = "holdfast/repository/v1/";

/// The restic password of `source`'s repository: 64 hexadecimal digits.
pub fn repository_password(vault_secret: &SecretString, source: &str) -> SecretString {
    let key = hmac::Key::new(hmac::HMAC_SHA256, vault_secret.expose_secret().as_bytes());
    let tag = hmac::sign(&key, format!("{PASSWORD_CONTEXT}{source}").as_bytes());
    SecretString::from(hex::encode(tag.as_ref()))
}

/// A new vault secret: 32 random bytes as 64 hexadecimal digits.
pub fn new_vault_secret() -> SecretString {
    let mut bytes = Zeroizing::new([0_u8; 32]);
    random(bytes.as_mut());
    SecretString::from(hex::encode(bytes.as_ref()))
}

/// Fills `bytes` from the operating system's generator.
///
/// aws-lc aborts the process when the kernel gives no entropy; the error its signature carries
/// cannot occur, and a key of zeros must never leave here, so it ends the process as well.
pub(crate) fn random(bytes: &mut [u8]) {
    if rand::fill(bytes).is_err() {
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_what_openssl_computes() {
        // printf %s holdfast/repository/v1/orders-db | openssl dgst -r -sha256 -hmac 0123abcd
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg("printf %s holdfast/repository/v1/orders-db | openssl dgst -r -sha256 -hmac 0123abcd")
            .output()
            .expect("openssl runs");
        let expected = String::from_utf8(output.stdout).expect("text");
        let password = repository_password(&SecretString::from("0123abcd"), "orders-db");
        assert_eq!(
            Some(password.expose_secret()),
            expected.split_whitespace().next()
        );
    }

    #[test]
    fn every_secret_is_new() {
        let (one, two) = (new_vault_secret(), new_vault_secret());
        assert_eq!(one.expose_secret().len(), 64);
        assert_ne!(one.expose_secret(), two.expose_secret());
    }
}

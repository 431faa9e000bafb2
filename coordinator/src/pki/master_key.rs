//! The master key: seals the secrets of vaults in the state.
//!
//! AES-256-GCM with a random nonce of 96 bits. The additional data is `<vault id>/<column>`, so a sealed secret that is
//! moved to another vault or column does not open. Sealed form: nonce, ciphertext, tag. The key lies in a file of its own
//! (64 hex digits, 0600), never in the state: who has the database alone has no secret.

use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use holdfast_config::{PrivateFileError, read_private, write_private};
use holdfast_proto::ids::VaultId;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// Length of the key in bytes.
const KEY_BYTES: usize = 32;

/// The master key could not be had, or does not fit.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Its file could not be read or written.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// Its file holds something else.
    #[error("{place} is not a master key: 64 hexadecimal digits are expected")]
    Malformed {
        /// The file.
        place: String,
    },
    /// The cryptographic library refused.
    #[error("cannot {0} a secret of a vault")]
    Crypto(&'static str),
    /// A secret was sealed with another key, or changed since.
    #[error(
        "a secret of this vault does not open with the master key: restore the master.key that belongs to this state, or add the vault again with the secret from its recovery kit"
    )]
    WrongKey,
}

/// Seals and opens.
pub struct MasterKey(RandomizedNonceKey);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(hidden)")
    }
}

impl MasterKey {
    /// Writes a new key to `path`.
    pub fn create(path: &Path) -> Result<(), MasterKeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        aws_lc_rs::rand::fill(bytes.as_mut()).map_err(|_| MasterKeyError::Crypto("make"))?;
        let text = Zeroizing::new(hex::encode(bytes.as_ref()) + "\n");
        Ok(write_private(path, text.as_bytes())?)
    }

    /// Reads the key from `path`.
    pub fn load(path: &Path) -> Result<Self, MasterKeyError> {
        let text = read_private(path)?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        hex::decode_to_slice(text.trim_ascii(), bytes.as_mut()).map_err(|_| {
            MasterKeyError::Malformed {
                place: path.display().to_string(),
            }
        })?;
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes.as_ref())
            .map_err(|_| MasterKeyError::Crypto("use the key for"))?;
        Ok(Self(key))
    }

    /// Seals `secret` for one column of one vault.
    pub fn seal(
        &self,
        vault: VaultId,
        column: &str,
        secret: &SecretString,
    ) -> Result<Vec<u8>, MasterKeyError> {
        let mut sealed = secret.expose_secret().as_bytes().to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::from(context(vault, column)), &mut sealed)
            .map_err(|_| MasterKeyError::Crypto("seal"))?;
        let mut whole = nonce.as_ref().to_vec();
        whole.append(&mut sealed);
        Ok(whole)
    }

    /// Opens what [`seal`](Self::seal) made for the same column of the same vault.
    pub fn open(
        &self,
        vault: VaultId,
        column: &str,
        sealed: &[u8],
    ) -> Result<SecretString, MasterKeyError> {
        let (nonce, body) = sealed
            .split_at_checked(NONCE_LEN)
            .ok_or(MasterKeyError::WrongKey)?;
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_| MasterKeyError::WrongKey)?;
        let mut bytes = Zeroizing::new(body.to_vec());
        let plain = self
            .0
            .open_in_place(nonce, Aad::from(context(vault, column)), &mut bytes)
            .map_err(|_| MasterKeyError::WrongKey)?;
        let text = std::str::from_utf8(plain).map_err(|_| MasterKeyError::WrongKey)?;
        Ok(SecretString::from(text))
    }
}

fn context(vault: VaultId, column: &str) -> Vec<u8> {
    format!("{vault}/{column}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(folder: &Path) -> MasterKey {
        let path = folder.join("master.key");
        MasterKey::create(&path).expect("created");
        MasterKey::load(&path).expect("loaded")
    }

    #[test]
    fn a_sealed_secret_opens_in_its_place_only() {
        let folder = tempfile::tempdir().expect("folder");
        let key = key(folder.path());
        let (vault, other) = (VaultId::new(), VaultId::new());
        let sealed = key
            .seal(vault, "secret", &"open sesame".into())
            .expect("sealed");
        let opened = key.open(vault, "secret", &sealed).expect("opened");
        assert_eq!(opened.expose_secret(), "open sesame");
        assert!(key.open(other, "secret", &sealed).is_err());
        assert!(key.open(vault, "other", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(key.open(vault, "secret", &changed).is_err(), "byte {at}");
            assert!(
                key.open(vault, "secret", &sealed[..at]).is_err(),
                "cut at {at}"
            );
        }
    }

    #[test]
    fn another_key_opens_nothing_and_says_what_to_do() {
        let (one, two) = (
            tempfile::tempdir().expect("a"),
            tempfile::tempdir().expect("b"),
        );
        let vault = VaultId::new();
        let sealed = key(one.path())
            .seal(vault, "c", &"x".into())
            .expect("sealed");
        let error = key(two.path())
            .open(vault, "c", &sealed)
            .expect_err("refused");
        assert!(error.to_string().contains("master.key"));
    }
}

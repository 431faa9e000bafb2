//! Sealing: AES-256 in counter mode, authenticated by Poly1305-AES.
//!
//! The format is restic's (doc/design.rst, "Keys, Encryption and MAC"): `IV || ciphertext || tag`,
//! 16 random bytes, as many bytes as the plaintext, 16 bytes. The IV is both the counter's first
//! block and the nonce of the authenticator, whose one-time key is `r || AES-128(k, nonce)`. The
//! tag covers the ciphertext; it is compared, in constant time, before anything is decrypted, so
//! that no byte of a damaged object comes out.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::iv::FixedLength;
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Result, VaultError};
use crate::password::random;

/// Bytes of the initialisation vector before the ciphertext.
pub(crate) const IV_LEN: usize = 16;
/// Bytes of the tag behind the ciphertext.
pub(crate) const TAG_LEN: usize = 16;
/// What sealing adds.
pub(crate) const OVERHEAD: usize = IV_LEN + TAG_LEN;

const BLOCK: usize = 16;

/// The secrets of one repository, or those that a password stretches to.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(crate) struct KeyMaterial {
    /// AES-256 key.
    pub(crate) encrypt: [u8; 32],
    /// AES-128 key of the authenticator.
    pub(crate) mac_k: [u8; 16],
    /// Poly1305 key of the authenticator.
    pub(crate) mac_r: [u8; 16],
}

impl KeyMaterial {
    /// A new one from the operating system's generator.
    pub(crate) fn generate() -> KeyMaterial {
        let mut bytes = Zeroizing::new([0_u8; 64]);
        random(bytes.as_mut());
        KeyMaterial::from_bytes(&bytes)
    }

    /// 32 bytes of AES key, 16 of `k`, 16 of `r`.
    pub(crate) fn from_bytes(bytes: &[u8; 64]) -> KeyMaterial {
        let mut material = KeyMaterial {
            encrypt: [0; 32],
            mac_k: [0; 16],
            mac_r: [0; 16],
        };
        material.encrypt.copy_from_slice(&bytes[..32]);
        material.mac_k.copy_from_slice(&bytes[32..48]);
        material.mac_r.copy_from_slice(&bytes[48..]);
        clamp(&mut material.mac_r);
        material
    }
}

impl std::fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyMaterial(..)")
    }
}

/// Clears the bits that Poly1305 does not use, as restic does before it stores a key.
fn clamp(r: &mut [u8; 16]) {
    for at in [3, 7, 11, 15] {
        r[at] &= 15;
    }
    for at in [4, 8, 12] {
        r[at] &= 252;
    }
}

/// The bytes are not what was sealed with this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its authentication tag does not fit its bytes")]
pub(crate) struct NotAuthentic;

/// Seals and opens with one set of keys. Shared by all threads.
#[derive(Debug)]
pub(crate) struct SealingKey {
    encrypt: EncryptingKey,
    mac_k: EncryptingKey,
    mac_r: Zeroizing<[u8; 16]>,
}

impl SealingKey {
    /// Expands `material`.
    pub(crate) fn new(material: &KeyMaterial) -> Result<SealingKey> {
        let bad = |_| VaultError::Internal("the cipher refuses its key".to_owned());
        let encrypt = UnboundCipherKey::new(&AES_256, &material.encrypt).map_err(bad)?;
        let mac_k = UnboundCipherKey::new(&AES_128, &material.mac_k).map_err(bad)?;
        Ok(SealingKey {
            encrypt: EncryptingKey::ctr(encrypt).map_err(bad)?,
            mac_k: EncryptingKey::ecb(mac_k).map_err(bad)?,
            mac_r: Zeroizing::new(material.mac_r),
        })
    }

    /// `plaintext` sealed.
    pub(crate) fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(plaintext.len() + OVERHEAD);
        buffer.resize(IV_LEN, 0);
        buffer.extend_from_slice(plaintext);
        buffer.resize(plaintext.len() + OVERHEAD, 0);
        self.seal_in_place(&mut buffer)?;
        Ok(buffer)
    }

    /// Seals the plaintext that lies in `buffer` with [`IV_LEN`] bytes before and [`TAG_LEN`] behind it.
    pub(crate) fn seal_in_place(&self, buffer: &mut [u8]) -> Result<()> {
        let short = || VaultError::Internal("a buffer has no room for its seal".to_owned());
        let (iv, rest) = buffer.split_first_chunk_mut().ok_or_else(short)?;
        let (text, tag) = rest.split_last_chunk_mut().ok_or_else(short)?;
        random(iv);
        self.apply_stream(iv, text)?;
        *tag = self.tag(iv, text)?;
        Ok(())
    }

    /// Opens `sealed` where it lies; the plaintext is the slice given back.
    pub(crate) fn open_in_place<'a>(
        &self,
        sealed: &'a mut [u8],
    ) -> std::result::Result<&'a mut [u8], NotAuthentic> {
        let (iv, rest) = sealed.split_first_chunk_mut().ok_or(NotAuthentic)?;
        let (text, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(NotAuthentic)?;
        let expected = self.tag(iv, text).map_err(|_| NotAuthentic)?;
        verify_slices_are_equal(&expected, tag).map_err(|_| NotAuthentic)?;
        self.apply_stream(iv, text).map_err(|_| NotAuthentic)?;
        Ok(text)
    }

    /// The plaintext of `sealed`.
    pub(crate) fn open(&self, sealed: &[u8]) -> std::result::Result<Vec<u8>, NotAuthentic> {
        let mut buffer = sealed.to_vec();
        let length = self.open_in_place(&mut buffer)?.len();
        buffer.drain(..IV_LEN);
        buffer.truncate(length);
        Ok(buffer)
    }

    /// Counter mode is its own inverse.
    fn apply_stream(&self, iv: &[u8; IV_LEN], text: &mut [u8]) -> Result<()> {
        let context = EncryptionContext::Iv128(FixedLength::from(*iv));
        match self.encrypt.less_safe_encrypt(text, context) {
            Ok(_) => Ok(()),
            Err(_) => Err(VaultError::Internal("AES failed".to_owned())),
        }
    }

    fn tag(&self, nonce: &[u8; IV_LEN], text: &[u8]) -> Result<[u8; TAG_LEN]> {
        let mut key = Zeroizing::new([0_u8; 32]);
        key[..16].copy_from_slice(self.mac_r.as_ref());
        key[16..].copy_from_slice(nonce);
        self.mac_k
            .less_safe_encrypt(&mut key[16..], EncryptionContext::None)
            .map_err(|_| VaultError::Internal("AES failed".to_owned()))?;
        let mut poly = Poly1305::new((&*key).into());
        // Whole blocks take the vectorised path, which the other call does not have.
        let whole = text.len() / BLOCK * BLOCK;
        let (blocks, rest) = text.split_at(whole);
        if !blocks.is_empty() {
            poly.update_padded(blocks);
        }
        Ok(poly.compute_unpadded(rest).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> SealingKey {
        SealingKey::new(&KeyMaterial::from_bytes(&[7; 64])).expect("valid")
    }

    /// The example of "The Poly1305-AES message-authentication code", appendix B, first column.
    #[test]
    fn the_tag_is_bernsteins() {
        let mut bytes = [0; 64];
        bytes[32..48]
            .copy_from_slice(&hex::decode("ec074c835580741701425b623235add6").expect("hex"));
        bytes[48..].copy_from_slice(&hex::decode("851fc40c3467ac0be05cc20404f3f700").expect("hex"));
        let key = SealingKey::new(&KeyMaterial::from_bytes(&bytes)).expect("valid");
        let nonce = hex::decode("fb447350c4e868c52ac3275cf9d4327e").expect("hex");
        let tag = key
            .tag(
                nonce.as_slice().try_into().expect("16 bytes"),
                &[0xf3, 0xf6],
            )
            .expect("tag");
        assert_eq!(hex::encode(tag), "f4c633c3044fc145f84f335cb81953de");
    }

    #[test]
    fn the_same_plaintext_never_looks_the_same() {
        let key = key();
        let (one, two) = (key.seal(b"secret"), key.seal(b"secret"));
        assert_ne!(one.expect("sealed"), two.expect("sealed"));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(plaintext in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let sealed = key().seal(&plaintext).expect("sealed");
            prop_assert_eq!(sealed.len(), plaintext.len() + OVERHEAD);
            prop_assert_eq!(key().open(&sealed), Ok(plaintext));
        }

        #[test]
        fn a_flipped_bit_opens_nothing(length in 0_usize..500, at in any::<proptest::sample::Index>(), bit in 0..8) {
            let mut sealed = key().seal(&vec![1; length]).expect("sealed");
            let at = at.index(sealed.len());
            sealed[at] ^= 1_u8 << bit;
            prop_assert_eq!(key().open(&sealed), Err(NotAuthentic));
        }

        #[test]
        fn any_bytes_are_refused_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(key().open(&bytes), Err(NotAuthentic));
        }
    }
}

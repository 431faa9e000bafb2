//! Join tokens: what a new agent or operator needs to be let in once.
//!
//! Format: `hfjoin1.` and base64url (no padding) of: pin of the authority (32 bytes), token id (16 bytes, a
//! UUID), secret (32 bytes), the coordinator's address in UTF-8, and a checksum (the first 4 bytes of the
//! SHA-256 of all before it) that tells a truncated paste from a wrong token.
//!
//! Promise: the text appears only where `reveal` is called; `Debug` and `Display` show the id alone. The
//! coordinator stores the SHA-256 of the secret (32 random bytes need no slow hash) and compares in constant
//! time.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::address::CoordinatorAddress;
use crate::certificate::CaPin;
use crate::error::IdentityError;
use crate::random;

const PREFIX: &str = "hfjoin1.";
const PIN_END: usize = 32;
const ID_END: usize = PIN_END + 16;
const SECRET_END: usize = ID_END + 32;
const CHECKSUM_BYTES: usize = 4;

/// Longest token text read, in bytes.
const MAX_TOKEN_BYTES: usize = 1024;

/// Why a text is not a join token. The text itself is never repeated: part of it may be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not begin as tokens do.
    #[error(
        "this is not a join token: it does not begin with {PREFIX:?}. `holdfastctl agent invite NAME` prints one"
    )]
    Prefix,
    /// It was made by a version that writes another format.
    #[error(
        "this join token is of a newer format; install the version of Holdfast that the coordinator runs"
    )]
    NewerFormat,
    /// It was cut off, or a character was changed.
    #[error(
        "this join token is damaged or incomplete: copy the whole line that `holdfastctl agent invite` printed"
    )]
    Damaged,
    /// It is whole, but the address in it is not one.
    #[error("this join token names no usable coordinator address; make a new one")]
    Address,
}

/// The secret half of a join token.
pub struct JoinSecret(SecretBox<[u8; 32]>);

impl JoinSecret {
    /// A new random secret.
    pub fn generate() -> Result<Self, IdentityError> {
        Ok(Self::from_bytes(random::bytes()?))
    }

    /// From the bytes that came over the wire.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(SecretBox::new(Box::new(bytes)))
    }

    /// The bytes to send over the wire.
    pub fn expose_bytes(&self) -> &[u8; 32] {
        self.0.expose_secret()
    }

    /// What the coordinator stores.
    pub fn hash(&self) -> JoinSecretHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, self.expose_bytes()).as_ref());
        JoinSecretHash(hash)
    }
}

impl Clone for JoinSecret {
    fn clone(&self) -> Self {
        Self::from_bytes(*self.expose_bytes())
    }
}

impl fmt::Debug for JoinSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinSecret(hidden)")
    }
}

/// SHA-256 of a join secret. It opens nothing.
#[derive(Debug, Clone, Copy)]
pub struct JoinSecretHash([u8; 32]);

impl JoinSecretHash {
    /// From what was stored.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What to store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// True when `secret` is the one this hash was made of; takes the same time either way.
    pub fn matches(&self, secret: &JoinSecret) -> bool {
        verify_slices_are_equal(&self.0, &secret.hash().0).is_ok()
    }
}

/// A single-use invitation: where the coordinator is, how to recognise it, and the secret that lets one in.
#[derive(Clone)]
pub struct JoinToken {
    address: CoordinatorAddress,
    pin: CaPin,
    id: Uuid,
    secret: JoinSecret,
}

impl JoinToken {
    /// Puts a token together.
    pub fn new(address: CoordinatorAddress, pin: CaPin, id: Uuid, secret: JoinSecret) -> Self {
        Self {
            address,
            pin,
            id,
            secret,
        }
    }

    /// Where to join.
    pub fn address(&self) -> &CoordinatorAddress {
        &self.address
    }

    /// The pin of the authority the coordinator must show.
    pub fn pin(&self) -> CaPin {
        self.pin
    }

    /// The id under which the coordinator knows the token.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The secret.
    pub fn secret(&self) -> &JoinSecret {
        &self.secret
    }

    /// The whole token as text. Whoever has it can join: print it once, to a person.
    pub fn reveal(&self) -> SecretString {
        let mut bytes = Zeroizing::new(Vec::with_capacity(256));
        bytes.extend_from_slice(self.pin.as_bytes());
        bytes.extend_from_slice(self.id.as_bytes());
        bytes.extend_from_slice(self.secret.expose_bytes());
        bytes.extend_from_slice(self.address.to_string().as_bytes());
        let sum = checksum(&bytes);
        bytes.extend_from_slice(&sum);
        let mut text = PREFIX.to_owned();
        URL_SAFE_NO_PAD.encode_string(bytes.as_slice(), &mut text);
        text.into()
    }

    /// Reads a token; white space around it is ignored.
    pub fn parse(text: &SecretString) -> Result<Self, TokenError> {
        text.expose_secret().parse()
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = checked_bytes(text.trim())?;
        let address = std::str::from_utf8(&bytes[SECRET_END..]).map_err(|_| TokenError::Address)?;
        let array = |at: std::ops::Range<usize>| <[u8; 32]>::try_from(&bytes[at]);
        let pin = array(0..PIN_END).map_err(|_| TokenError::Damaged)?;
        let secret = array(ID_END..SECRET_END).map_err(|_| TokenError::Damaged)?;
        Ok(Self {
            address: address.parse().map_err(|_| TokenError::Address)?,
            pin: CaPin::from_bytes(pin),
            id: Uuid::from_slice(&bytes[PIN_END..ID_END]).map_err(|_| TokenError::Damaged)?,
            secret: JoinSecret::from_bytes(secret),
        })
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "join token {} for {}", self.id, self.address)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The bytes before the checksum, at least as many as the fixed parts need.
fn checked_bytes(text: &str) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let body = match text.strip_prefix(PREFIX) {
        Some(body) => body,
        None if is_other_version(text) => return Err(TokenError::NewerFormat),
        None => return Err(TokenError::Prefix),
    };
    if text.len() > MAX_TOKEN_BYTES {
        return Err(TokenError::Damaged);
    }
    let decoded = URL_SAFE_NO_PAD.decode(body);
    let mut bytes = Zeroizing::new(decoded.map_err(|_| TokenError::Damaged)?);
    if bytes.len() <= SECRET_END + CHECKSUM_BYTES {
        return Err(TokenError::Damaged);
    }
    let end = bytes.len() - CHECKSUM_BYTES;
    if checksum(&bytes[..end]) != bytes[end..] {
        return Err(TokenError::Damaged);
    }
    bytes.truncate(end);
    Ok(bytes)
}

fn is_other_version(text: &str) -> bool {
    let version = text
        .strip_prefix("hfjoin")
        .and_then(|rest| rest.split_once('.'))
        .map(|(version, _)| version);
    version.is_some_and(|v| !v.is_empty() && v.bytes().all(|byte| byte.is_ascii_digit()))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..CHECKSUM_BYTES]);
    sum
}

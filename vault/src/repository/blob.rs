//! Blobs: the pieces that streams and trees are cut into, and how one is read back.
//!
//! A blob is named by the SHA-256 of its plaintext. It is sealed by itself, compressed or not, and
//! lies somewhere in a pack. [`decode`] gives the plaintext out only when the tag, the length and
//! the hash are all right: no wrong byte ever leaves it.

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::hash::sha256;
use super::seal::{IV_LEN, OVERHEAD, SealingKey};
use crate::id::Id;

/// Longest plaintext of a data blob, restic's maximum and ours.
pub(crate) const MAX_DATA: usize = 8 * 1024 * 1024;
/// Longest plaintext that is accepted from a pack: a tree may be far longer than a data blob.
pub(crate) const MAX_PLAINTEXT: u32 = 1024 * 1024 * 1024;

/// What a blob holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BlobKind {
    /// A piece of a file.
    Data,
    /// A directory.
    Tree,
}

impl std::fmt::Display for BlobKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BlobKind::Data => "data blob",
            BlobKind::Tree => "tree blob",
        })
    }
}

/// A blob within a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedBlob {
    /// SHA-256 of the plaintext.
    pub(crate) id: Id,
    /// What it holds.
    pub(crate) kind: BlobKind,
    /// Where its sealed bytes begin.
    pub(crate) offset: u32,
    /// How many there are.
    pub(crate) length: u32,
    /// Length of the plaintext when the blob is compressed.
    pub(crate) uncompressed: Option<u32>,
}

impl PackedBlob {
    /// Length of the plaintext; `None` when the sealed bytes are too short to be any.
    pub(crate) fn plaintext_len(&self) -> Option<u32> {
        match self.uncompressed {
            Some(length) => Some(length),
            None => self.length.checked_sub(OVERHEAD as u32),
        }
    }
}

/// Plaintext that a blob turned out not to hold, in words.
pub(crate) type Mismatch = String;

/// Opens, decompresses and verifies the blob whose sealed bytes are `sealed`. One that is not
/// compressed is given out where it lies, without a copy.
pub(crate) fn decode(
    key: &SealingKey,
    blob: &PackedBlob,
    mut sealed: BytesMut,
) -> Result<Bytes, Mismatch> {
    let length = key
        .open_in_place(&mut sealed)
        .map_err(|error| error.to_string())?
        .len();
    let mut opened = sealed.split_off(IV_LEN);
    opened.truncate(length);
    let plaintext = match blob.uncompressed {
        None => opened.freeze(),
        Some(length) => decompress(&opened, length)?.into(),
    };
    if sha256(&plaintext) != blob.id {
        return Err("its content does not have the hash that is its name".to_owned());
    }
    Ok(plaintext)
}

fn decompress(frame: &[u8], length: u32) -> Result<Vec<u8>, Mismatch> {
    if length > MAX_PLAINTEXT {
        return Err(format!("it claims to be {length} bytes long"));
    }
    // Never more than the index says, so that a bomb stops at its promise.
    let plaintext = zstd::bulk::decompress(frame, length as usize)
        .map_err(|error| format!("it does not decompress ({error})"))?;
    if plaintext.len() != length as usize {
        return Err(format!(
            "it is {} bytes long instead of {length}",
            plaintext.len()
        ));
    }
    Ok(plaintext)
}

//! Packs: objects that hold many sealed blobs.
//!
//! `blob || ... || sealed header || u32 LE length of the sealed header` (restic doc/design.rst,
//! "Pack Format"). A header entry is one byte of type (bit 0: tree, bit 1: compressed), u32 LE
//! length of the sealed blob, u32 LE length of the plaintext when compressed, and the 32 bytes of
//! its id. The blobs lie one behind the other in the order of the header. Data and tree blobs never
//! share a pack.

use super::blob::{BlobKind, PackedBlob};
use super::seal::{OVERHEAD, SealingKey};
use crate::error::{Result, VaultError};
use crate::id::Id;

const TREE: u8 = 1;
const COMPRESSED: u8 = 2;
const PLAIN_ENTRY: usize = 1 + 4 + 32;
const COMPRESSED_ENTRY: usize = PLAIN_ENTRY + 4;
const LENGTH_FIELD: usize = 4;

/// The object that is pack `id`.
pub(crate) fn object_name(id: &Id) -> String {
    let hex = id.to_hex();
    format!("data/{}/{hex}", &hex[..2])
}

/// Upper bound of what `blobs` entries add to a pack.
pub(crate) const fn header_len(blobs: usize) -> usize {
    blobs * COMPRESSED_ENTRY + OVERHEAD + LENGTH_FIELD
}

/// The end of a pack that holds `blobs`.
pub(crate) fn trailer(key: &SealingKey, blobs: &[PackedBlob]) -> Result<Vec<u8>> {
    let mut header = Vec::with_capacity(blobs.len() * COMPRESSED_ENTRY);
    for blob in blobs {
        let tree = if blob.kind == BlobKind::Tree { TREE } else { 0 };
        let compressed = if blob.uncompressed.is_some() {
            COMPRESSED
        } else {
            0
        };
        header.push(tree | compressed);
        header.extend_from_slice(&blob.length.to_le_bytes());
        if let Some(length) = blob.uncompressed {
            header.extend_from_slice(&length.to_le_bytes());
        }
        header.extend_from_slice(blob.id.as_bytes());
    }
    let mut sealed = key.seal(&header)?;
    let length = u32::try_from(sealed.len())
        .map_err(|_| VaultError::Internal("a pack's header is too long".to_owned()))?;
    sealed.extend_from_slice(&length.to_le_bytes());
    Ok(sealed)
}

/// The blobs of the pack `bytes`, as its own header tells them: proof that what we write can be
/// read without an index.
#[cfg(test)]
pub(crate) fn read_header(
    key: &SealingKey,
    bytes: &[u8],
) -> std::result::Result<Vec<PackedBlob>, String> {
    let (body, length) = bytes
        .split_last_chunk::<LENGTH_FIELD>()
        .ok_or("it is too short for a pack")?;
    let length = u32::from_le_bytes(*length) as usize;
    let start = body
        .len()
        .checked_sub(length)
        .ok_or("its header is longer than itself")?;
    let header = key
        .open(&body[start..])
        .map_err(|error| format!("its header: {error}"))?;
    let blobs = parse_entries(&header)?;
    let end = blobs
        .last()
        .map_or(0, |blob| blob.offset as usize + blob.length as usize);
    if end != start {
        return Err(format!(
            "its header tells of {end} bytes of blobs, it has {start}"
        ));
    }
    Ok(blobs)
}

#[cfg(test)]
fn parse_entries(mut header: &[u8]) -> std::result::Result<Vec<PackedBlob>, String> {
    let mut blobs = Vec::new();
    let mut offset = 0_u32;
    while let Some((&kind, rest)) = header.split_first() {
        if kind > TREE | COMPRESSED {
            return Err(format!("its header has a blob of the unknown type {kind}"));
        }
        let short = "its header ends within an entry";
        let (length, rest) = rest.split_first_chunk().ok_or(short)?;
        let length = u32::from_le_bytes(*length);
        let (uncompressed, rest) = if kind & COMPRESSED == 0 {
            (None, rest)
        } else {
            let (plain, rest) = rest.split_first_chunk().ok_or(short)?;
            (Some(u32::from_le_bytes(*plain)), rest)
        };
        let (id, rest) = rest.split_first_chunk().ok_or(short)?;
        blobs.push(PackedBlob {
            id: Id::from_bytes(*id),
            kind: if kind & TREE == 0 {
                BlobKind::Data
            } else {
                BlobKind::Tree
            },
            offset,
            length,
            uncompressed,
        });
        offset = offset
            .checked_add(length)
            .ok_or("its blobs are longer than 4 GiB")?;
        header = rest;
    }
    Ok(blobs)
}

#[cfg(test)]
mod tests {
    use super::super::seal::KeyMaterial;
    use super::*;
    use proptest::prelude::*;

    fn key() -> SealingKey {
        SealingKey::new(&KeyMaterial::from_bytes(&[3; 64])).expect("valid")
    }

    fn some_blobs() -> impl Strategy<Value = Vec<PackedBlob>> {
        let blob = (
            any::<[u8; 32]>(),
            any::<bool>(),
            0..2000_u32,
            proptest::option::of(any::<u32>()),
        );
        proptest::collection::vec(blob, 0..20).prop_map(|parts| {
            let mut offset = 0;
            parts
                .into_iter()
                .map(|(id, tree, length, uncompressed)| {
                    let kind = if tree { BlobKind::Tree } else { BlobKind::Data };
                    let blob = PackedBlob {
                        id: Id::from_bytes(id),
                        kind,
                        offset,
                        length,
                        uncompressed,
                    };
                    offset += length;
                    blob
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn a_header_goes_there_and_back(blobs in some_blobs()) {
            let body: usize = blobs.iter().map(|blob| blob.length as usize).sum();
            let mut pack = vec![0; body];
            let trailer = trailer(&key(), &blobs).expect("sealed");
            prop_assert!(trailer.len() <= header_len(blobs.len()));
            pack.extend(trailer);
            prop_assert_eq!(read_header(&key(), &pack), Ok(blobs.clone()));
            pack.insert(0, 0);
            prop_assert!(read_header(&key(), &pack).is_err(), "a byte too many");
        }

        #[test]
        fn any_bytes_are_refused_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(read_header(&key(), &bytes).is_err());
            let _ = parse_entries(&bytes);
        }
    }
}

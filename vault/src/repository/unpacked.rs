//! Objects that are one sealed JSON document: index, snapshot, lock.
//!
//! The plaintext begins with the byte 2 and goes on with zstd of the JSON, or, as format version 1
//! had it, is the JSON itself, which begins with `{` or `[` (restic doc/design.rst, "Unpacked Data
//! Format"). The object's name is the SHA-256 of its sealed bytes, which is checked as well as the
//! tag: it tells an object that was swapped for another one of the same repository.

use std::io::Read;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::seal::SealingKey;
use crate::error::{Result, VaultError};
use crate::id::Id;

const COMPRESSED: u8 = 2;
const LEVEL: i32 = 3;
/// Longest JSON that is unfolded: restic's indexes stay far below, and a bomb must not fill memory.
const LONGEST: u64 = 256 * 1024 * 1024;

/// `document` as it is stored, and its name.
pub(crate) fn encode<T: Serialize>(key: &SealingKey, document: &T) -> Result<(Id, Bytes)> {
    let internal = |error: &dyn std::fmt::Display| VaultError::Internal(error.to_string());
    let mut encoder =
        zstd::Encoder::new(vec![COMPRESSED], LEVEL).map_err(|error| internal(&error))?;
    serde_json::to_writer(std::io::BufWriter::new(&mut encoder), document)
        .map_err(|error| internal(&error))?;
    let plaintext = encoder.finish().map_err(|error| internal(&error))?;
    let sealed = Bytes::from(key.seal(&plaintext)?);
    Ok((Id::of(&sealed), sealed))
}

/// Opens what is stored under `object`, whose last part is `id`.
pub(crate) fn decode<T: DeserializeOwned>(
    key: &SealingKey,
    object: &str,
    id: &Id,
    sealed: &[u8],
) -> Result<T> {
    let damaged = |why: &dyn std::fmt::Display| VaultError::damaged(object, why);
    if Id::of(sealed) != *id {
        return Err(damaged(&"its bytes do not have the hash that is its name"));
    }
    let plaintext = key.open(sealed).map_err(|error| damaged(&error))?;
    let json = unfold(&plaintext).map_err(|why| damaged(&why))?;
    serde_json::from_slice(&json).map_err(|error| damaged(&error))
}

/// The JSON within an opened object.
fn unfold(plaintext: &[u8]) -> std::result::Result<std::borrow::Cow<'_, [u8]>, String> {
    match plaintext.split_first() {
        Some((b'{' | b'[', _)) => Ok(plaintext.into()),
        Some((&COMPRESSED, frame)) => {
            let mut json = Vec::new();
            zstd::Decoder::new(frame)
                .and_then(|decoder| decoder.take(LONGEST + 1).read_to_end(&mut json))
                .map_err(|error| format!("it does not decompress ({error})"))?;
            if json.len() as u64 > LONGEST {
                return Err(format!("it is longer than {LONGEST} bytes"));
            }
            Ok(json.into())
        }
        Some((first, _)) => Err(format!("it is of the unknown encoding {first}")),
        None => Err("it is empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::seal::KeyMaterial;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn key() -> SealingKey {
        SealingKey::new(&KeyMaterial::from_bytes(&[9; 64])).expect("valid")
    }

    fn stored(plaintext: &[u8]) -> (Id, Vec<u8>) {
        let sealed = key().seal(plaintext).expect("sealed");
        (Id::of(&sealed), sealed)
    }

    #[test]
    fn a_document_goes_there_and_back_in_both_forms() {
        let document = json!({"a": [1, 2, 3]});
        let (id, sealed) = encode(&key(), &document).expect("encoded");
        let read: Value = decode(&key(), "x", &id, &sealed).expect("decoded");
        assert_eq!(read, document);
        let (id, sealed) = stored(br#"{"a":[1,2,3]}"#);
        let read: Value = decode(&key(), "x", &id, &sealed).expect("decoded");
        assert_eq!(read, document);
    }

    #[test]
    fn another_object_under_this_name_is_noticed() {
        let (id, _) = encode(&key(), &json!({"a": 1})).expect("encoded");
        let (_, other) = encode(&key(), &json!({"a": 2})).expect("encoded");
        let error = decode::<Value>(&key(), "snapshots/x", &id, &other).expect_err("swapped");
        assert!(
            error.to_string().contains("snapshots/x is damaged"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_plaintext_is_refused_calmly(plaintext in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (id, sealed) = stored(&plaintext);
            // A rare one may be JSON; what matters is that nothing panics.
            let _ = decode::<Value>(&key(), "x", &id, &sealed);
            let compressed = [&[COMPRESSED], &plaintext[..]].concat();
            let (id, sealed) = stored(&compressed);
            prop_assert!(decode::<Value>(&key(), "x", &id, &sealed).is_err());
        }
    }
}

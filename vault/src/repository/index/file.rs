//! The `index/` objects: which pack holds which blobs, as JSON.
//!
//! `{"packs":[{"id":..,"blobs":[{"id":..,"type":"data","offset":..,"length":..,
//! "uncompressed_length":..}]}]}` (restic doc/design.rst, "Indexing"). Other fields are ignored, as
//! restic does. We write at most [`MOST_BLOBS`] blobs into one, some 2 MiB.

use serde::{Deserialize, Serialize};

use super::super::blob::{BlobKind, PackedBlob};
use crate::id::Id;

/// Blobs after which an index file is closed: the JSON of so many is 4 MB, far below 8 MiB sealed.
pub(crate) const MOST_BLOBS: usize = 20_000;

/// One index file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IndexFile {
    #[serde(default)]
    packs: Vec<IndexPack>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct IndexPack {
    id: Id,
    blobs: Vec<IndexBlob>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct IndexBlob {
    id: Id,
    #[serde(rename = "type")]
    kind: BlobKind,
    offset: u32,
    length: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uncompressed_length: Option<u32>,
}

impl IndexFile {
    /// The file that names `packs`.
    pub(crate) fn of(packs: &[(Id, Vec<PackedBlob>)]) -> IndexFile {
        let pack = |(id, blobs): &(Id, Vec<PackedBlob>)| IndexPack {
            id: *id,
            blobs: blobs.iter().map(IndexBlob::from).collect(),
        };
        IndexFile {
            packs: packs.iter().map(pack).collect(),
        }
    }

    /// The packs it names.
    pub(crate) fn into_packs(self) -> Vec<(Id, Vec<PackedBlob>)> {
        let blobs = |pack: &IndexPack| pack.blobs.iter().map(PackedBlob::from).collect();
        self.packs
            .iter()
            .map(|pack| (pack.id, blobs(pack)))
            .collect()
    }
}

impl From<&PackedBlob> for IndexBlob {
    fn from(blob: &PackedBlob) -> IndexBlob {
        IndexBlob {
            id: blob.id,
            kind: blob.kind,
            offset: blob.offset,
            length: blob.length,
            uncompressed_length: blob.uncompressed,
        }
    }
}

impl From<&IndexBlob> for PackedBlob {
    fn from(blob: &IndexBlob) -> PackedBlob {
        PackedBlob {
            id: blob.id,
            kind: blob.kind,
            offset: blob.offset,
            length: blob.length,
            // restic writes no field for a blob that is not compressed; 0 means the same.
            uncompressed: blob.uncompressed_length.filter(|length| *length != 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn restics_example_is_read() {
        let json = r#"{
          "supersedes": ["ed54ae36197f4745ebc4b54d10e0f623eaaaedd03013eb7ae90df881b7781452"],
          "packs": [{
            "id": "73d04e6125cf3c28a299cc2f3cca3b78ceac396e4fcf9575e34536b26782413c",
            "blobs": [
              {"id": "3ec79977ef0cf5de7b08cd12b874cd0f62bbaf7f07f3497a5b1bbcc8cb39b1ce", "type": "data", "offset": 0, "length": 38},
              {"id": "9ccb846e60d90d4eb915848add7aa7ea1e4bbabfc60e573db9f7bfb2789afbae", "type": "tree", "offset": 38, "length": 112, "uncompressed_length": 511}
            ]
          }],
          "packs_to_delete": []
        }"#;
        let file: IndexFile = serde_json::from_str(json).expect("valid");
        let packs = file.into_packs();
        let (_, blobs) = &packs[0];
        assert_eq!(
            (blobs[0].kind, blobs[0].uncompressed),
            (BlobKind::Data, None)
        );
        assert_eq!(
            (blobs[1].kind, blobs[1].uncompressed),
            (BlobKind::Tree, Some(511))
        );
        assert_eq!(IndexFile::of(&packs).into_packs(), packs);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (what, json) in [
            (
                "a negative offset",
                r#"{"packs":[{"id":"73d04e6125cf3c28a299cc2f3cca3b78ceac396e4fcf9575e34536b26782413c","blobs":[{"id":"73d04e6125cf3c28a299cc2f3cca3b78ceac396e4fcf9575e34536b26782413c","type":"data","offset":-1,"length":38}]}]}"#,
            ),
            (
                "a length beyond 32 bits",
                r#"{"packs":[{"id":"73d04e6125cf3c28a299cc2f3cca3b78ceac396e4fcf9575e34536b26782413c","blobs":[{"id":"73d04e6125cf3c28a299cc2f3cca3b78ceac396e4fcf9575e34536b26782413c","type":"data","offset":1,"length":5000000000}]}]}"#,
            ),
            (
                "an unknown type",
                r#"{"packs":[{"id":"73d04e6125cf3c28a299cc2f3cca3b78ceac396e4fcf9575e34536b26782413c","blobs":[{"id":"73d04e6125cf3c28a299cc2f3cca3b78ceac396e4fcf9575e34536b26782413c","type":"bush","offset":1,"length":5}]}]}"#,
            ),
            ("a short id", r#"{"packs":[{"id":"73d0","blobs":[]}]}"#),
        ] {
            assert!(serde_json::from_str::<IndexFile>(json).is_err(), "{what}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = serde_json::from_slice::<IndexFile>(&bytes);
        }
    }
}

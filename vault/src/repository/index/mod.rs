//! Where every blob lies: the index in memory.
//!
//! An entry takes 48 bytes (id 32, pack 4, offset 4, length 4, plaintext length 4), a pack 32; there
//! is no hash table. Entries are spread over 256 buckets by the first byte of their id, each a
//! sorted array that is searched by bisection and grows by little steps, so that opening a large
//! repository peaks little above what stays.
//!
//! The same blob may lie in several packs (two backups at once store it twice). All places are
//! kept: when one is damaged the others still serve.

mod file;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use file::{IndexFile, MOST_BLOBS};

use super::blob::{BlobKind, PackedBlob};
use crate::id::Id;

const BUCKETS: usize = 256;
const TREE_BIT: u32 = 1 << 31;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    id: Id,
    /// Position in `packs`; the top bit is set for trees.
    pack: u32,
    offset: u32,
    length: u32,
    /// 0 when the blob is not compressed: an empty blob never is.
    uncompressed: u32,
}

/// One place of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The pack.
    pub(crate) pack: Id,
    /// Where in it.
    pub(crate) blob: PackedBlob,
}

/// All blobs of a repository.
#[derive(Debug)]
pub(crate) struct Index {
    packs: Vec<Id>,
    buckets: Vec<Vec<Entry>>,
}

impl Default for Index {
    fn default() -> Index {
        Index {
            packs: Vec::new(),
            buckets: vec![Vec::new(); BUCKETS],
        }
    }
}

impl Index {
    /// Adds the packs of an index file.
    pub(crate) fn add(&mut self, packs: &[(Id, Vec<PackedBlob>)]) {
        for bucket in self.append(packs) {
            // What was there is one sorted run: the stable sort finds and merges it.
            self.buckets[bucket].sort();
        }
    }

    /// As [`Index::add`] for many files in a row; nothing can be found until [`Index::sort`].
    pub(crate) fn append(&mut self, packs: &[(Id, Vec<PackedBlob>)]) -> BTreeSet<usize> {
        let mut more = BTreeMap::<usize, usize>::new();
        for blob in packs.iter().flat_map(|(_, blobs)| blobs) {
            *more.entry(bucket_of(&blob.id)).or_default() += 1;
        }
        for (&bucket, &more) in &more {
            let bucket = &mut self.buckets[bucket];
            if bucket.capacity() - bucket.len() < more {
                bucket.reserve_exact(more.max(bucket.len() / 16));
            }
        }
        for (pack, blobs) in packs {
            self.add_pack(*pack, blobs);
        }
        more.into_keys().collect()
    }

    /// Puts in order what was appended.
    pub(crate) fn sort(&mut self) {
        self.packs.shrink_to_fit();
        for bucket in &mut self.buckets {
            bucket.sort_unstable();
            bucket.shrink_to_fit();
        }
    }

    fn add_pack(&mut self, pack: Id, blobs: &[PackedBlob]) {
        let position = self.packs.len() as u32;
        self.packs.push(pack);
        for blob in blobs {
            let tree = if blob.kind == BlobKind::Tree {
                TREE_BIT
            } else {
                0
            };
            self.buckets[bucket_of(&blob.id)].push(Entry {
                id: blob.id,
                pack: position | tree,
                offset: blob.offset,
                length: blob.length,
                uncompressed: blob.uncompressed.unwrap_or(0),
            });
        }
    }

    /// Whether the blob is anywhere.
    pub(crate) fn contains(&self, kind: BlobKind, id: &Id) -> bool {
        self.places(kind, id).next().is_some()
    }

    /// Every place of the blob.
    pub(crate) fn places(&self, kind: BlobKind, id: &Id) -> impl Iterator<Item = Place> {
        let bucket = &self.buckets[bucket_of(id)];
        let from = bucket.partition_point(|entry| entry.id < *id);
        let id = *id;
        let same = bucket[from..]
            .iter()
            .take_while(move |entry| entry.id == id);
        same.map(|entry| self.place(entry))
            .filter(move |place| place.blob.kind == kind)
    }

    fn place(&self, entry: &Entry) -> Place {
        let tree = entry.pack & TREE_BIT != 0;
        Place {
            pack: self.packs[(entry.pack & !TREE_BIT) as usize],
            blob: PackedBlob {
                id: entry.id,
                kind: if tree { BlobKind::Tree } else { BlobKind::Data },
                offset: entry.offset,
                length: entry.length,
                uncompressed: (entry.uncompressed != 0).then_some(entry.uncompressed),
            },
        }
    }

    /// Number of entries.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.buckets.iter().map(Vec::len).sum()
    }
}

fn bucket_of(id: &Id) -> usize {
    usize::from(id.as_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(number: u32, kind: BlobKind) -> PackedBlob {
        PackedBlob {
            id: Id::of(&number.to_le_bytes()),
            kind,
            offset: number,
            length: 100,
            uncompressed: number.is_multiple_of(2).then_some(300),
        }
    }

    #[test]
    fn an_entry_takes_48_bytes() {
        assert_eq!(size_of::<Entry>(), 48);
    }

    #[test]
    fn every_blob_is_found_in_all_its_places() {
        let mut index = Index::default();
        let (one, two) = (Id::of(b"one"), Id::of(b"two"));
        index.add(&[(one, (0..5000).map(|n| blob(n, BlobKind::Data)).collect())]);
        index.add(&[(two, (4000..6000).map(|n| blob(n, BlobKind::Data)).collect())]);
        assert_eq!(index.len(), 7000);
        for number in 0..6000 {
            let wanted = blob(number, BlobKind::Data);
            let places: Vec<Place> = index.places(BlobKind::Data, &wanted.id).collect();
            let packs: Vec<Id> = places.iter().map(|place| place.pack).collect();
            assert!(places.iter().all(|place| place.blob == wanted));
            match number {
                0..4000 => assert_eq!(packs, [one]),
                4000..5000 => assert_eq!(packs, [one, two]),
                _ => assert_eq!(packs, [two]),
            }
        }
        assert!(!index.contains(BlobKind::Data, &Id::of(b"never stored")));
    }

    #[test]
    fn what_is_appended_in_bulk_is_found_after_sorting() {
        let (mut one, mut bulk) = (Index::default(), Index::default());
        for file in 0..5_u32 {
            let blobs = (file * 100..file * 100 + 150).map(|n| blob(n, BlobKind::Data));
            let packs = [(Id::of(&file.to_be_bytes()), blobs.collect())];
            one.add(&packs);
            bulk.append(&packs);
        }
        bulk.sort();
        assert_eq!(one.buckets, bulk.buckets);
    }

    #[test]
    fn a_tree_is_not_taken_for_data() {
        let mut index = Index::default();
        let tree = blob(1, BlobKind::Tree);
        index.add(&[(Id::of(b"pack"), vec![tree])]);
        assert!(index.contains(BlobKind::Tree, &tree.id));
        assert!(!index.contains(BlobKind::Data, &tree.id));
    }
}

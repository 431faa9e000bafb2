//! Where a stream is cut.
//!
//! Content-defined: a gear hash rolls over the last 64 bytes, and a chunk ends where its upper 19
//! bits are zero: 512 KiB at least, 512 KiB more on average, 8 MiB at most (restic's limits, so
//! that its own reader is at home). The same bytes are cut at the same places wherever they lie in
//! a stream, so what is inserted or deleted costs only its neighbourhood. The first 512 KiB of a
//! chunk are not even looked at.
//!
//! The gear table derives from the polynomial in the sealed configuration: who does not have the
//! repository's keys cannot tell from the lengths of blobs which known files are stored.

use std::sync::Arc;

use aws_lc_rs::hmac;
use gearhash::{Hasher, Table};

use super::blob::MAX_DATA;
use super::options::ChunkerKind;
use crate::error::{Result, VaultError};

const MIN: usize = 512 * 1024;
const MAX: usize = MAX_DATA;
/// Bytes that the upper bits of the hash depend on.
const WINDOW: usize = 64;
/// 19 bits: one position in 512 KiB, on average, is a boundary.
const MASK: u64 = !0 << (64 - 19);

const CONTEXT: &str = "holdfast/chunker/v1";

/// A repository's own gear table.
pub(crate) fn gear_table(polynomial: u64) -> Arc<Table> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{polynomial:x}").as_bytes());
    let mut table = [0; 256];
    for (byte, value) in table.iter_mut().enumerate() {
        let tag = hmac::sign(&key, format!("{CONTEXT}/{byte}").as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&tag.as_ref()[..8]);
        *value = u64::from_le_bytes(first);
    }
    Arc::new(table)
}

/// Finds the ends of one stream's chunks, however its bytes arrive.
pub(crate) enum Chunker {
    /// See the module.
    ContentDefined {
        /// The repository's.
        table: Arc<Table>,
        /// Rolled over the bytes before `looked_at`.
        hash: u64,
        /// Bytes of the current chunk that are behind us.
        looked_at: usize,
    },
    /// Every so many bytes.
    Fixed(usize),
}

impl Chunker {
    /// The chunker that `kind` asks for.
    pub(crate) fn new(kind: ChunkerKind, table: &Arc<Table>) -> Result<Chunker> {
        match kind {
            ChunkerKind::ContentDefined => Ok(Chunker::ContentDefined {
                table: Arc::clone(table),
                hash: 0,
                looked_at: 0,
            }),
            ChunkerKind::Fixed(length) if (1..=MAX).contains(&length) => Ok(Chunker::Fixed(length)),
            ChunkerKind::Fixed(length) => Err(VaultError::Refused(format!(
                "chunks of {length} bytes cannot be: 1 to {MAX} are possible"
            ))),
        }
    }

    /// Length of the chunk at the start of `bytes`, if it ends within them.
    ///
    /// `bytes` begins where the current chunk begins and, until a length was given back, only grows
    /// from call to call.
    pub(crate) fn cut(&mut self, bytes: &[u8]) -> Option<usize> {
        match self {
            Chunker::Fixed(length) => (bytes.len() >= *length).then_some(*length),
            Chunker::ContentDefined {
                table,
                hash,
                looked_at,
            } => {
                let found = find_boundary(table, hash, looked_at, &bytes[..bytes.len().min(MAX)]);
                if found.is_some() {
                    (*hash, *looked_at) = (0, 0);
                }
                found
            }
        }
    }
}

fn find_boundary(
    table: &Table,
    hash: &mut u64,
    looked_at: &mut usize,
    bytes: &[u8],
) -> Option<usize> {
    if bytes.len() < MIN {
        return None;
    }
    let mut hasher = Hasher::new(table);
    if *looked_at == 0 {
        hasher.update(&bytes[MIN - WINDOW..MIN]);
        *looked_at = MIN;
    } else {
        hasher.set_hash(*hash);
    }
    if let Some(length) = hasher.next_match(&bytes[*looked_at..], MASK) {
        return Some(*looked_at + length);
    }
    *hash = hasher.get_hash();
    *looked_at = bytes.len();
    (bytes.len() == MAX).then_some(MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes without structure, from a seed.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    /// Lengths of the chunks of `data` when it arrives in pieces of `piece` bytes.
    fn lengths(kind: ChunkerKind, data: &[u8], piece: usize) -> Vec<usize> {
        let mut chunker = Chunker::new(kind, &gear_table(0x25_b468_838d_cb75)).expect("valid");
        let (mut start, mut end, mut lengths) = (0, 0, Vec::new());
        while end < data.len() {
            end = (end + piece).min(data.len());
            while let Some(length) = chunker.cut(&data[start..end]) {
                lengths.push(length);
                start += length;
            }
        }
        if start < data.len() {
            lengths.push(data.len() - start);
        }
        lengths
    }

    #[test]
    fn chunks_are_a_mebibyte_on_average_and_within_the_limits() {
        let data = noise(1, 64 << 20);
        let lengths = lengths(ChunkerKind::ContentDefined, &data, 1 << 20);
        assert_eq!(lengths.iter().sum::<usize>(), data.len());
        let (_, whole) = lengths.split_last().expect("chunks");
        assert!(whole.iter().all(|length| (MIN..=MAX).contains(length)));
        let average = data.len() / lengths.len();
        assert!((800_000..1_400_000).contains(&average), "{average}");
    }

    #[test]
    fn an_insertion_moves_the_boundaries_around_it_only() {
        let data = noise(2, 32 << 20);
        let mut longer = data.clone();
        longer.splice(10_000_000..10_000_000, *b"inserted");
        let ends = |data: &[u8]| -> Vec<usize> {
            let mut at = data.len();
            let mut from_end = Vec::new();
            for length in lengths(ChunkerKind::ContentDefined, data, 1 << 20) {
                at -= length;
                from_end.push(at);
            }
            from_end
        };
        let (before, after) = (ends(&data), ends(&longer));
        let same = before.iter().filter(|end| after.contains(end)).count();
        assert!(
            same * 2 > before.len(),
            "{same} of {} boundaries",
            before.len()
        );
    }

    #[test]
    fn what_never_has_a_boundary_is_cut_at_the_maximum() {
        let zeros = vec![0; 20 << 20];
        let found = lengths(ChunkerKind::ContentDefined, &zeros, 65536);
        assert!(found.iter().all(|length| *length <= MAX), "{found:?}");
        assert_eq!(found.iter().sum::<usize>(), zeros.len());
    }

    #[test]
    fn another_repository_cuts_elsewhere() {
        let (one, two) = (
            gear_table(0x25_b468_838d_cb75),
            gear_table(0x3d_a335_8b4d_c173),
        );
        assert_ne!(one, two);
    }

    #[test]
    fn impossible_lengths_are_refused() {
        for length in [0, MAX + 1] {
            assert!(Chunker::new(ChunkerKind::Fixed(length), &gear_table(1)).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn how_the_bytes_arrive_does_not_matter(
            seed in any::<u64>(), length in 0_usize..6_000_000, piece in 1_usize..2_000_000, fixed in 1_usize..300_000
        ) {
            let data = noise(seed, length);
            let piece = piece.max(length / 500);
            for kind in [ChunkerKind::ContentDefined, ChunkerKind::Fixed(fixed)] {
                prop_assert_eq!(lengths(kind, &data, piece), lengths(kind, &data, length.max(1)));
            }
        }
    }
}

//! SHA-256, as fast as this processor can.
//!
//! With SHA instructions one message at a time through aws-lc is best (1,500 MB/s a thread);
//! without them aws-lc does 207 MB/s, and hashing many chunks at once in the lanes of AVX-512
//! reaches 1,500 to 1,800 (measured with chunks of like length). Both give the same digests.

use std::sync::OnceLock;

use crate::id::Id;

/// How this processor hashes chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HashStrategy {
    /// Each message by itself.
    Single,
    /// So many messages at once.
    Batch(usize),
}

impl HashStrategy {
    /// What is faster on this machine.
    pub(crate) fn detect() -> HashStrategy {
        static DETECTED: OnceLock<HashStrategy> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            if batches_win() {
                HashStrategy::Batch(LANES)
            } else {
                HashStrategy::Single
            }
        })
    }

    /// How many messages are worth waiting for.
    pub(crate) fn width(self) -> usize {
        match self {
            HashStrategy::Single => 1,
            HashStrategy::Batch(width) => width,
        }
    }

    /// The digests of `messages`, in their order.
    pub(crate) fn hash(self, messages: &[&[u8]]) -> Vec<Id> {
        match self {
            HashStrategy::Batch(_) if messages.len() >= FEWEST => batch(messages),
            _ => messages.iter().map(|message| sha256(message)).collect(),
        }
    }
}

/// Lanes of one AVX-512 register.
const LANES: usize = 16;
/// Fewer messages leave so many lanes idle that one at a time is as good.
const FEWEST: usize = 4;

#[cfg(target_arch = "x86_64")]
fn batches_win() -> bool {
    !is_x86_feature_detected!("sha") && is_x86_feature_detected!("avx512f")
}

/// Every 64-bit ARM server has the SHA-2 instructions.
#[cfg(not(target_arch = "x86_64"))]
fn batches_win() -> bool {
    false
}

/// The digest of one message.
pub(crate) fn sha256(message: &[u8]) -> Id {
    Id::of(message)
}

/// Lanes run until their longest message ends, so like lengths go together.
fn batch(messages: &[&[u8]]) -> Vec<Id> {
    let mut order: Vec<usize> = (0..messages.len()).collect();
    order.sort_unstable_by_key(|at| std::cmp::Reverse(messages[*at].len()));
    let sorted: Vec<&[u8]> = order.iter().map(|at| messages[*at]).collect();
    let mut digests = vec![[0; 32]; sorted.len()];
    tape_sha256::hash_many(&sorted, &mut digests);
    let mut ids = vec![Id::from_bytes([0; 32]); messages.len()];
    for (at, digest) in order.into_iter().zip(digests) {
        ids[at] = Id::from_bytes(digest);
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn many_at_once_are_hashed_as_one_by_one(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..700), 0..40)
        ) {
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let single = HashStrategy::Single.hash(&messages);
            prop_assert_eq!(&batch(&messages), &single);
            prop_assert_eq!(&HashStrategy::Batch(LANES).hash(&messages), &single);
        }
    }

    #[test]
    fn long_messages_of_mixed_length_agree_too() {
        let data: Vec<u8> = (0..3_000_000_u32)
            .map(|i| (i.wrapping_mul(i) >> 7) as u8)
            .collect();
        let messages: Vec<&[u8]> = (0..17)
            .map(|i| &data[i * 1000..1_000_000 + i * 77_777])
            .collect();
        assert_eq!(batch(&messages), HashStrategy::Single.hash(&messages));
    }
}

//! Fetching blobs out of packs.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::super::blob::{self, BlobKind};
use super::super::index::Place;
use super::super::{Inner, pack};
use crate::error::{Result, VaultError};
use crate::id::Id;
use crate::storage::StorageError;

/// Blobs near each other in one pack, which are fetched by one request.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// The pack.
    pub(super) pack: Id,
    /// The range that holds them all.
    pub(super) start: u32,
    /// Its end.
    pub(super) end: u32,
    /// In the order in which they are wanted.
    pub(super) blobs: Vec<Place>,
    /// Sum of the plaintexts.
    pub(super) plaintext_len: u64,
}

impl Segment {
    /// One blob.
    pub(super) fn of(place: Place) -> Segment {
        Segment {
            pack: place.pack,
            start: place.blob.offset,
            end: place.blob.offset.saturating_add(place.blob.length),
            plaintext_len: u64::from(place.blob.plaintext_len().unwrap_or(0)),
            blobs: vec![place],
        }
    }

    /// Takes one more blob in, when it is near and the whole stays within `most` bytes.
    pub(super) fn join(&mut self, place: &Place, most: u64) -> bool {
        const GAP: u32 = 64 * 1024;
        let other = Segment::of(*place);
        let near = self.pack == other.pack
            && other.start <= self.end.saturating_add(GAP)
            && self.start <= other.end.saturating_add(GAP);
        // A chunk that is wanted twice in a row is fetched twice: each is opened where it lies.
        let apart = self.blobs.iter().all(|there| {
            let there = Segment::of(*there);
            there.end <= other.start || other.end <= there.start
        });
        let (start, end) = (self.start.min(other.start), self.end.max(other.end));
        let plaintext_len = self.plaintext_len + other.plaintext_len;
        if !near || !apart || plaintext_len > most || u64::from(end - start) > most {
            return false;
        }
        (self.start, self.end, self.plaintext_len) = (start, end, plaintext_len);
        self.blobs.push(*place);
        true
    }
}

/// The first place of a blob.
pub(super) fn place(repository: &Inner, kind: BlobKind, id: &Id) -> Result<Place> {
    let place = repository.index().places(kind, id).next();
    place.ok_or_else(|| VaultError::damaged(format!("{kind} {id}"), "no index names it"))
}

/// The verified plaintext of one blob.
pub(super) async fn load(repository: &Inner, kind: BlobKind, id: &Id) -> Result<Bytes> {
    let first = place(repository, kind, id)?;
    match fetch(repository, Segment::of(first)).await {
        Ok(mut plaintexts) if plaintexts.len() == 1 => Ok(plaintexts.remove(0)),
        Ok(_) => Err(VaultError::Internal(
            "a segment of one blob gave several".to_owned(),
        )),
        Err(error) => elsewhere(repository, &first, error).await,
    }
}

/// The verified plaintexts of a segment's blobs. When something is wrong each is tried by itself,
/// and in its other places.
pub(super) async fn load_segment(repository: &Inner, segment: Segment) -> Result<Vec<Bytes>> {
    match fetch(repository, segment.clone()).await {
        Ok(plaintexts) => Ok(plaintexts),
        Err(error) if !is_damage(&error) => Err(error),
        Err(_) => {
            let mut plaintexts = Vec::with_capacity(segment.blobs.len());
            for place in &segment.blobs {
                plaintexts.push(load(repository, place.blob.kind, &place.blob.id).await?);
            }
            Ok(plaintexts)
        }
    }
}

/// Tries the places of a blob besides the one that failed.
async fn elsewhere(repository: &Inner, failed: &Place, first: VaultError) -> Result<Bytes> {
    if !is_damage(&first) {
        return Err(first);
    }
    let kind = failed.blob.kind;
    let places: Vec<Place> = repository.index().places(kind, &failed.blob.id).collect();
    for place in places.into_iter().filter(|place| place != failed) {
        if let Ok(mut plaintexts) = fetch(repository, Segment::of(place)).await
            && let Some(plaintext) = plaintexts.pop()
        {
            tracing::warn!(error = %first, pack = %place.pack, "a blob is damaged in one pack and was read from another");
            return Ok(plaintext);
        }
    }
    Err(first)
}

/// What another copy of the blob may mend.
fn is_damage(error: &VaultError) -> bool {
    match error {
        VaultError::Damaged { .. } => true,
        VaultError::Storage(error) => {
            error.is_not_found()
                || matches!(
                    error,
                    StorageError::Corrupt { .. } | StorageError::TooShort { .. }
                )
        }
        _ => false,
    }
}

async fn fetch(repository: &Inner, segment: Segment) -> Result<Vec<Bytes>> {
    let object = pack::object_name(&segment.pack);
    let length = u64::from(segment.end - segment.start);
    let sealed = repository
        .storage
        .get_range(&object, u64::from(segment.start), length)
        .await
        .map_err(|error| told(repository, &object, &segment, error))?;
    if sealed.len() as u64 != length {
        let why = format!("{} bytes came instead of {length}", sealed.len());
        return Err(VaultError::damaged(repository.named(&object), why));
    }
    let (key, name) = (Arc::clone(&repository.key), repository.named(&object));
    let decoded = tokio::task::spawn_blocking(move || decode(&key, &name, &segment, sealed));
    decoded
        .await
        .map_err(|error| VaultError::Internal(error.to_string()))?
}

/// A pack that is gone or short is damage of the repository, not of the way there.
fn told(repository: &Inner, object: &str, segment: &Segment, error: StorageError) -> VaultError {
    let what = segment.blobs.first().map_or_else(String::new, |place| {
        format!(" (with {} {})", place.blob.kind, place.blob.id)
    });
    match error {
        StorageError::NotFound { .. } => VaultError::damaged(
            format!("the pack {}{what}", repository.named(object)),
            "it is missing",
        ),
        StorageError::Corrupt { why, .. } | StorageError::TooShort { why, .. } => {
            VaultError::damaged(format!("the pack {}{what}", repository.named(object)), why)
        }
        error => error.into(),
    }
}

fn decode(
    key: &super::super::seal::SealingKey,
    object: &str,
    segment: &Segment,
    sealed: Bytes,
) -> Result<Vec<Bytes>> {
    let mut sealed = sealed
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    // Taken off the end one after the other, so that each has its own part of the memory.
    let mut by_offset: Vec<usize> = (0..segment.blobs.len()).collect();
    by_offset.sort_unstable_by_key(|at| std::cmp::Reverse(segment.blobs[*at].blob.offset));
    let mut plaintexts = vec![Bytes::new(); segment.blobs.len()];
    for at in by_offset {
        let blob = &segment.blobs[at].blob;
        let damaged = |why: String| {
            let object = format!("{} {} in the pack {object}", blob.kind, blob.id);
            VaultError::damaged(object, why)
        };
        let from = (blob.offset - segment.start) as usize;
        let length = blob.length as usize;
        if sealed.len() < from + length {
            return Err(damaged("the index has it overlap with another".to_owned()));
        }
        let mut bytes = sealed.split_off(from);
        bytes.truncate(length);
        plaintexts[at] = blob::decode(key, blob, bytes).map_err(damaged)?;
    }
    Ok(plaintexts)
}

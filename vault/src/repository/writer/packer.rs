//! Filling packs, and closing them.
//!
//! One pack of a kind is open at a time. A blob is appended under a lock, which takes as long as
//! copying it; the thread whose blob fills the pack closes it outside of the lock: header, SHA-256
//! of the whole, once, which is its name and what the upload is checked with. The map of the next
//! pack is waited for while too many are still on their way: here a slow vault holds back the
//! workers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::super::blob::{BlobKind, PackedBlob};
use super::super::hash::sha256;
use super::super::memory::{FilledMap, PooledMap};
use super::super::options::BackupStats;
use super::super::pack;
use super::compress::Sealed;
use super::run::Run;
use super::upload::{self, ClosedPack};
use super::worker::Halt;
use crate::error::{Result, VaultError};
use crate::id::Id;

/// See the module.
pub(super) struct Packer {
    kind: BlobKind,
    open: Mutex<Option<OpenPack>>,
}

struct OpenPack {
    map: PooledMap,
    length: usize,
    blobs: Vec<PackedBlob>,
}

impl Packer {
    pub(super) fn new(kind: BlobKind) -> Packer {
        Packer {
            kind,
            open: Mutex::new(None),
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<OpenPack>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a sealed blob, and uploads the pack when it is full.
    pub(super) fn append(
        &self,
        run: &Arc<Run>,
        id: &Id,
        sealed: &Sealed<'_>,
    ) -> std::result::Result<(), Halt> {
        let mut open = self.open();
        if open
            .as_ref()
            .is_some_and(|pack| !pack.has_room(sealed.bytes.len()))
            && let Some(full) = open.take()
        {
            close(run, full)?;
        }
        let mut pack = match open.take() {
            Some(pack) => pack,
            None => OpenPack::new(run, sealed.bytes.len())?,
        };
        pack.append(self.kind, id, sealed)?;
        if pack.length < run.sizes.pack_size {
            *open = Some(pack);
            return Ok(());
        }
        drop(open);
        close(run, pack)?;
        Ok(())
    }
}

impl OpenPack {
    fn new(run: &Run, first_blob: usize) -> std::result::Result<OpenPack, Halt> {
        let needed = first_blob + pack::header_len(1);
        let capacity = run.sizes.pack_capacity();
        let map = if needed <= capacity {
            run.pack_maps.take_blocking(capacity)?.ok_or(Halt::Ended)?
        } else {
            // A directory longer than any pack: it gets one of its own.
            run.pack_maps.take_now(needed)?
        };
        Ok(OpenPack {
            map,
            length: 0,
            blobs: Vec::new(),
        })
    }

    fn has_room(&self, blob: usize) -> bool {
        self.length + blob + pack::header_len(self.blobs.len() + 1) <= self.map.len()
    }

    fn append(&mut self, kind: BlobKind, id: &Id, sealed: &Sealed<'_>) -> Result<()> {
        let too_long = |_| VaultError::Internal("a pack is longer than 4 GiB".to_owned());
        self.blobs.push(PackedBlob {
            id: *id,
            kind,
            offset: u32::try_from(self.length).map_err(too_long)?,
            length: u32::try_from(sealed.bytes.len()).map_err(too_long)?,
            uncompressed: sealed.uncompressed,
        });
        let end = self.length + sealed.bytes.len();
        self.map[self.length..end].copy_from_slice(sealed.bytes);
        self.length = end;
        Ok(())
    }
}

/// Completes a pack and sends it on its way.
fn close(run: &Arc<Run>, mut open: OpenPack) -> Result<()> {
    let trailer = pack::trailer(&run.repository.key, &open.blobs)?;
    let length = open.length + trailer.len();
    open.map[open.length..length].copy_from_slice(&trailer);
    let since = Instant::now();
    let id = sha256(&open.map[..length]);
    BackupStats::add_time(&run.stats.hash_ns, since);
    let bytes = Bytes::from_owner(FilledMap {
        map: open.map,
        length,
    });
    upload::begin(
        run,
        ClosedPack {
            id,
            bytes,
            blobs: open.blobs,
        },
    );
    Ok(())
}

/// Closes whatever packs are open.
pub(super) async fn close_all(run: &Arc<Run>) -> Result<()> {
    for packer in [&run.data, &run.trees] {
        let open = packer.open().take();
        if let Some(pack) = open {
            let run = Arc::clone(run);
            let closed = tokio::task::spawn_blocking(move || close(&run, pack)).await;
            closed.map_err(|error| VaultError::Internal(error.to_string()))??;
        }
    }
    Ok(())
}

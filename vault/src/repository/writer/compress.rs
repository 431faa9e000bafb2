//! Compressing and sealing one blob, in buffers that a worker keeps.
//!
//! zstd level 1: on dumps better *and* faster here than 3. What does not get smaller is stored as
//! it is, which the format allows blob by blob. After some such chunks in a row of one stream only
//! a sample of the next ones is tried first: photographs and archives cost next to nothing.

use std::time::Instant;

use memmap2::MmapMut;
use zstd::bulk::Compressor;

use super::super::blob::{BlobKind, MAX_DATA};
use super::super::options::BackupStats;
use super::super::seal::{IV_LEN, OVERHEAD, SealingKey, TAG_LEN};
use crate::error::{Result, VaultError};

const LEVEL: i32 = 1;
/// Chunks in a row after which a stream counts as incompressible.
const SUSPICION: u32 = 3;
const SAMPLE: usize = 64 * 1024;

/// A worker's tools.
pub(super) struct Press {
    compressor: Compressor<'static>,
    /// Its pages are touched as far as they are needed.
    buffer: MmapMut,
}

/// A blob ready for its pack.
pub(super) struct Sealed<'a> {
    pub(super) bytes: &'a [u8],
    /// Length of the plaintext when it was compressed.
    pub(super) uncompressed: Option<u32>,
}

impl Press {
    pub(super) fn new() -> Result<Press> {
        Ok(Press {
            compressor: Compressor::new(LEVEL).map_err(internal)?,
            buffer: map_for(MAX_DATA)?,
        })
    }

    /// Compresses, when it pays, and seals. `incompressible` is how many chunks before it did not
    /// get smaller. Trees are always compressed, as restic does.
    pub(super) fn seal(
        &mut self,
        key: &SealingKey,
        kind: BlobKind,
        plaintext: &[u8],
        incompressible: u32,
        stats: &BackupStats,
    ) -> Result<Sealed<'_>> {
        if self.buffer.len() < room_for(plaintext.len()) {
            self.buffer = map_for(plaintext.len())?;
        }
        let since = Instant::now();
        let compressed = self.compress(kind, plaintext, incompressible)?;
        BackupStats::add_time(&stats.compress_ns, since);
        let since = Instant::now();
        let text = match compressed {
            Some(length) => length,
            None => {
                self.buffer[IV_LEN..IV_LEN + plaintext.len()].copy_from_slice(plaintext);
                plaintext.len()
            }
        };
        let sealed = &mut self.buffer[..IV_LEN + text + TAG_LEN];
        key.seal_in_place(sealed)?;
        BackupStats::add_time(&stats.seal_ns, since);
        let uncompressed = match compressed {
            Some(_) => Some(u32::try_from(plaintext.len()).map_err(internal)?),
            None => None,
        };
        Ok(Sealed {
            bytes: sealed,
            uncompressed,
        })
    }

    /// Length of the frame, which begins behind the room for the IV; `None` when it does not pay.
    fn compress(
        &mut self,
        kind: BlobKind,
        plaintext: &[u8],
        incompressible: u32,
    ) -> Result<Option<usize>> {
        let data = kind == BlobKind::Data;
        if data && incompressible >= SUSPICION && plaintext.len() > 4 * SAMPLE {
            let middle = plaintext.len() / 2;
            let sample = &plaintext[middle..middle + SAMPLE];
            if !pays(self.frame(sample)?, SAMPLE) {
                return Ok(None);
            }
        }
        let length = self.frame(plaintext)?;
        Ok((!data || pays(length, plaintext.len())).then_some(length))
    }

    fn frame(&mut self, plaintext: &[u8]) -> Result<usize> {
        let room = &mut self.buffer[IV_LEN..];
        self.compressor
            .compress_to_buffer(plaintext, room)
            .map_err(internal)
    }
}

/// Less than three percent are not worth decompressing for.
fn pays(compressed: usize, plaintext: usize) -> bool {
    compressed < plaintext - plaintext / 32
}

fn room_for(plaintext: usize) -> usize {
    zstd::zstd_safe::compress_bound(plaintext) + OVERHEAD
}

fn map_for(plaintext: usize) -> Result<MmapMut> {
    MmapMut::map_anon(room_for(plaintext)).map_err(internal)
}

fn internal(error: impl std::fmt::Display) -> VaultError {
    VaultError::Internal(error.to_string())
}

//! A file's content as a stream of bytes.
//!
//! Some segments are fetched and verified ahead, several at once, and given out in order. What is
//! ahead is bounded in bytes of plaintext, so a restore stays small whatever the file is.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use futures::FutureExt;
use tokio::io::{AsyncRead, ReadBuf};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::super::Inner;
use super::super::blob::BlobKind;
use super::super::lock::HeldLock;
use super::super::tree::Node;
use super::blobs::{self, Segment};
use crate::error::{Result, VaultError};
use crate::id::Id;

const MIB: u64 = 1024 * 1024;
/// Plaintext of one request, unless a single blob is longer.
const SEGMENT: u64 = 3 * MIB;
/// Requests under way at once.
const PARALLEL: usize = 4;
/// Plaintext that may be under way or waiting; one segment always may.
const AHEAD: u64 = 12 * MIB;

/// Reads one file of a snapshot. Every error is an [`io::Error`] around a [`VaultError`], and is
/// repeated for ever: what comes after a damaged blob is never given out.
pub struct FileReader {
    repository: Arc<Inner>,
    path: String,
    size: u64,
    given_out: u64,
    content: VecDeque<Id>,
    /// In order.
    under_way: VecDeque<UnderWay>,
    ready: VecDeque<Bytes>,
    /// Plaintext under way and ready.
    ahead: u64,
    failed: Option<String>,
    /// Keeps prune away while this is read.
    _lock: Option<Arc<HeldLock>>,
}

struct UnderWay {
    task: AbortOnDropHandle<Result<Vec<Bytes>>>,
}

impl fmt::Debug for FileReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileReader")
            .field("path", &self.path)
            .field("size", &self.size)
            .field("given_out", &self.given_out)
            .finish_non_exhaustive()
    }
}

impl FileReader {
    pub(super) fn open(
        repository: &Arc<Inner>,
        lock: Option<Arc<HeldLock>>,
        path: String,
        node: Node,
    ) -> Result<FileReader> {
        Ok(FileReader {
            repository: Arc::clone(repository),
            path,
            size: node.size,
            given_out: 0,
            content: node.content.unwrap_or_default().into(),
            under_way: VecDeque::new(),
            ready: VecDeque::new(),
            ahead: 0,
            failed: None,
            _lock: lock,
        })
    }

    /// Length of the file in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size
    }

    /// Begins as many fetches as may be under way.
    fn fetch_ahead(&mut self) -> Result<()> {
        while self.under_way.len() < PARALLEL
            && let Some(segment) = self.next_segment()?
        {
            self.ahead += segment.plaintext_len;
            let repository = Arc::clone(&self.repository);
            let load = async move { blobs::load_segment(&repository, segment).await };
            let task = tokio::spawn(load.in_current_span());
            self.under_way.push_back(UnderWay {
                task: AbortOnDropHandle::new(task),
            });
        }
        Ok(())
    }

    /// The next blobs that lie together, unless too much is ahead already.
    fn next_segment(&mut self) -> Result<Option<Segment>> {
        let Some(first) = self.content.front() else {
            return Ok(None);
        };
        let mut segment = Segment::of(blobs::place(&self.repository, BlobKind::Data, first)?);
        if self.ahead > 0 && self.ahead + segment.plaintext_len > AHEAD {
            return Ok(None);
        }
        self.content.pop_front();
        while let Some(next) = self.content.front() {
            let place = blobs::place(&self.repository, BlobKind::Data, next)?;
            if !segment.join(&place, SEGMENT) {
                break;
            }
            self.content.pop_front();
        }
        Ok(Some(segment))
    }

    fn poll_content(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        loop {
            if let Some(front) = self.ready.front_mut() {
                let length = front.remaining().min(buf.remaining());
                buf.put_slice(&front.chunk()[..length]);
                front.advance(length);
                self.given_out += length as u64;
                self.ahead = self.ahead.saturating_sub(length as u64);
                if !front.has_remaining() {
                    self.ready.pop_front();
                }
                return Poll::Ready(Ok(()));
            }
            self.fetch_ahead()?;
            let Some(first) = self.under_way.front_mut() else {
                return Poll::Ready(self.check_end());
            };
            let fetched = ready!(first.task.poll_unpin(cx));
            self.under_way.pop_front();
            let plaintexts = fetched.map_err(|error| VaultError::Internal(error.to_string()))??;
            self.ready.extend(plaintexts);
            self.ready.retain(Buf::has_remaining);
            self.fetch_ahead()?;
        }
    }

    /// The chunks must come to exactly what the directory says.
    fn check_end(&self) -> Result<()> {
        if self.given_out == self.size {
            return Ok(());
        }
        Err(VaultError::Damaged {
            object: self.path.clone(),
            why: format!(
                "its chunks are {} bytes together, the directory says {}",
                self.given_out, self.size
            ),
        })
    }
}

impl AsyncRead for FileReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(why) = &self.failed {
            return Poll::Ready(Err(io::Error::other(VaultError::Aborted {
                why: why.clone(),
            })));
        }
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = ready!(self.poll_content(cx, buf));
        Poll::Ready(read.map_err(|error| {
            let error = in_file(&self.path, error);
            self.failed = Some(error.to_string());
            self.under_way.clear();
            io::Error::new(io::ErrorKind::InvalidData, error)
        }))
    }
}

/// Says which file a damaged blob is of.
fn in_file(path: &str, error: VaultError) -> VaultError {
    match error {
        VaultError::Damaged { object, why } if object != path => VaultError::Damaged {
            object: format!("{path}: {object}"),
            why,
        },
        error => error,
    }
}

/// The [`VaultError`] within an error of a [`FileReader`].
pub(super) fn vault_error(error: io::Error) -> VaultError {
    match error.downcast::<VaultError>() {
        Ok(error) => error,
        Err(error) => VaultError::SourceFailed(error),
    }
}

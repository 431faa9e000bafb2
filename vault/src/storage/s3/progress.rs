//! Time limits that follow the bytes: a slow transfer may take long, a stalled one may not.
//!
//! A fixed limit is wrong for objects of 100 bytes and of 128 MiB, over loopback and over a thin line. So a
//! request body notes when the connection last took a piece of it, and a request is given up only when nothing has
//! moved for [`STALL_LIMIT`].

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

/// How long nothing may move, in either direction.
pub(super) const STALL_LIMIT: Duration = Duration::from_secs(30);

/// What a body hands to the connection at once.
const PIECE: usize = 128 * 1024;

/// When a transfer last moved.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    moved_after_ms: AtomicU64,
}

impl Progress {
    pub(super) fn begin() -> Arc<Progress> {
        Arc::new(Progress {
            start: Instant::now(),
            moved_after_ms: AtomicU64::new(0),
        })
    }

    fn moved(&self) {
        let ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_after_ms.store(ms, Ordering::Relaxed);
    }

    fn stalled_at(&self) -> Instant {
        let moved = Duration::from_millis(self.moved_after_ms.load(Ordering::Relaxed));
        self.start + moved + STALL_LIMIT
    }

    /// Waits for `work`; `None` when nothing has moved for too long.
    pub(super) async fn watch<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            let limit = self.stalled_at();
            tokio::select! {
                done = &mut work => return Some(done),
                () = sleep_until(limit) => if self.stalled_at() <= limit { return None },
            }
        }
    }
}

/// The bytes of one upload, in pieces.
pub(super) struct ProgressBody {
    rest: Bytes,
    progress: Arc<Progress>,
}

impl ProgressBody {
    pub(super) fn new(bytes: Bytes, progress: &Arc<Progress>) -> ProgressBody {
        ProgressBody {
            rest: bytes,
            progress: Arc::clone(progress),
        }
    }
}

impl Body for ProgressBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.progress.moved();
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_moves_may_take_long_and_what_stalls_may_not() {
        let progress = Progress::begin();
        let mover = Arc::clone(&progress);
        let slow = async move {
            for _ in 0..10 {
                tokio::time::sleep(STALL_LIMIT - Duration::from_secs(1)).await;
                mover.moved();
            }
        };
        assert_eq!(progress.watch(slow).await, Some(()));
        let begun = Instant::now();
        assert_eq!(progress.watch(std::future::pending::<()>()).await, None);
        assert!(begun.elapsed() <= STALL_LIMIT + Duration::from_secs(1));
    }
}

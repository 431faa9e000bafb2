//! `pg_dump`'s output as a stream that ends only when the dump is whole.
//!
//! Promise: the end of the stream is reported after `pg_dump` was reaped with exit code 0 and the archive was found whole,
//! and in no other case. A dump that failed, was killed or ended early is a read error, so no writer can take
//! it for a short file.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::process::ChildStdout;

use super::archive::{ArchiveError, ArchiveReader, ArchiveSummary};
use crate::error::SourceError;
use crate::process::{Exit, Running, Waiter};

/// What the stream came to, for whoever handed it away.
#[derive(Debug, Clone, Default)]
pub(crate) struct DumpOutcome {
    result: Arc<Mutex<Option<Result<ArchiveSummary, SourceError>>>>,
    moved_bytes: Arc<AtomicU64>,
}

impl DumpOutcome {
    /// The summary of the whole archive, or why there is none. `None`: the stream was not read to its end.
    pub(crate) fn take(&self) -> Option<Result<ArchiveSummary, SourceError>> {
        self.result
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn set(&self, result: Result<ArchiveSummary, SourceError>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
    }

    /// Comes back when no byte has moved for `timeout`.
    pub(crate) async fn stalled(&self, timeout: Duration) {
        let mut seen = self.moved_bytes.load(Ordering::Relaxed);
        let mut since = tokio::time::Instant::now();
        loop {
            tokio::time::sleep(timeout / 16).await;
            let now = self.moved_bytes.load(Ordering::Relaxed);
            if now != seen {
                seen = now;
                since = tokio::time::Instant::now();
            } else if since.elapsed() >= timeout {
                return;
            }
        }
    }
}

/// The stream.
pub(crate) struct DumpStream {
    stdout: ChildStdout,
    archive: Option<ArchiveReader>,
    end: End,
    outcome: DumpOutcome,
    /// Dropping the stream ends the program.
    _running: Running,
}

enum End {
    NotYet(Waiter),
    Waiting(BoxFuture<'static, Exit>),
    Whole,
    Failed(String),
}

impl DumpStream {
    /// Takes over a started `pg_dump` whose stdout is piped.
    pub(crate) fn new(mut running: Running) -> Result<(Self, DumpOutcome), SourceError> {
        let stdout = running
            .stdout
            .take()
            .ok_or_else(|| SourceError::permanent("pg_dump was started without a pipe", ""))?;
        let outcome = DumpOutcome::default();
        let stream = Self {
            stdout,
            archive: Some(ArchiveReader::counting()),
            end: End::NotYet(running.waiter()),
            outcome: outcome.clone(),
            _running: running,
        };
        Ok((stream, outcome))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        loop {
            match &mut self.end {
                End::Whole => return Poll::Ready(Ok(())),
                End::Failed(why) => return Poll::Ready(Err(std::io::Error::other(why.clone()))),
                End::NotYet(waiter) => self.end = End::Waiting(Box::pin(waiter.clone().wait())),
                End::Waiting(waiting) => {
                    let exit = ready!(waiting.as_mut().poll(cx));
                    let archive = self.archive.take();
                    let result = exit.into_result("pg_dump").and_then(|()| finish(archive));
                    self.settle(result);
                }
            }
        }
    }

    fn settle(&mut self, result: Result<ArchiveSummary, SourceError>) {
        self.end = match &result {
            Ok(_) => End::Whole,
            Err(error) => End::Failed(error.to_string()),
        };
        self.outcome.set(result);
    }

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stdout).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        if new.is_empty() {
            return self.poll_end(cx);
        }
        self.outcome
            .moved_bytes
            .fetch_add(new.len() as u64, Ordering::Relaxed);
        let understood = self
            .archive
            .as_mut()
            .map_or(Ok(()), |archive| archive.push(new));
        match understood {
            Ok(()) => Poll::Ready(Ok(())),
            Err(error) => {
                // A reader that fails gives nothing.
                buf.set_filled(before);
                self.archive = None;
                self.settle(Err(not_whole(&error)));
                self.poll_end(cx)
            }
        }
    }
}

fn finish(archive: Option<ArchiveReader>) -> Result<ArchiveSummary, SourceError> {
    match archive {
        Some(archive) => archive.finish().map_err(|error| not_whole(&error)),
        None => Err(SourceError::permanent(
            "pg_dump's output was not understood",
            "",
        )),
    }
}

fn not_whole(error: &ArchiveError) -> SourceError {
    let message = format!("pg_dump's output is not whole: {error}");
    match error {
        ArchiveError::Truncated { .. } | ArchiveError::MissingData(_) => {
            SourceError::retryable(message, "")
        }
        _ => SourceError::permanent(
            message,
            "use the client programs of the server's own version, 14 to 18",
        ),
    }
}

impl AsyncRead for DumpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match self.end {
            End::NotYet(_) => self.poll_data(cx, buf),
            _ => self.poll_end(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Pipes, Program};
    use std::path::Path;
    use tokio::io::AsyncReadExt;
    use tokio_util::sync::CancellationToken;

    async fn read(
        script: &str,
    ) -> (
        std::io::Result<usize>,
        Option<Result<ArchiveSummary, SourceError>>,
    ) {
        let pipes = Pipes {
            stdin: false,
            stdout: true,
        };
        let program = Program::new(Path::new("/bin/sh")).arg("-c").arg(script);
        let running = program
            .start(pipes, &CancellationToken::new(), None)
            .unwrap();
        let (mut stream, outcome) = DumpStream::new(running).unwrap();
        let read = stream.read_to_end(&mut Vec::new()).await;
        (read, outcome.take())
    }

    #[tokio::test]
    async fn the_end_comes_only_after_a_good_exit_of_a_whole_archive() {
        // 7 + 1 integers of the head, three empty strings, no entries: 5 bytes each.
        let whole = r"printf 'PGDMP\001\016\000\004\010\001'; head -c 60 /dev/zero";
        let (read_bytes, outcome) = read(whole).await;
        assert_eq!(read_bytes.unwrap(), 71);
        assert_eq!(outcome.unwrap().unwrap().bytes, 71);

        let (failed, outcome) = read(&format!("{whole}; echo out of luck >&2; exit 1")).await;
        assert!(failed.unwrap_err().to_string().contains("out of luck"));
        assert!(outcome.unwrap().is_err());

        let (failed, _) = read(&format!("{whole}; kill -9 $$")).await;
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .contains("killed by signal 9")
        );

        let (failed, _) = read("printf 'PGDMP'").await;
        assert!(failed.unwrap_err().to_string().contains("ends too early"));

        let (failed, _) = read("true").await;
        assert!(failed.unwrap_err().to_string().contains("ends too early"));

        let (failed, _) = read(&format!("{whole}; head -c 40 /dev/zero")).await;
        assert!(failed.is_err(), "bytes after the end");
    }

    #[tokio::test]
    async fn a_program_that_says_nothing_is_noticed() {
        let program = Program::new(Path::new("/bin/sleep")).arg("100");
        let pipes = Pipes {
            stdin: false,
            stdout: true,
        };
        let running = program
            .start(pipes, &CancellationToken::new(), None)
            .unwrap();
        let (mut stream, outcome) = DumpStream::new(running).unwrap();
        let mut bytes = Vec::new();
        tokio::select! {
            _ = stream.read_to_end(&mut bytes) => panic!("it ended"),
            () = outcome.stalled(Duration::from_millis(200)) => {}
        }
    }
}

//! How a run is going, between its task that tells and the session that sends.
//!
//! The task's calls never wait: they count, or put a line into a bounded buffer. The session looks twice a second,
//! and only while the coordinator takes what it is sent; so at most two progress messages a second leave a run, and
//! a coordinator that is slow or away costs log lines (counted), never the run's speed or memory.

mod eta;
mod log_buffer;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_proto::v1;
use holdfast_sources::Reporter;
use holdfast_vault::BackupStats;
use jiff::Timestamp;
use tokio::time::Instant;

use eta::Eta;
use log_buffer::LogBuffer;

/// How often the session looks at the runs.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What one run tells.
#[derive(Debug, Default)]
pub struct RunReporter {
    stats: Arc<BackupStats>,
    restored_bytes: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    phase: String,
    expected_bytes: u64,
    log: LogBuffer,
    eta: Eta,
    last: Option<v1::Progress>,
}

impl RunReporter {
    /// The counters that a backup's writer counts up.
    #[must_use]
    pub fn stats(&self) -> Arc<BackupStats> {
        Arc::clone(&self.stats)
    }

    /// Bytes read from the snapshot by a restore.
    #[must_use]
    pub fn restored(&self) -> u64 {
        self.restored_bytes.load(Ordering::Relaxed)
    }

    /// How far the run is at `now`; `None` when nothing has changed since the last look.
    pub fn take_progress(&self, now: Instant) -> Option<v1::Progress> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let read_bytes = count(&self.stats.read_bytes) + self.restored();
        let mut told = self.told();
        if told.phase.is_empty() {
            return None;
        }
        let expected_bytes = told.expected_bytes;
        let eta = told.eta.look(now, read_bytes, expected_bytes);
        let progress = v1::Progress {
            phase: told.phase.clone(),
            read_bytes,
            new_bytes: count(&self.stats.new_bytes),
            stored_bytes: count(&self.stats.stored_bytes),
            expected_bytes: still_expected(read_bytes, expected_bytes),
            eta_seconds: eta.unwrap_or(0),
        };
        if told.last.as_ref() == Some(&progress) {
            return None;
        }
        told.last = Some(progress.clone());
        Some(progress)
    }

    /// The next log lines to send; empty when there are none.
    pub fn take_log(&self) -> Vec<v1::LogLine> {
        self.told().log.take_batch()
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An expectation that was surpassed by a little is corrected; one that was surpassed by much was none.
fn still_expected(read_bytes: u64, expected_bytes: u64) -> u64 {
    if read_bytes > expected_bytes.saturating_add(expected_bytes / 20) {
        0
    } else {
        expected_bytes.max(read_bytes)
    }
}

impl Reporter for RunReporter {
    fn phase(&self, phase: &str) {
        tracing::info!(phase, "run goes on");
        phase.clone_into(&mut self.told().phase);
    }

    fn expected_bytes(&self, bytes: u64) {
        self.told().expected_bytes = bytes;
    }

    fn restored_bytes(&self, bytes: u64) {
        self.restored_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn log(&self, origin: &str, text: &str) {
        match origin {
            "error" | "warn" => tracing::warn!(origin, text, "run says"),
            _ => tracing::debug!(origin, text, "run says"),
        }
        let now = Timestamp::now().as_microsecond();
        self.told().log.push(now, origin, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_when_it_changed_and_a_wrong_expectation_is_not() {
        let reporter = RunReporter::default();
        let now = Instant::now();
        reporter.phase("dumping app");
        reporter.expected_bytes(100);
        reporter.restored_bytes(40);
        let first = reporter.take_progress(now).expect("something to tell");
        assert_eq!((first.read_bytes, first.expected_bytes), (40, 100));
        assert_eq!(reporter.take_progress(now), None);
        reporter.restored_bytes(63);
        let second = reporter.take_progress(now).expect("something to tell");
        assert_eq!((second.read_bytes, second.expected_bytes), (103, 103));
        reporter.restored_bytes(10);
        let third = reporter.take_progress(now).expect("something to tell");
        assert_eq!((third.read_bytes, third.expected_bytes), (113, 0));
    }
}

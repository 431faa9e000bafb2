//! Waiting for something to become true: by asking again and again, until a deadline.

use std::time::{Duration, Instant};

/// Time between two questions: short against everything that is waited for.
const PAUSE: Duration = Duration::from_millis(25);

/// What `probe` found. Panics, naming `what`, when it found nothing within `deadline`.
pub fn until<T>(what: &str, deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            started.elapsed() < deadline,
            "waited {deadline:?} in vain for {what}"
        );
        std::thread::sleep(PAUSE);
    }
}

/// Waits until `probe` says so.
pub fn until_true(what: &str, deadline: Duration, mut probe: impl FnMut() -> bool) {
    until(what, deadline, || probe().then_some(()));
}

/// Lets `time` pass: for stories in which time itself is the cause ("ten seconds without a coordinator"), never to let
/// something else happen.
pub fn let_pass(time: Duration) {
    let started = Instant::now();
    while started.elapsed() < time {
        std::thread::sleep(time.saturating_sub(started.elapsed()));
    }
}

/// Seconds, for brevity in the stories.
#[must_use]
pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

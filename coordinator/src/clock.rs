//! The wall clock, as the state and the wire write it. Leases never use it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// UTC microseconds since 1970.
#[must_use]
pub fn now_micros() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    micros(since)
}

/// A duration in microseconds, cut where the state's integers end.
#[must_use]
pub fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A moment as people read it, UTC to the second.
#[must_use]
pub fn readable(micros: i64) -> String {
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("{micros} microseconds after 1970"),
    }
}

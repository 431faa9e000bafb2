//! How long and how often a coordinator that went away is looked for: pauses that double from half a second to ten, until
//! the time is over.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Counts from the first loss; begins anew after each answer.
pub struct Patience {
    limit: Duration,
    lost_at: Option<Instant>,
    next_pause: Duration,
}

impl Patience {
    /// Patience for `limit`.
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            lost_at: None,
            next_pause: FIRST_PAUSE,
        }
    }

    /// Whether this is the first loss since the last answer.
    pub fn is_new(&self) -> bool {
        self.lost_at.is_none()
    }

    /// Whether another try is worth its pause.
    pub fn is_left(&self) -> bool {
        match self.lost_at {
            Some(at) => at.elapsed() < self.limit,
            None => !self.limit.is_zero(),
        }
    }

    /// Waits before the next try.
    pub async fn pause(&mut self) {
        let lost_at = *self.lost_at.get_or_insert_with(Instant::now);
        let left = self.limit.saturating_sub(lost_at.elapsed());
        tokio::time::sleep(self.next_pause.min(left)).await;
        self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
    }

    /// The coordinator answered. True when it had been away.
    pub fn reset(&mut self) -> bool {
        self.next_pause = FIRST_PAUSE;
        self.lost_at.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn patience_ends_and_begins_anew_with_an_answer() {
        let mut patience = Patience::new(Duration::from_millis(40));
        assert!(patience.is_new() && patience.is_left());
        patience.pause().await;
        assert!(!patience.is_new() && !patience.is_left());
        assert!(patience.reset());
        assert!(!patience.reset());
        assert!(patience.is_left());
        assert!(!Patience::new(Duration::ZERO).is_left());
    }
}

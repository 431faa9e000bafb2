//! When a run will be done, told only when it can be known.
//!
//! Two averages of the rate, a quick and a slow one (exponential, time constants of 5 and 30 seconds): while they
//! disagree by more than half the rate is not steady, and no estimate is better than a wrong one. The estimate goes
//! by the slow one.

use std::time::Duration;

use tokio::time::Instant;

const QUICK: Duration = Duration::from_secs(5);
const SLOW: Duration = Duration::from_secs(30);
/// Nothing is said before the rate has been watched for so long.
const WATCH_FIRST: Duration = Duration::from_secs(5);
/// Looks closer together than this are not told apart.
const SHORTEST_STEP: Duration = Duration::from_millis(100);

/// Watches a growing counter.
#[derive(Debug, Default)]
pub struct Eta {
    began: Option<Instant>,
    last: Option<(Instant, u64)>,
    quick: f64,
    slow: f64,
}

impl Eta {
    /// Looks at the counter at `now`; answers the seconds left until it reaches `expected` (0: not known).
    pub fn look(&mut self, now: Instant, done: u64, expected: u64) -> Option<u64> {
        self.measure(now, done);
        let watched = now.saturating_duration_since(self.began?);
        let steady = self.quick > self.slow * 0.5 && self.quick < self.slow * 1.5;
        if watched < WATCH_FIRST || !steady || expected <= done || self.slow < 1.0 {
            return None;
        }
        let seconds = (expected - done) as f64 / self.slow;
        Some((seconds.ceil() as u64).max(1))
    }

    fn measure(&mut self, now: Instant, done: u64) {
        let Some((then, before)) = self.last else {
            if done > 0 {
                self.began = Some(now);
                self.last = Some((now, done));
            }
            return;
        };
        let step = now.saturating_duration_since(then);
        if step < SHORTEST_STEP {
            return;
        }
        self.last = Some((now, done));
        let rate = done.saturating_sub(before) as f64 / step.as_secs_f64();
        let first = self.quick == 0.0 && self.slow == 0.0;
        for (average, constant) in [(&mut self.quick, QUICK), (&mut self.slow, SLOW)] {
            let weight = 1.0 - (-step.as_secs_f64() / constant.as_secs_f64()).exp();
            *average += (rate - *average) * if first { 1.0 } else { weight };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(rates: &[u64], expected: u64) -> Vec<Option<u64>> {
        let start = Instant::now();
        let mut eta = Eta::default();
        let mut done = 1;
        let mut answers = vec![eta.look(start, done, expected)];
        for (second, rate) in rates.iter().enumerate() {
            done += rate;
            let now = start + Duration::from_secs(second as u64 + 1);
            answers.push(eta.look(now, done, expected));
        }
        answers
    }

    #[test]
    fn a_steady_rate_gives_an_estimate_after_a_while() {
        let answers = play(&[1_000; 20], 100_001);
        assert_eq!(answers[3], None);
        assert_eq!(answers[20], Some(80));
    }

    #[test]
    fn no_size_no_rate_or_an_unsteady_one_give_none() {
        assert!(play(&[1_000; 20], 0).iter().all(Option::is_none));
        assert!(play(&[0; 20], 1_000).iter().all(Option::is_none));
        let mut stalled = [1_000; 40];
        stalled[20..].fill(0);
        let answers = play(&stalled, 100_000);
        assert!(answers[20].is_some());
        assert_eq!(answers[30], None);
        // Read past what was expected: the expectation was wrong.
        assert_eq!(play(&[1_000; 20], 5_000)[20], None);
    }
}

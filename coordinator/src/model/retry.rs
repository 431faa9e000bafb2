//! Whether a run that did not succeed is tried again, and after which pause.

use std::time::Duration;

/// The longest pause between two attempts.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Why an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The agent says another try may work.
    Retryable,
    /// Another try would end the same way, or a condition forbids the work.
    Final,
    /// Nothing was heard of it any more.
    Lapsed,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Queue it again, not to be handed out before this pause is over.
    Again(Duration),
    /// It has failed.
    Fail,
    /// Nobody can say what became of it.
    Lose,
}

/// How often and how fast runs are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryTerms {
    /// Hand-outs of one run, the first included.
    pub attempts: u32,
    /// First pause; it doubles with every attempt up to [`LONGEST_PAUSE`].
    pub pause: Duration,
}

impl RetryTerms {
    /// Decides after attempt number `attempt` (from 1). `jitter` in 0..1 spreads the pause over its second half, so that
    /// what failed together does not come back together.
    #[must_use]
    pub fn decide(&self, ending: Ending, attempt: u32, jitter: f64) -> Verdict {
        let over = attempt >= self.attempts;
        match ending {
            Ending::Final => Verdict::Fail,
            Ending::Retryable if over => Verdict::Fail,
            Ending::Lapsed if over => Verdict::Lose,
            Ending::Retryable => Verdict::Again(self.pause_after(attempt, jitter)),
            // The lease was the pause.
            Ending::Lapsed => Verdict::Again(Duration::ZERO),
        }
    }

    fn pause_after(&self, attempt: u32, jitter: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let whole = self.pause.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        whole / 2 + whole.mul_f64(jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: RetryTerms = RetryTerms {
        attempts: 3,
        pause: Duration::from_secs(10),
    };

    #[test]
    fn three_attempts_with_doubling_pauses() {
        let again = |seconds| Verdict::Again(Duration::from_secs(seconds));
        assert_eq!(TERMS.decide(Ending::Retryable, 1, 1.0), again(10));
        assert_eq!(TERMS.decide(Ending::Retryable, 2, 1.0), again(20));
        assert_eq!(TERMS.decide(Ending::Retryable, 3, 1.0), Verdict::Fail);
        assert_eq!(TERMS.decide(Ending::Lapsed, 2, 1.0), again(0));
        assert_eq!(TERMS.decide(Ending::Lapsed, 3, 1.0), Verdict::Lose);
    }

    #[test]
    fn what_is_not_worth_it_is_not_tried_again() {
        for attempt in 1..5 {
            assert_eq!(TERMS.decide(Ending::Final, attempt, 0.5), Verdict::Fail);
        }
    }

    proptest! {
        #[test]
        fn a_pause_stays_within_its_bounds(attempt in 1_u32..200, jitter in 0.0_f64..1.0) {
            let terms = RetryTerms { attempts: u32::MAX, ..TERMS };
            let Verdict::Again(pause) = terms.decide(Ending::Retryable, attempt, jitter) else {
                panic!("tried again");
            };
            prop_assert!(pause >= terms.pause / 2 && pause <= LONGEST_PAUSE);
        }
    }
}

//! The end of a session: all work is ended, the coordinator is told, and neither takes for ever.

use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use crate::held::event::Input;
use crate::held::stop::Stop;
use crate::runs::CANCEL_GRACE;

/// How long the last results may take to be acknowledged when the process ends.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How a session came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionEnd {
    /// It was told to.
    Shutdown,
    /// Another process has taken this agent's place.
    Displaced {
        /// Its host and address.
        by: String,
    },
    /// The coordinator does not accept this agent any more.
    Revoked {
        /// In its words.
        reason: String,
    },
}

/// Why the session is about to end, and when at the latest.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) end: SessionEnd,
    pub(super) at: Instant,
}

impl Session {
    /// Ends all work; the session ends when it has ended and the coordinator knows, or time is over.
    pub(super) fn leave(&mut self, end: SessionEnd, stop: &Stop) {
        if self.leaving.is_none() {
            let at = Instant::now() + CANCEL_GRACE + LAST_WORDS;
            if !matches!(end, SessionEnd::Shutdown) {
                self.connection.close();
            }
            self.leaving = Some(Leaving { end, at });
        }
        for key in self.held.keys() {
            self.step(key, Input::Stop(stop.clone()), None);
        }
    }

    /// The end, once there is nothing left to do or no time.
    pub(super) fn ended(&mut self) -> Option<SessionEnd> {
        let working = self.held.working() > 0;
        let up = self.connection.is_up();
        let leaving = self.leaving.as_mut()?;
        let now = Instant::now();
        if !working {
            leaving.at = leaving.at.min(now + LAST_WORDS);
        }
        let told = self.held.is_empty() || !up;
        let unsent = up && !self.outbox.is_empty();
        if (working || unsent || !told) && now < leaving.at {
            return None;
        }
        if working {
            tracing::error!("runs did not end in time; their children are killed");
        }
        Some(leaving.end.clone())
    }
}

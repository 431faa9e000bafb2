//! The life of a run as a domain type: states and what may follow what.
//!
//! `queued -> assigned -> running -> committing -> succeeded | failed | cancelled | lost`. Which step may follow which is the
//! coordinator's knowledge (its `model::run`); here are the words.

use std::{fmt, str::FromStr};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// Waits for its agent, its time, or the run before it.
    Queued,
    /// Handed to an agent with an epoch and a lease.
    Assigned,
    /// The agent works on it.
    Running,
    /// The agent may write the snapshot, for a limited time; nobody else may have the run meanwhile.
    Committing,
    /// Done, all of it.
    Succeeded,
    /// Ended with a [`crate::v1::Failure`].
    Failed,
    /// Ended because an operator asked.
    Cancelled,
    /// Nobody can say what became of it: its leases lapsed too often.
    Lost,
}

impl RunState {
    /// Every state, in order.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Assigned,
        Self::Running,
        Self::Committing,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Lost,
    ];

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Lost
        )
    }

    /// The word for it in the state, on the wire's display and in commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Assigned => "assigned",
            Self::Running => "running",
            Self::Committing => "committing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no run state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a run state: queued, assigned, running, committing, succeeded, failed, cancelled or lost"
)]
pub struct UnknownState(pub String);

impl FromStr for RunState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| UnknownState(text.into()))
    }
}

//! Why the work on a run ends before it is done, and what is then reported.

use holdfast_proto::v1;

/// A reason from outside the work itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// An operator asked.
    Cancelled {
        /// Who.
        by: String,
    },
    /// The coordinator has given the run to a later epoch, or ended it.
    LeaseLost {
        /// In the coordinator's words.
        reason: String,
    },
    /// The run's credentials have ended and no new ones came.
    GrantEnded,
    /// The run took longer than it may.
    DeadlineOver,
    /// Another process has taken this agent's place.
    Displaced,
    /// This process was told to end.
    Shutdown,
}

impl Stop {
    /// Whether nobody waits for word of the run.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        matches!(self, Self::LeaseLost { .. } | Self::Displaced)
    }

    /// What the run came to; `None` where nobody waits for it.
    #[must_use]
    pub fn result(&self) -> Option<v1::RunResult> {
        let failure = |class: v1::FailureClass, message: &str, hint: &str| {
            v1::run_result::Result::Failure(v1::Failure {
                class: class.into(),
                message: message.to_owned(),
                hint: hint.to_owned(),
            })
        };
        let result = match self {
            Self::LeaseLost { .. } | Self::Displaced => return None,
            Self::Cancelled { by } => v1::run_result::Result::CancelledBy(by.clone()),
            Self::GrantEnded => failure(
                v1::FailureClass::Retryable,
                "the credentials for this run ended and the coordinator sent no new ones in time",
                "see whether the agent reached the coordinator all the time, and whether the vault's token service answers it",
            ),
            Self::DeadlineOver => failure(
                v1::FailureClass::Permanent,
                "the run took longer than its deadline",
                "see in the run's log what it waited for, or raise the deadline in the coordinator's [runs] configuration",
            ),
            Self::Shutdown => failure(
                v1::FailureClass::Retryable,
                "the agent was stopped",
                "start the agent again; the run is then tried again",
            ),
        };
        Some(v1::RunResult {
            result: Some(result),
        })
    }

    /// For the log.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Cancelled { by } => format!("cancelled by {by}"),
            Self::LeaseLost { reason } => format!("the coordinator took the run away: {reason}"),
            Self::GrantEnded => "its credentials ended".to_owned(),
            Self::DeadlineOver => "its deadline is over".to_owned(),
            Self::Displaced => "another process took this agent's place".to_owned(),
            Self::Shutdown => "the agent is stopped".to_owned(),
        }
    }
}

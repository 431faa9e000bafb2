//! What happens to a held run, and what its owner is to do about it: the two sides of [`super::life`].

use std::time::Duration;

use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message;
use tokio::time::Instant;

use super::grant::GrantTimes;
use super::stop::Stop;

/// What is to be committed. A restore names no snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// Hex id, or empty.
    pub snapshot_id: String,
    /// Length of the sealed snapshot.
    pub snapshot_bytes: u64,
}

/// The right to change the outside, for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// Not a moment later.
    pub until: Instant,
}

/// The coordinator's answer to a [`Question`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether the run may commit.
    pub permitted: bool,
    /// Counted from the moment the question was put.
    pub valid_for: Duration,
    /// Why not.
    pub reason: String,
}

/// What happens to a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Its source is free: the task starts.
    Begin,
    /// The task asks for the permission to commit.
    Ask(Question),
    /// The coordinator answers.
    Decided(Decision),
    /// The work is to end.
    Stop(Stop),
    /// A new grant has come.
    Granted(GrantTimes),
    /// The task is over with a result, or with a failure.
    Ended(Result<v1::RunResult, v1::Failure>),
    /// A new link stands; the coordinator does or does not let the run go on.
    LinkUp {
        /// Whether it may go on.
        kept: bool,
    },
    /// The coordinator has recorded the end.
    Acknowledged,
    /// Time has passed.
    Tick,
}

/// What the owner of the run is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send this, if there is a link. What is lost with a link is said again on the next one.
    Send(Message),
    /// End the task and its children.
    CancelWork,
    /// Answer the task's question.
    Answer(Result<Permission, String>),
    /// Drop everything about the run.
    Forget,
}

//! Asking for the permission to commit, from inside a run's task.
//!
//! The session owns the question (it asks again after each reconnect); the task only waits, for as long as the run
//! may live: until its grant ends, its deadline is over, or it is cancelled, all of which end the wait by the run's
//! cancellation.

use async_trait::async_trait;
use holdfast_proto::convert::RunEpoch;
use holdfast_sources::{CommitGate, SourceError};
use holdfast_vault::PresignedPut;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::held::event::Question;

/// The right to commit.
#[derive(Debug)]
pub struct Permit {
    /// Not a moment later.
    pub until: Instant,
    /// The request that writes the snapshot, where the run's own credentials may not.
    pub put: Option<PresignedPut>,
}

/// A question on its way to the session.
#[derive(Debug)]
pub struct Ask {
    /// Who asks.
    pub key: RunEpoch,
    /// What is to be committed.
    pub question: Question,
    /// Where the answer goes; `Err` says why not.
    pub answer: oneshot::Sender<Result<Permit, String>>,
}

/// A run's way to ask.
#[derive(Debug, Clone)]
pub struct CommitDesk {
    /// Who asks.
    pub key: RunEpoch,
    /// The session.
    pub asks: mpsc::Sender<Ask>,
    /// Ends the wait.
    pub cancel: CancellationToken,
}

impl CommitDesk {
    /// Waits for the permission to commit.
    pub async fn ask(&self, question: Question) -> Result<Permit, SourceError> {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(SourceError::Cancelled),
            answer = self.ask_until_answered(question) => answer,
        }
    }

    async fn ask_until_answered(&self, question: Question) -> Result<Permit, SourceError> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            key: self.key,
            question,
            answer,
        };
        if self.asks.send(ask).await.is_err() {
            return Err(SourceError::Cancelled);
        }
        match answered.await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(reason)) => Err(SourceError::retryable(
                format!("the coordinator did not permit the commit: {reason}"),
                "nothing was changed; the run is tried again while attempts remain",
            )),
            Err(_) => Err(SourceError::Cancelled),
        }
    }
}

#[async_trait]
impl CommitGate for CommitDesk {
    async fn enter(&self) -> Result<(), SourceError> {
        let permit = self.ask(Question::default()).await?;
        let late = Instant::now().saturating_duration_since(permit.until);
        if late.is_zero() {
            return Ok(());
        }
        Err(SourceError::retryable(
            format!("the permission to change the live service came {late:?} too late"),
            "nothing was changed; the run is tried again while attempts remain",
        ))
    }
}

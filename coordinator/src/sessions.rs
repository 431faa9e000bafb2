//! The agents that are connected, one session each.
//!
//! Promise: an agent that does not read holds nobody up. What is pushed to it goes into a bounded queue; when that is
//! full the session ends, and the agent reconciles when it comes back. A session of the same process replaces the former
//! one silently; one of another process displaces it, and the displaced is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures::Stream;
use holdfast_proto::ids::AgentId;
use holdfast_proto::v1::coordinator_message::Message;
use holdfast_proto::v1::{CoordinatorMessage, Displaced};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// Messages waiting for one agent.
const QUEUE: usize = 64;

/// How long an answer may wait for an agent that reads slowly.
const REPLY_DEADLINE: Duration = Duration::from_secs(30);

/// One open session.
#[derive(Debug)]
pub struct Session {
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// Which process of it.
    pub instance: String,
    /// The host it runs on, as it says.
    pub hostname: String,
    /// Where it connects from.
    pub remote: SocketAddr,
    number: u64,
    queue: mpsc::Sender<CoordinatorMessage>,
    end: CancellationToken,
    status: OnceLock<Option<Status>>,
}

/// What an agent reads.
pub type Outgoing =
    std::pin::Pin<Box<dyn Stream<Item = Result<CoordinatorMessage, Status>> + Send>>;

impl Session {
    /// A session that is not in the registry yet, and what its agent reads.
    #[must_use]
    pub fn open(
        agent: AgentId,
        name: &str,
        instance: &str,
        hostname: &str,
        remote: SocketAddr,
    ) -> (Arc<Self>, Outgoing) {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let (queue, receiver) = mpsc::channel(QUEUE);
        let session = Arc::new(Self {
            agent,
            name: name.into(),
            instance: instance.into(),
            hostname: hostname.into(),
            remote,
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            queue,
            end: CancellationToken::new(),
            status: OnceLock::new(),
        });
        let outgoing = outgoing(receiver, Arc::clone(&session));
        (session, outgoing)
    }

    /// Queues a message without waiting. False: the session is over, or ends now because its agent does not read.
    pub fn push(&self, message: Message) -> bool {
        let message = CoordinatorMessage {
            message: Some(message),
        };
        match self.queue.try_send(message) {
            Ok(()) => !self.end.is_cancelled(),
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::warn!(agent = %self.name, "the agent does not read its messages; its session ends");
                self.end(Some(Status::resource_exhausted(
                    "the agent does not read its messages",
                )));
                false
            }
        }
    }

    /// Queues an answer, waiting for room: that slows down this agent alone.
    pub async fn reply(&self, message: Message) -> bool {
        let message = CoordinatorMessage {
            message: Some(message),
        };
        let sent = self.queue.send_timeout(message, REPLY_DEADLINE).await;
        if sent.is_err() {
            self.end(Some(Status::resource_exhausted(
                "the agent does not read its messages",
            )));
        }
        sent.is_ok()
    }

    /// Ends the session after what is queued; the first given status is the one that the agent gets.
    pub fn end(&self, status: Option<Status>) {
        let _ = self.status.set(status);
        self.end.cancel();
    }

    /// Returns when the session has been ended.
    pub async fn ended(&self) {
        self.end.cancelled().await;
    }
}

enum Reading {
    Open(mpsc::Receiver<CoordinatorMessage>, Arc<Session>),
    Over,
}

fn outgoing(receiver: mpsc::Receiver<CoordinatorMessage>, session: Arc<Session>) -> Outgoing {
    let start = Reading::Open(receiver, session);
    Box::pin(futures::stream::unfold(start, |reading| async {
        let Reading::Open(mut receiver, session) = reading else {
            return None;
        };
        let next = tokio::select! {
            biased;
            next = receiver.recv() => next,
            () = session.end.cancelled() => {
                // What was queued before the end still goes out.
                receiver.close();
                receiver.recv().await
            }
        };
        match next {
            Some(message) => Some((Ok(message), Reading::Open(receiver, session))),
            None => {
                let status = session.status.get().cloned().flatten()?;
                Some((Err(status), Reading::Over))
            }
        }
    }))
}

/// What the registry did with a session's predecessor.
#[derive(Debug)]
pub enum Former {
    /// There was none.
    None,
    /// The same process has connected again.
    Replaced,
    /// Another process was displaced.
    Displaced(Arc<Session>),
}

/// All open sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    open: Mutex<HashMap<AgentId, Arc<Session>>>,
}

impl Sessions {
    /// Makes `session` the agent's one.
    pub fn register(&self, session: &Arc<Session>) -> Former {
        let former = self.lock().insert(session.agent, Arc::clone(session));
        let Some(former) = former else {
            return Former::None;
        };
        if former.instance == session.instance {
            former.end(None);
            return Former::Replaced;
        }
        former.push(Message::Displaced(Displaced {
            by_host: session.hostname.clone(),
            by_address: session.remote.to_string(),
        }));
        former.end(None);
        Former::Displaced(former)
    }

    /// Takes `session` out, unless a later one has its place.
    pub fn unregister(&self, session: &Session) {
        let mut open = self.lock();
        if open
            .get(&session.agent)
            .is_some_and(|held| held.number == session.number)
        {
            open.remove(&session.agent);
        }
    }

    /// The agent's session.
    #[must_use]
    pub fn get(&self, agent: AgentId) -> Option<Arc<Session>> {
        let found = self.lock().get(&agent).cloned();
        found.filter(|session| !session.end.is_cancelled())
    }

    /// Every agent that has a session.
    #[must_use]
    pub fn connected(&self) -> Vec<AgentId> {
        self.lock().keys().copied().collect()
    }

    /// Ends all sessions.
    pub fn end_all(&self, status: &Status) {
        for session in self.lock().values() {
            session.end(Some(status.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AgentId, Arc<Session>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

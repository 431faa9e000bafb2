//! The agent service.

mod greeting;
mod messages;

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::v1;
use holdfast_proto::v1::agent_service_server::AgentService;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::caller;
use crate::coordinator::Coordinator;
use crate::members::{join, renew};
use crate::sessions::Outgoing;

/// How long an agent may take to say hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(15);

/// Serves agents.
#[derive(Debug, Clone)]
pub struct Agents {
    coordinator: Arc<Coordinator>,
}

impl Agents {
    /// Serves agents of this coordinator.
    #[must_use]
    pub fn new(coordinator: Arc<Coordinator>) -> Self {
        Self { coordinator }
    }
}

#[tonic::async_trait]
impl AgentService for Agents {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let remote = caller::remote(&request).ip().to_string();
        let joined = join::join(&self.coordinator, request.into_inner(), &remote).await;
        if let Err(fault) = &joined {
            tracing::warn!(remote, error = %fault, "refused to let an agent join");
        }
        Ok(Response::new(joined?))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let peer = caller::peer(&request)?;
        let renewed = renew::renew(&self.coordinator, &peer, request.get_ref()).await?;
        Ok(Response::new(renewed))
    }

    type SessionStream = Outgoing;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Outgoing>, Status> {
        let peer = caller::peer(&request)?;
        let remote = caller::remote(&request);
        let mut incoming = request.into_inner();
        let hello = first_message(&mut incoming).await?;
        let coordinator = Arc::clone(&self.coordinator);
        let span = tracing::info_span!("session", agent = peer.name(), %remote);
        let (session, outgoing) = greeting::greet(&coordinator, &peer, remote, hello)
            .instrument(span.clone())
            .await?;
        tokio::spawn(messages::serve(coordinator, session, peer, incoming).instrument(span));
        Ok(Response::new(outgoing))
    }
}

async fn first_message(incoming: &mut Streaming<v1::AgentMessage>) -> Result<v1::Hello, Status> {
    let first = tokio::time::timeout(HELLO_DEADLINE, incoming.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello came"))??;
    match first.and_then(|message| message.message) {
        Some(v1::agent_message::Message::Hello(hello)) => Ok(hello),
        _ => Err(Status::invalid_argument(
            "the first message of a session is hello",
        )),
    }
}

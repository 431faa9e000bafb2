//! The agent service that a [`crate::coordinator::FakeCoordinator`] serves: it signs what it is asked to and hands
//! sessions on.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use holdfast_identity::{
    CertificateAuthority, CertificateRequest, Role, Subject, Validity, peer_of,
};
use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message as FromAgent;
use holdfast_proto::v1::agent_service_server::AgentService;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use crate::coordinator::FakeSession;

pub struct Shared {
    pub authority: Arc<CertificateAuthority>,
    pub joins: Mutex<Vec<v1::JoinRequest>>,
    pub renewals: Mutex<u32>,
    pub certificate_life: Mutex<Duration>,
    pub sessions: mpsc::Sender<FakeSession>,
}

pub struct Service(pub Arc<Shared>);

#[tonic::async_trait]
impl AgentService for Service {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let request = request.into_inner();
        let csr = CertificateRequest::from_der(&request.csr).map_err(invalid)?;
        if request.token_secret != [7; 32] {
            return Err(Status::permission_denied("this token was used already"));
        }
        self.0.joins.lock().expect("unpoisoned").push(request);
        let id = Uuid::now_v7();
        let subject = Subject::new(Role::Agent, id, "db1").map_err(invalid)?;
        let certificate = self.0.sign(&csr, &subject)?;
        Ok(Response::new(v1::JoinResponse {
            agent_id: id.to_string(),
            agent_name: "db1".into(),
            certificate_pem: certificate,
            ca_pem: self.0.authority.certificate().to_pem(),
        }))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let peer = peer_of(request.extensions()).ok_or_else(|| Status::unauthenticated("who?"))?;
        let csr = CertificateRequest::from_der(&request.get_ref().csr).map_err(invalid)?;
        *self.0.renewals.lock().expect("unpoisoned") += 1;
        Ok(Response::new(v1::RenewResponse {
            certificate_pem: self.0.sign(&csr, peer.subject())?,
            ca_pem: self.0.authority.certificate().to_pem(),
        }))
    }

    type SessionStream = Pin<Box<dyn Stream<Item = Result<v1::CoordinatorMessage, Status>> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        peer_of(request.extensions()).ok_or_else(|| Status::unauthenticated("who?"))?;
        let mut from_agent = request.into_inner();
        let first = from_agent.message().await?.and_then(|first| first.message);
        let Some(FromAgent::Hello(hello)) = first else {
            return Err(Status::invalid_argument("no hello"));
        };
        let (to_agent, receiver) = mpsc::channel(64);
        let session = FakeSession {
            hello,
            to_agent,
            from_agent,
            passed: Vec::new(),
        };
        let handed = self.0.sessions.send(session).await;
        handed.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

impl Shared {
    fn sign(&self, csr: &CertificateRequest, subject: &Subject) -> Result<String, Status> {
        let lifetime = *self.certificate_life.lock().expect("unpoisoned");
        let signed = self.authority.sign(csr, subject, life(lifetime));
        Ok(signed.map_err(invalid)?.to_pem())
    }
}

pub fn life(lifetime: Duration) -> Validity {
    Validity::starting(Timestamp::now(), lifetime).expect("a span of time")
}

fn invalid(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

//! An agent that does what a test tells it: it joins for real and speaks the real session, and does no work.

use std::time::Duration;

use holdfast_identity::{CaCertificate, Certificate, ClientTls, Identity, JoinToken, NewKey};
use holdfast_proto::v1::agent_message::Message as Said;
use holdfast_proto::v1::agent_service_client::AgentServiceClient;
use holdfast_proto::v1::coordinator_message::Message;
use holdfast_proto::{v1, version};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::installation::{Control, Installation};

const PATIENCE: Duration = Duration::from_secs(10);

/// An agent with its identity, not connected.
#[derive(Clone)]
pub struct FakeAgent {
    pub identity: Identity,
    pub instance: String,
    pub sources: Vec<v1::SourceInfo>,
}

/// An open session.
pub struct FakeSession {
    pub welcome: v1::Welcome,
    sender: mpsc::Sender<v1::AgentMessage>,
    incoming: Streaming<v1::CoordinatorMessage>,
}

pub async fn invite(control: &mut Control, name: &str) -> JoinToken {
    let request = v1::InviteAgentRequest {
        name: name.into(),
        expires_in_seconds: 0,
    };
    let invited = control
        .invite_agent(request)
        .await
        .expect("invited")
        .into_inner();
    invited.token.parse().expect("a token")
}

pub async fn join(token: &JoinToken, name: &str) -> Result<Identity, Status> {
    let tls = ClientTls::pinned(token.pin()).expect("TLS");
    let channel = tls.connect(token.address()).await.expect("connected");
    let key = NewKey::generate(name).expect("a key");
    let request = v1::JoinRequest {
        token_id: token.id().to_string(),
        token_secret: token.secret().expose_bytes().to_vec(),
        csr: key.request_der().to_vec(),
        version: Some(version::own()),
    };
    let joined = AgentServiceClient::new(channel)
        .join(request)
        .await?
        .into_inner();
    let certificate = Certificate::from_pem(&joined.certificate_pem).expect("a certificate");
    let ca = CaCertificate::from_pem(&joined.ca_pem).expect("an authority");
    Ok(key.with_certificate(certificate, ca).expect("they fit"))
}

impl FakeAgent {
    /// Invites and joins an agent with these sources.
    pub async fn join(control: &mut Control, name: &str, sources: &[&str]) -> Self {
        let token = invite(control, name).await;
        let identity = join(&token, name).await.expect("joined");
        Self {
            identity,
            instance: Uuid::now_v7().to_string(),
            sources: sources.iter().map(|name| source(name)).collect(),
        }
    }

    /// The same certificate in another process.
    pub fn cloned_process(&self) -> Self {
        Self {
            instance: Uuid::now_v7().to_string(),
            ..self.clone()
        }
    }

    pub fn hello(&self, held: &[v1::HeldRun]) -> v1::Hello {
        v1::Hello {
            version: Some(version::own()),
            hostname: "db-host".into(),
            sources: self.sources.clone(),
            held_runs: held.to_vec(),
            clock_micros: jiff::Timestamp::now().as_microsecond(),
            instance_id: self.instance.clone(),
        }
    }

    pub async fn connect(&self, at: &Installation) -> FakeSession {
        self.connect_holding(at, &[]).await
    }

    pub async fn connect_holding(&self, at: &Installation, held: &[v1::HeldRun]) -> FakeSession {
        self.connect_with(at, self.hello(held))
            .await
            .expect("a session")
    }

    pub async fn connect_with(
        &self,
        at: &Installation,
        hello: v1::Hello,
    ) -> Result<FakeSession, Status> {
        let channel = at.channel(self.identity.clone()).await;
        let (sender, receiver) = mpsc::channel(64);
        let first = v1::AgentMessage {
            message: Some(Said::Hello(hello)),
        };
        sender.send(first).await.expect("open");
        let mut client = AgentServiceClient::new(channel);
        let mut incoming = client
            .session(ReceiverStream::new(receiver))
            .await?
            .into_inner();
        let welcome = match read(&mut incoming).await? {
            Some(Message::Welcome(welcome)) => welcome,
            other => panic!("the first message is {other:?}"),
        };
        Ok(FakeSession {
            welcome,
            sender,
            incoming,
        })
    }
}

pub fn source(name: &str) -> v1::SourceInfo {
    v1::SourceInfo {
        name: name.into(),
        kind: "postgres".into(),
        methods: vec!["dump".into()],
        ..Default::default()
    }
}

async fn read(incoming: &mut Streaming<v1::CoordinatorMessage>) -> Result<Option<Message>, Status> {
    let message = tokio::time::timeout(PATIENCE, incoming.message()).await;
    let message =
        message.map_err(|_| Status::deadline_exceeded("the coordinator says nothing"))??;
    Ok(message.and_then(|message| message.message))
}

impl FakeSession {
    pub async fn send(&self, message: Said) {
        let message = v1::AgentMessage {
            message: Some(message),
        };
        self.sender
            .send(message)
            .await
            .expect("the session is open");
    }

    /// The next message; `None` at the end of the session.
    pub async fn next(&mut self) -> Result<Option<Message>, Status> {
        read(&mut self.incoming).await
    }

    /// How the session ended.
    pub async fn end(&mut self) -> Result<(), Status> {
        loop {
            if self.next().await?.is_none() {
                return Ok(());
            }
        }
    }

    /// The first message that `pick` takes; others are passed over.
    pub async fn wait<T>(&mut self, pick: impl Fn(Message) -> Option<T>) -> T {
        loop {
            let message = self
                .next()
                .await
                .expect("a message")
                .expect("the session is open");
            if let Some(picked) = pick(message) {
                return picked;
            }
        }
    }

    pub async fn assignment(&mut self) -> v1::RunAssignment {
        self.wait(|message| match message {
            Message::Assignment(assignment) => Some(assignment),
            _ => None,
        })
        .await
    }

    /// Takes the next assignment and says that it began.
    pub async fn begin(&mut self) -> v1::RunAssignment {
        let assignment = self.assignment().await;
        self.send(Said::RunStarted(v1::RunStarted {
            run_id: assignment.run_id.clone(),
            epoch: assignment.epoch,
        }))
        .await;
        assignment
    }

    pub async fn ask_commit(
        &mut self,
        run_id: &str,
        epoch: u64,
        snapshot: &str,
    ) -> v1::CommitDecision {
        let bytes = if snapshot.is_empty() { 0 } else { 300 };
        self.send(Said::CommitRequest(v1::CommitRequest {
            run_id: run_id.into(),
            epoch,
            snapshot_id: snapshot.into(),
            snapshot_bytes: bytes,
        }))
        .await;
        self.wait(|message| match message {
            Message::CommitDecision(decision) => Some(decision),
            _ => None,
        })
        .await
    }

    /// Reports a result and waits until the coordinator has recorded it.
    pub async fn finish(&mut self, run_id: &str, epoch: u64, result: v1::run_result::Result) {
        self.send(Said::RunFinished(v1::RunFinished {
            run_id: run_id.into(),
            epoch,
            result: Some(v1::RunResult {
                result: Some(result),
            }),
        }))
        .await;
        let (id, number) = (run_id.to_owned(), epoch);
        self.wait(move |message| match message {
            Message::RunAcknowledged(done) if done.run_id == id && done.epoch == number => Some(()),
            _ => None,
        })
        .await;
    }

    /// Renews the lease of one run; `Err` with the reason when it is lost.
    pub async fn renew(&mut self, run_id: &str, epoch: u64) -> Result<(), String> {
        self.send(Said::LeaseRenewal(v1::LeaseRenewal {
            runs: vec![held(run_id, epoch)],
        }))
        .await;
        let id = run_id.to_owned();
        self.wait(move |message| match message {
            Message::LeaseRenewed(renewed) if renewed.runs.iter().any(|run| run.run_id == id) => {
                Some(Ok(()))
            }
            Message::LeaseLost(lost) if lost.run_id == id && lost.epoch == epoch => {
                Some(Err(lost.reason))
            }
            _ => None,
        })
        .await
    }
}

pub fn held(run_id: &str, epoch: u64) -> v1::HeldRun {
    v1::HeldRun {
        run_id: run_id.into(),
        epoch,
        state: v1::RunState::Running.into(),
    }
}

//! A coordinator without a mind of its own: it accepts agents, and hands each session to the test.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_identity::{
    AdmitPeer, CertificateAuthority, CoordinatorAddress, Identity, IdentitySlot, JoinSecret,
    JoinToken, Role, ServerTls, Subject, http2_server, incoming,
};
use holdfast_proto::v1::agent_message::Message as FromAgent;
use holdfast_proto::v1::agent_service_server::AgentServiceServer;
use holdfast_proto::v1::coordinator_message::Message as ToAgent;
use holdfast_proto::{v1, version};
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::time::timeout;
use tonic::{Status, Streaming};
use uuid::Uuid;

use crate::service::{Service, Shared, life};

/// Longest a test waits for something that is to happen.
pub const SOON: Duration = Duration::from_secs(20);
/// How long a test watches that something does not happen.
pub const A_WHILE: Duration = Duration::from_millis(700);

pub struct FakeCoordinator {
    authority: Arc<CertificateAuthority>,
    identity: Identity,
    listen: SocketAddr,
    revoked: Arc<AtomicBool>,
    shared: Arc<Shared>,
    sessions: AsyncMutex<mpsc::Receiver<FakeSession>>,
    runtime: Option<Runtime>,
}

/// One session of an agent, from the Hello on.
pub struct FakeSession {
    pub hello: v1::Hello,
    pub(crate) to_agent: mpsc::Sender<Result<v1::CoordinatorMessage, Status>>,
    pub(crate) from_agent: Streaming<v1::AgentMessage>,
    /// Everything that was passed over while something else was waited for.
    pub passed: Vec<FromAgent>,
}

impl FakeCoordinator {
    pub async fn start() -> Self {
        let authority =
            CertificateAuthority::create("test", Timestamp::now()).expect("an authority");
        let authority = Arc::new(authority);
        let subject =
            Subject::new(Role::Coordinator, Uuid::now_v7(), "coordinator").expect("named");
        let identity = authority
            .issue_coordinator(
                &subject,
                &["127.0.0.1".into()],
                life(Duration::from_secs(3600)),
            )
            .expect("a certificate");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let listen = free.local_addr().expect("bound");
        drop(free);
        let (sender, sessions) = mpsc::channel(8);
        let shared = Shared {
            authority: Arc::clone(&authority),
            joins: Mutex::default(),
            renewals: Mutex::default(),
            certificate_life: Mutex::new(Duration::from_secs(3600)),
            sessions: sender,
        };
        let mut coordinator = Self {
            authority,
            identity,
            listen,
            revoked: Arc::default(),
            shared: Arc::new(shared),
            sessions: AsyncMutex::new(sessions),
            runtime: None,
        };
        coordinator.come_back();
        coordinator
    }

    pub fn address(&self) -> CoordinatorAddress {
        format!("https://{}", self.listen)
            .parse()
            .expect("an address")
    }

    pub fn token(&self) -> JoinToken {
        let secret = JoinSecret::from_bytes([7; 32]);
        JoinToken::new(
            self.address(),
            self.authority.certificate().pin(),
            Uuid::now_v7(),
            secret,
        )
    }

    /// An identity for agent `name` whose certificate holds for `lifetime` from now.
    pub fn agent_identity(&self, name: &str, lifetime: Duration) -> Identity {
        let subject = Subject::new(Role::Agent, Uuid::now_v7(), name).expect("named");
        self.authority
            .issue(&subject, life(lifetime))
            .expect("issued")
    }

    /// Another certificate for whom `identity` is.
    pub fn reissued(&self, identity: &Identity) -> Identity {
        let validity = life(Duration::from_secs(3600));
        let subject = identity.peer().subject();
        self.authority.issue(subject, validity).expect("issued")
    }

    pub fn certificates_last(&self, lifetime: Duration) {
        *self.shared.certificate_life.lock().expect("unpoisoned") = lifetime;
    }

    pub fn joins(&self) -> Vec<v1::JoinRequest> {
        self.shared.joins.lock().expect("unpoisoned").clone()
    }

    pub fn renewals(&self) -> u32 {
        *self.shared.renewals.lock().expect("unpoisoned")
    }

    /// Handshakes are refused from now on.
    pub fn revoke(&self) {
        self.revoked.store(true, Ordering::SeqCst);
    }

    /// As if killed: every connection breaks.
    pub fn go_away(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Starts again on the same port.
    pub fn come_back(&mut self) {
        let revoked = Arc::clone(&self.revoked);
        let admit: AdmitPeer = Arc::new(move |_| !revoked.load(Ordering::SeqCst));
        let slot = IdentitySlot::new(self.identity.clone());
        let tls = ServerTls::new(self.authority.certificate(), slot, Some(admit)).expect("TLS");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let service = AgentServiceServer::new(Service(Arc::clone(&self.shared)));
        let listener = bind(self.listen);
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("registered");
            http2_server()
                .add_service(service)
                .serve_with_incoming(incoming(listener, &tls))
                .await
                .expect("serves");
        });
        self.runtime = Some(runtime);
    }

    /// The next session that an agent opens.
    pub async fn session(&self) -> FakeSession {
        let mut sessions = self.sessions.lock().await;
        timeout(SOON, sessions.recv())
            .await
            .expect("no agent came")
            .expect("open")
    }

    /// The next session, welcomed with everything kept.
    pub async fn welcomed(&self) -> FakeSession {
        let mut session = self.session().await;
        let kept = session.hello.held_runs.clone();
        session.welcome(kept).await;
        session
    }

    /// Fails when an agent opens a session within a while.
    pub async fn nobody_comes(&self) {
        let mut sessions = self.sessions.lock().await;
        let came = timeout(A_WHILE, sessions.recv()).await;
        assert!(came.is_err(), "an agent came");
    }
}

impl Drop for FakeCoordinator {
    fn drop(&mut self) {
        self.go_away();
    }
}

impl FakeSession {
    pub async fn send(&mut self, message: ToAgent) {
        let message = v1::CoordinatorMessage {
            message: Some(message),
        };
        self.to_agent
            .send(Ok(message))
            .await
            .expect("an open session");
    }

    /// As a coordinator with messages that this build does not know.
    pub async fn send_nothing(&mut self) {
        let unknown = v1::CoordinatorMessage { message: None };
        self.to_agent
            .send(Ok(unknown))
            .await
            .expect("an open session");
    }

    pub async fn welcome(&mut self, kept: Vec<v1::HeldRun>) {
        self.welcome_as(version::own(), kept).await;
    }

    pub async fn welcome_as(&mut self, version: v1::Version, kept_runs: Vec<v1::HeldRun>) {
        self.send(ToAgent::Welcome(v1::Welcome {
            version: Some(version),
            lease_seconds: 3,
            clock_micros: Timestamp::now().as_microsecond(),
            agent_name: "db1".into(),
            kept_runs,
            ..Default::default()
        }))
        .await;
    }

    /// Ends the session with this status.
    pub async fn end(self, status: Status) {
        self.to_agent
            .send(Err(status))
            .await
            .expect("an open session");
    }

    /// The next message for which `wanted` has an answer; the others are kept in `passed`.
    pub async fn wait<T>(&mut self, wanted: impl Fn(&FromAgent) -> Option<T>) -> T {
        let until = tokio::time::Instant::now() + SOON;
        loop {
            let message = tokio::time::timeout_at(until, self.from_agent.message())
                .await
                .unwrap_or_else(|_| panic!("did not come; passed: {:#?}", self.passed))
                .expect("an open session")
                .expect("an open session");
            let message = message.message.expect("a message");
            if let Some(found) = wanted(&message) {
                return found;
            }
            self.passed.push(message);
        }
    }

    /// Everything that comes within a while.
    pub async fn listen(&mut self, how_long: Duration) -> Vec<FromAgent> {
        let until = tokio::time::Instant::now() + how_long;
        let mut heard = Vec::new();
        while let Ok(Ok(Some(message))) =
            tokio::time::timeout_at(until, self.from_agent.message()).await
        {
            heard.extend(message.message);
        }
        heard
    }

    pub async fn started(&mut self) -> v1::RunStarted {
        self.wait(|message| match message {
            FromAgent::RunStarted(started) => Some(started.clone()),
            _ => None,
        })
        .await
    }

    pub async fn commit_request(&mut self) -> v1::CommitRequest {
        self.wait(|message| match message {
            FromAgent::CommitRequest(request) => Some(request.clone()),
            _ => None,
        })
        .await
    }

    pub async fn finished(&mut self) -> v1::RunFinished {
        self.wait(|message| match message {
            FromAgent::RunFinished(finished) => Some(finished.clone()),
            _ => None,
        })
        .await
    }

    pub async fn result(&mut self) -> v1::run_result::Result {
        let result = self.finished().await.result.expect("a result");
        result.result.expect("a result")
    }

    pub async fn failure(&mut self) -> v1::Failure {
        match self.result().await {
            v1::run_result::Result::Failure(failure) => failure,
            other => panic!("not a failure: {other:?}"),
        }
    }

    pub async fn permit(&mut self, request: &v1::CommitRequest, seconds: u32) {
        self.send(ToAgent::CommitDecision(v1::CommitDecision {
            run_id: request.run_id.clone(),
            epoch: request.epoch,
            permitted: true,
            valid_for_seconds: seconds,
            ..Default::default()
        }))
        .await;
    }

    pub async fn acknowledge(&mut self, run_id: &str, epoch: u64) {
        self.send(ToAgent::RunAcknowledged(v1::RunAcknowledged {
            run_id: run_id.into(),
            epoch,
        }))
        .await;
    }
}

/// The port of a runtime that was just shut down may be taken for a moment.
fn bind(listen: SocketAddr) -> std::net::TcpListener {
    let listener = loop {
        match std::net::TcpListener::bind(listen) {
            Ok(listener) => break listener,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    listener.set_nonblocking(true).expect("set");
    listener
}

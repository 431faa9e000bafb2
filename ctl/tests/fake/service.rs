//! The control service itself: gives what the test laid down, keeps what it was asked.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_identity::{
    CertificateAuthority, CertificateRequest, Role, Subject, Validity, peer_of,
};
use holdfast_proto::v1::{self, control_service_server::ControlService};
use jiff::Timestamp;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::answers;

/// What a stream of events does next.
#[derive(Clone)]
pub enum Step {
    Event(v1::RunEvent),
    Wait(Duration),
    /// The stream ends with an error.
    Break,
    /// Nothing comes any more.
    Hang,
}

/// What is answered.
pub struct State {
    pub authority: Arc<CertificateAuthority>,
    pub asked: Vec<String>,
    /// By the call's name: answered instead of the result.
    pub errors: HashMap<&'static str, Status>,
    /// As `errors`, once.
    pub error_once: HashMap<&'static str, Status>,
    pub status: v1::StatusResponse,
    pub started: v1::StartRunResponse,
    pub runs: Vec<v1::Run>,
    /// By run id. Events numbered up to what the watcher has seen are left out.
    pub events: HashMap<String, Vec<Step>>,
    pub snapshots: Vec<v1::Snapshot>,
    pub sources: Vec<v1::Source>,
    pub read_grant: v1::GrantReadResponse,
    pub revoke: v1::RevokeAgentResponse,
    pub add_vault: v1::AddVaultResponse,
    pub add_vault_request: Option<v1::AddVaultRequest>,
    pub start_keys: Vec<String>,
    pub scan: v1::ScanVaultResponse,
    pub traceparents: Vec<String>,
}

impl State {
    pub fn new(authority: Arc<CertificateAuthority>) -> Self {
        Self {
            authority,
            asked: Vec::new(),
            errors: HashMap::new(),
            error_once: HashMap::new(),
            status: answers::status(),
            started: v1::StartRunResponse {
                run: Some(answers::queued()),
                safety_run: None,
            },
            runs: vec![answers::succeeded_backup(), answers::failed_backup()],
            events: HashMap::from([(answers::RUN.to_owned(), answers::backup_events())]),
            snapshots: vec![answers::snapshot()],
            sources: vec![answers::source()],
            read_grant: v1::GrantReadResponse::default(),
            revoke: v1::RevokeAgentResponse {
                remaining: vec!["its static key AKIAX works until it is rotated".into()],
                cancelled_run_ids: vec![answers::RUN.into()],
            },
            add_vault: answers::added_vault(),
            add_vault_request: None,
            start_keys: Vec::new(),
            scan: v1::ScanVaultResponse {
                repositories: 2,
                snapshots: 5,
                added: 3,
                ..Default::default()
            },
            traceparents: Vec::new(),
        }
    }
}

pub struct Fake(pub Arc<Mutex<State>>);

impl Fake {
    /// Keeps the request; an error laid down for the call is its answer. Only operators get this far.
    fn ask<T: std::fmt::Debug>(
        &self,
        name: &'static str,
        request: &Request<T>,
    ) -> Result<std::sync::MutexGuard<'_, State>, Status> {
        let peer = peer_of(request.extensions())
            .ok_or_else(|| Status::unauthenticated("no certificate"))?;
        if !matches!(peer.role(), Role::Operator(_)) {
            return Err(Status::permission_denied("not an operator"));
        }
        let mut state = self.0.lock().expect("lock");
        if let Some(value) = request.metadata().get("traceparent") {
            state
                .traceparents
                .push(value.to_str().expect("text").to_owned());
        }
        state.asked.push(format!("{name} {:?}", request.get_ref()));
        if let Some(status) = state.error_once.remove(name) {
            return Err(status);
        }
        match state.errors.get(name) {
            Some(status) => Err(status.clone()),
            None => Ok(state),
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn named<'a, T>(
    all: &'a [T],
    what: &str,
    text: &str,
    id: impl Fn(&T) -> &str,
) -> Result<&'a T, Status> {
    all.iter()
        .find(|one| id(one).starts_with(text))
        .ok_or_else(|| {
            Status::not_found(format!("no {what} {text:?}\nhint: holdfastctl {what} list"))
        })
}

#[tonic::async_trait]
impl ControlService for Fake {
    async fn status(&self, request: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        Ok(Response::new(self.ask("status", &request)?.status.clone()))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Answer<v1::RenewResponse> {
        let peer = peer_of(request.extensions()).expect("an operator");
        let state = self.ask("renew", &request)?;
        let csr = CertificateRequest::from_der(&request.get_ref().csr).expect("a request");
        let subject = Subject::new(peer.role(), peer.id(), peer.name()).expect("subject");
        let validity =
            Validity::starting(Timestamp::now(), Duration::from_secs(86_400)).expect("validity");
        let certificate = state
            .authority
            .sign(&csr, &subject, validity)
            .expect("signed");
        Ok(Response::new(v1::RenewResponse {
            certificate_pem: certificate.to_pem(),
            ca_pem: state.authority.certificate().to_pem(),
        }))
    }

    async fn start_run(
        &self,
        request: Request<v1::StartRunRequest>,
    ) -> Answer<v1::StartRunResponse> {
        let key = request.get_ref().idempotency_key.clone();
        self.0.lock().expect("lock").start_keys.push(key);
        Ok(Response::new(
            self.ask("start_run", &request)?.started.clone(),
        ))
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Answer<v1::ListRunsResponse> {
        let runs = self.ask("list_runs", &request)?.runs.clone();
        Ok(Response::new(v1::ListRunsResponse { runs }))
    }

    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Answer<v1::Run> {
        let state = self.ask("get_run", &request)?;
        let run = named(&state.runs, "run", &request.get_ref().run_id, |run| &run.id)?;
        Ok(Response::new(run.clone()))
    }

    type WatchRunStream = Pin<Box<dyn Stream<Item = Result<v1::RunEvent, Status>> + Send>>;

    async fn watch_run(
        &self,
        request: Request<v1::WatchRunRequest>,
    ) -> Answer<Self::WatchRunStream> {
        let state = self.ask("watch_run", &request)?;
        let watch = request.get_ref();
        let steps = state.events.get(&watch.run_id).cloned();
        let steps = steps.ok_or_else(|| Status::not_found("no such run"))?;
        let after = watch.after_sequence;
        drop(state);
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            for step in steps {
                match step {
                    Step::Event(event) if event.sequence != 0 && event.sequence <= after => {}
                    Step::Event(event) => drop(sender.send(Ok(event)).await),
                    Step::Wait(time) => tokio::time::sleep(time).await,
                    // A watcher that comes again has the break behind it.
                    Step::Break if after > 0 => {}
                    Step::Break => {
                        return drop(sender.send(Err(Status::unavailable("going down"))).await);
                    }
                    Step::Hang => std::future::pending().await,
                }
            }
        });
        Ok(Response::new(Box::pin(
            tokio_stream::wrappers::ReceiverStream::new(receiver),
        )))
    }

    async fn cancel_run(&self, request: Request<v1::CancelRunRequest>) -> Answer<v1::Run> {
        let state = self.ask("cancel_run", &request)?;
        let run = named(&state.runs, "run", &request.get_ref().run_id, |run| &run.id)?;
        Ok(Response::new(v1::Run {
            state: v1::RunState::Cancelled.into(),
            ..run.clone()
        }))
    }

    async fn list_snapshots(
        &self,
        request: Request<v1::ListSnapshotsRequest>,
    ) -> Answer<v1::ListSnapshotsResponse> {
        let snapshots = self.ask("list_snapshots", &request)?.snapshots.clone();
        Ok(Response::new(v1::ListSnapshotsResponse { snapshots }))
    }

    async fn get_snapshot(&self, request: Request<v1::GetSnapshotRequest>) -> Answer<v1::Snapshot> {
        let state = self.ask("get_snapshot", &request)?;
        let id = &request.get_ref().snapshot_id;
        let found = named(&state.snapshots, "snapshot", id, |snapshot| &snapshot.id)?;
        Ok(Response::new(found.clone()))
    }

    async fn grant_read(
        &self,
        request: Request<v1::GrantReadRequest>,
    ) -> Answer<v1::GrantReadResponse> {
        Ok(Response::new(
            self.ask("grant_read", &request)?.read_grant.clone(),
        ))
    }

    async fn list_sources(
        &self,
        request: Request<v1::ListSourcesRequest>,
    ) -> Answer<v1::ListSourcesResponse> {
        let sources = self.ask("list_sources", &request)?.sources.clone();
        Ok(Response::new(v1::ListSourcesResponse { sources }))
    }

    async fn get_source(&self, request: Request<v1::GetSourceRequest>) -> Answer<v1::Source> {
        let state = self.ask("get_source", &request)?;
        let name = |source: &v1::Source| source.info.clone().unwrap_or_default().name;
        let wanted = &request.get_ref().name;
        let found = state.sources.iter().find(|source| name(source) == *wanted);
        let missing = || {
            Status::not_found(format!(
                "no source {wanted:?}\nhint: holdfastctl source list"
            ))
        };
        Ok(Response::new(found.ok_or_else(missing)?.clone()))
    }

    async fn list_agents(
        &self,
        request: Request<v1::ListAgentsRequest>,
    ) -> Answer<v1::ListAgentsResponse> {
        let agents = self.ask("list_agents", &request)?.status.agents.clone();
        Ok(Response::new(v1::ListAgentsResponse { agents }))
    }

    async fn invite_agent(
        &self,
        request: Request<v1::InviteAgentRequest>,
    ) -> Answer<v1::InviteAgentResponse> {
        drop(self.ask("invite_agent", &request)?);
        Ok(Response::new(v1::InviteAgentResponse {
            token: "hfjoin1.TOKEN".into(),
            expires_at_micros: answers::at(3600),
        }))
    }

    async fn revoke_agent(
        &self,
        request: Request<v1::RevokeAgentRequest>,
    ) -> Answer<v1::RevokeAgentResponse> {
        Ok(Response::new(
            self.ask("revoke_agent", &request)?.revoke.clone(),
        ))
    }

    async fn add_vault(
        &self,
        request: Request<v1::AddVaultRequest>,
    ) -> Answer<v1::AddVaultResponse> {
        let mut state = self.ask("add_vault", &request)?;
        state.add_vault_request = Some(request.into_inner());
        Ok(Response::new(state.add_vault.clone()))
    }

    async fn list_vaults(
        &self,
        request: Request<v1::ListVaultsRequest>,
    ) -> Answer<v1::ListVaultsResponse> {
        let vaults = self.ask("list_vaults", &request)?.status.vaults.clone();
        Ok(Response::new(v1::ListVaultsResponse { vaults }))
    }

    async fn get_vault_kit(
        &self,
        request: Request<v1::GetVaultKitRequest>,
    ) -> Answer<v1::GetVaultKitResponse> {
        let kit = self.ask("get_vault_kit", &request)?.add_vault.kit.clone();
        Ok(Response::new(v1::GetVaultKitResponse { kit }))
    }

    async fn scan_vault(
        &self,
        request: Request<v1::ScanVaultRequest>,
    ) -> Answer<v1::ScanVaultResponse> {
        Ok(Response::new(
            self.ask("scan_vault", &request)?.scan.clone(),
        ))
    }
}

//! Who may call what: decided by the path and the certificate, before any service sees the request.
//!
//! Without a certificate only `Join` answers; everything else, reflection and health and paths that do not exist included,
//! is UNAUTHENTICATED. An agent's certificate opens the agent service, an operator's the control service, reflection and
//! health; calls of the control service ask for a role. What is not listed asks for the highest.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use holdfast_identity::{OperatorRole, PeerIdentity, Role, peer_of};
use jiff::Timestamp;
use tonic::Status;
use tower::{Layer, Service};

use crate::pki::Revocations;

const AGENT_SERVICE: &str = "/holdfast.v1.AgentService/";
const CONTROL_SERVICE: &str = "/holdfast.v1.ControlService/";
const JOIN: &str = "/holdfast.v1.AgentService/Join";

/// The role that each call of the control service asks for.
const ROLES: [(&str, OperatorRole); 19] = [
    ("Status", OperatorRole::Viewer),
    ("Renew", OperatorRole::Viewer),
    ("ListRuns", OperatorRole::Viewer),
    ("GetRun", OperatorRole::Viewer),
    ("WatchRun", OperatorRole::Viewer),
    ("ListSnapshots", OperatorRole::Viewer),
    ("GetSnapshot", OperatorRole::Viewer),
    ("ListSources", OperatorRole::Viewer),
    ("GetSource", OperatorRole::Viewer),
    ("ListAgents", OperatorRole::Viewer),
    ("ListVaults", OperatorRole::Viewer),
    ("StartRun", OperatorRole::Operator),
    ("CancelRun", OperatorRole::Operator),
    ("GrantRead", OperatorRole::Operator),
    ("ScanVault", OperatorRole::Operator),
    ("InviteAgent", OperatorRole::Admin),
    ("RevokeAgent", OperatorRole::Admin),
    ("AddVault", OperatorRole::Admin),
    ("GetVaultKit", OperatorRole::Admin),
];

/// Lets in or refuses. The reason is for the caller.
pub fn check(
    path: &str,
    peer: Option<&PeerIdentity>,
    revocations: &Revocations,
    now: Timestamp,
) -> Result<(), Status> {
    if path == JOIN {
        return Ok(());
    }
    let Some(peer) = peer else {
        return Err(Status::unauthenticated(
            "a client certificate is needed\nhint: agents get one with `holdfast-agent join`, operators from an administrator",
        ));
    };
    // TLS has checked both at the handshake; a connection may be older than the answer.
    if peer.is_expired(now) {
        return Err(Status::unauthenticated(format!(
            "the certificate of {} has expired\nhint: join again with a new invitation",
            peer.name()
        )));
    }
    if !revocations.admits(peer) {
        return Err(Status::permission_denied(format!(
            "{} was revoked\nhint: an administrator can invite it again",
            peer.name()
        )));
    }
    match peer.role() {
        Role::Agent if path.starts_with(AGENT_SERVICE) => Ok(()),
        Role::Operator(role) if !path.starts_with(AGENT_SERVICE) => check_role(path, role),
        role => Err(Status::permission_denied(format!(
            "a certificate of role {role} does not open {}",
            path.trim_start_matches('/')
        ))),
    }
}

fn check_role(path: &str, role: OperatorRole) -> Result<(), Status> {
    let needed = match path.strip_prefix(CONTROL_SERVICE) {
        Some(method) => ROLES
            .iter()
            .find(|(name, _)| *name == method)
            .map_or(OperatorRole::Admin, |(_, role)| *role),
        None => OperatorRole::Viewer,
    };
    if role >= needed {
        return Ok(());
    }
    let method = path.rsplit('/').next().unwrap_or(path);
    Err(Status::permission_denied(format!(
        "{method} needs the role {needed}; this certificate has the role {role}"
    )))
}

/// Puts [`check`] before a service.
#[derive(Debug, Clone)]
pub struct AccessLayer {
    /// Who is refused.
    pub revocations: Revocations,
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access {
            inner,
            revocations: self.revocations.clone(),
        }
    }
}

/// A service behind [`check`].
#[derive(Debug, Clone)]
pub struct Access<S> {
    inner: S,
    revocations: Revocations,
}

impl<S, Body, Reply> Service<http::Request<Body>> for Access<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Reply>>,
    S::Future: Send + 'static,
    Reply: Default + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let peer = peer_of(request.extensions());
        let path = request.uri().path();
        match check(path, peer.as_deref(), &self.revocations, Timestamp::now()) {
            Ok(()) => Box::pin(self.inner.call(request)),
            Err(status) => {
                let name = peer.as_ref().map_or("nobody", |peer| peer.name());
                tracing::warn!(
                    path,
                    peer = name,
                    reason = status.message(),
                    "refused a call"
                );
                Box::pin(async move { Ok(status.into_http()) })
            }
        }
    }
}

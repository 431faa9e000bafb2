//! Whom a request comes from. The access layer has let it in; here it gets its name.

use std::net::SocketAddr;
use std::sync::Arc;

use holdfast_identity::{ConnectInfo, PeerIdentity, peer_of};
use holdfast_proto::ids::AgentId;
use tonic::{Request, Status};

/// The certificate's identity.
pub fn peer<T>(request: &Request<T>) -> Result<Arc<PeerIdentity>, Status> {
    peer_of(request.extensions())
        .ok_or_else(|| Status::unauthenticated("a client certificate is needed"))
}

/// The operator's name.
pub fn operator<T>(request: &Request<T>) -> Result<String, Status> {
    Ok(peer(request)?.name().to_owned())
}

/// The agent's id.
pub fn agent_id(peer: &PeerIdentity) -> Result<AgentId, Status> {
    peer.id()
        .to_string()
        .parse()
        .map_err(|_| Status::internal("a certificate's id is not one"))
}

/// The other end's address.
pub fn remote<T>(request: &Request<T>) -> SocketAddr {
    let info = request.extensions().get::<ConnectInfo>();
    info.map_or_else(
        || SocketAddr::from(([0, 0, 0, 0], 0)),
        |info| info.remote_addr,
    )
}

/// The call's own trace.
pub fn traceparent<T>(request: &Request<T>) -> String {
    holdfast_telemetry::grpc::extract(request.metadata())
        .unwrap_or_default()
        .to_owned()
}

//! The coordinator's side of TLS.
//!
//! One port for everyone: the client certificate is optional in TLS, since a host that joins has none yet,
//! and a wrong one ends the handshake. The own certificate comes from a slot, so that its renewal needs no
//! restart and disturbs no connection.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use tokio_rustls::TlsAcceptor;

use crate::certificate::CaCertificate;
use crate::error::IdentityError;
use crate::slot::IdentitySlot;
use crate::tls::peer_verifier::{AdmitPeer, PeerVerifier};
use crate::tls::{ALPN_HTTP2, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, VERSIONS, provider};

/// Largest number of streams one client may have open at once; a session with its logs needs a dozen.
const MAX_STREAMS_PER_CONNECTION: u32 = 256;

/// TLS configuration of a server; clones share it.
#[derive(Clone)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Serves with the identity in `slot` to clients of `ca`; `admit` may refuse a peer whose certificate
    /// is good (a revoked one).
    pub fn new(
        ca: &CaCertificate,
        slot: IdentitySlot,
        admit: Option<AdmitPeer>,
    ) -> Result<Self, IdentityError> {
        let verifier = PeerVerifier::new(ca, admit, provider())?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(IdentityError::crypto("set up TLS 1.3"))?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(slot));
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

/// A gRPC server with the keepalive that [`ClientTls`](crate::ClientTls) expects and bounded streams; add
/// services, then serve with [`incoming`](crate::incoming).
pub fn http2_server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .max_concurrent_streams(MAX_STREAMS_PER_CONNECTION)
}

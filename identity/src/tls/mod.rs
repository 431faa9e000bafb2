//! TLS between our own processes: version 1.3 only, HTTP/2 only, our own authority only.
//!
//! The cryptographic provider is passed to every configuration explicitly; the process-wide default of
//! rustls is neither read nor set, so that no library can exchange it beneath us. Sessions are never resumed:
//! a resumed session skips the certificate check, and would let an expired or revoked peer in again.

use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;

mod accept;
mod client;
mod connect_error;
mod peer_verifier;
mod pin_verifier;
mod server;

pub use accept::{ConnectInfo, TlsConn, TlsIncoming, incoming, peer_of};
pub use client::{ClientError, ClientTls};
pub use connect_error::{ConnectError, Refusal};
pub use peer_verifier::AdmitPeer;
pub use server::{ServerTls, http2_server};

/// How long a TCP connect with its TLS handshake may take, on either side.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How often an idle HTTP/2 connection is pinged.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// How long the answer to a ping may take before the connection counts as dead.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(15);

/// The one protocol spoken inside TLS.
const ALPN_HTTP2: &[u8] = b"h2";

/// The only protocol version.
const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// aws-lc's algorithms.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

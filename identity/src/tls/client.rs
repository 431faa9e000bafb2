//! The agents' and operators' side of TLS: gRPC channels to a coordinator.
//!
//! Promise: a channel speaks only to a coordinator whose certificate our authority issued for the host in the
//! address. In TLS 1.3 a client has finished its handshake before the server has judged its certificate; so a
//! connection counts as made only when the server's first byte (its HTTP/2 settings) has come, and a refused
//! certificate is reported as that, not as a broken stream later.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::address::CoordinatorAddress;
use crate::certificate::{CaCertificate, CaPin};
use crate::error::IdentityError;
use crate::slot::IdentitySlot;
use crate::tls::connect_error::ConnectError;
use crate::tls::peer_verifier::roots;
use crate::tls::pin_verifier::PinVerifier;
use crate::tls::{
    ALPN_HTTP2, HANDSHAKE_DEADLINE, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, VERSIONS, provider,
};

/// TLS configuration of a client; clones share it.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl ClientTls {
    /// Trusts the authority of the identity in `slot`, and presents that identity. A renewed one is used by
    /// the next connection; the authority stays what it is now.
    pub fn with_identity(slot: IdentitySlot) -> Result<Self, IdentityError> {
        let ca = slot.current().ca().clone();
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(IdentityError::crypto("set up TLS 1.3"))?
            .with_webpki_verifier(server_verifier(&ca)?);
        Ok(Self::finish(
            builder.with_client_cert_resolver(Arc::new(slot)),
        ))
    }

    /// Trusts `ca` and presents no certificate.
    pub fn anonymous(ca: &CaCertificate) -> Result<Self, IdentityError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(IdentityError::crypto("set up TLS 1.3"))?
            .with_webpki_verifier(server_verifier(ca)?);
        Ok(Self::finish(builder.with_no_client_auth()))
    }

    /// Trusts the authority whose certificate has the fingerprint `pin`, and presents no certificate: for
    /// joining with a token.
    pub fn pinned(pin: CaPin) -> Result<Self, IdentityError> {
        let verifier = PinVerifier::new(pin, provider());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .map_err(IdentityError::crypto("set up TLS 1.3"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        Ok(Self::finish(builder.with_no_client_auth()))
    }

    fn finish(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![ALPN_HTTP2.to_vec()];
        config.resumption = Resumption::disabled();
        Self {
            config: Arc::new(config),
        }
    }

    /// A channel that connects at its first request and again after each loss. Requests fail at once while
    /// there is no connection; [`ConnectError::find`] gives the reason.
    pub fn channel(&self, address: &CoordinatorAddress) -> Result<Channel, IdentityError> {
        let connector = self.connector(address)?;
        let connect = tower::service_fn(move |_: http::Uri| connector.clone().connect());
        Ok(endpoint(address)?.connect_with_connector_lazy(connect))
    }

    /// The same, connected when it returns.
    pub async fn connect(&self, address: &CoordinatorAddress) -> Result<Channel, ClientError> {
        let connector = self.connector(address)?;
        let connect = tower::service_fn(move |_: http::Uri| connector.clone().connect());
        let channel = endpoint(address)?.connect_with_connector(connect).await?;
        Ok(channel)
    }

    fn connector(&self, address: &CoordinatorAddress) -> Result<Connector, IdentityError> {
        Ok(Connector {
            tls: TlsConnector::from(Arc::clone(&self.config)),
            server_name: address
                .server_name()
                .map_err(IdentityError::crypto("use the address"))?,
            address: address.clone(),
        })
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

/// Why [`ClientTls::connect`] gave no channel.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The configuration is unusable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The connection was not made; [`ConnectError::find`] gives the reason.
    #[error("{}", reason(.0))]
    Connect(#[from] tonic::transport::Error),
}

fn reason(error: &tonic::transport::Error) -> String {
    match ConnectError::find(error) {
        Some(found) => found.to_string(),
        None => format!("{error:?}"),
    }
}

fn server_verifier(ca: &CaCertificate) -> Result<Arc<WebPkiServerVerifier>, IdentityError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
        .build()
        .map_err(IdentityError::crypto("set up the check of coordinators"))
}

/// tonic is given an `http` address to connect to, since TLS is ours, and the true one to write into requests.
fn endpoint(address: &CoordinatorAddress) -> Result<Endpoint, IdentityError> {
    let unusable = IdentityError::crypto("use the address");
    let origin: http::Uri = match address.to_string().parse() {
        Ok(origin) => origin,
        Err(error) => return Err(unusable(error)),
    };
    let endpoint = Endpoint::from_shared(format!("http://{}", address.authority()))
        .map_err(IdentityError::crypto("use the address"))?;
    Ok(endpoint
        .origin(origin)
        .connect_timeout(HANDSHAKE_DEADLINE)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true))
}

#[derive(Clone)]
struct Connector {
    tls: TlsConnector,
    server_name: ServerName<'static>,
    address: CoordinatorAddress,
}

impl Connector {
    /// TCP, then TLS, then the server's first byte; all within one deadline.
    async fn connect(self) -> Result<TokioIo<ClientConn>, ConnectError> {
        let address = self.address.clone();
        match tokio::time::timeout(HANDSHAKE_DEADLINE, self.connect_unlimited()).await {
            Ok(outcome) => outcome.map(TokioIo::new),
            Err(_) => Err(ConnectError::TimedOut { address }),
        }
    }

    async fn connect_unlimited(self) -> Result<ClientConn, ConnectError> {
        let Self {
            tls,
            server_name,
            address,
        } = self;
        let tcp = connect_tcp(&address)
            .await
            .map_err(|error| ConnectError::Unreachable {
                address: address.clone(),
                error,
            })?;
        let mut stream = tls
            .connect(server_name, tcp)
            .await
            .map_err(|error| ConnectError::from_tls(&address, error))?;
        let first = stream
            .read_u8()
            .await
            .map_err(|error| ConnectError::from_tls(&address, error))?;
        Ok(ClientConn {
            stream,
            first: Some(first),
        })
    }
}

async fn connect_tcp(address: &CoordinatorAddress) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect((address.host(), address.port())).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

/// A TLS stream whose first byte was read ahead.
struct ClientConn {
    stream: TlsStream<TcpStream>,
    first: Option<u8>,
}

impl AsyncRead for ClientConn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > 0
            && let Some(first) = self.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientConn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

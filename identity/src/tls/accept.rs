//! Accepts TLS connections for tonic.
//!
//! Promise: a slow or silent client holds up nobody. Each handshake runs in a task of its own with a deadline
//! of 10 s; at most 512 run at once, and what comes beyond waits in the kernel's backlog, so memory is bounded
//! whoever knocks. Only finished handshakes reach the server, each with the identity its certificate proved.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::subject::PeerIdentity;
use crate::tls::HANDSHAKE_DEADLINE;
use crate::tls::server::ServerTls;

/// Handshakes under way at once.
const MAX_HANDSHAKES: usize = 512;

/// Finished connections waiting for the server to take them.
const MAX_WAITING: usize = 64;

/// Pause after `accept` failed (most often: no file descriptor left), so that the loop does not spin.
const PAUSE_AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(100);

/// What is known of the other end of a connection; tonic puts it into the extensions of each request.
#[derive(Debug, Clone)]
pub struct ConnectInfo {
    /// Address of the client, or of the proxy before it.
    pub remote_addr: SocketAddr,
    /// Whom its verified certificate names; `None` when it presented none.
    pub peer: Option<Arc<PeerIdentity>>,
}

/// The verified peer of a request, `None` when the client presented no certificate.
pub fn peer_of(extensions: &http::Extensions) -> Option<Arc<PeerIdentity>> {
    extensions.get::<ConnectInfo>()?.peer.clone()
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct TlsConn {
    stream: TlsStream<TcpStream>,
    info: ConnectInfo,
}

impl TlsConn {
    /// Who is at the other end.
    pub fn info(&self) -> &ConnectInfo {
        &self.info
    }
}

impl Connected for TlsConn {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        self.info.clone()
    }
}

impl AsyncRead for TlsConn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for TlsConn {
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

/// Finished connections, for tonic's `serve_with_incoming`. Dropping it closes the listener.
#[derive(Debug)]
pub struct TlsIncoming {
    finished: mpsc::Receiver<TlsConn>,
}

impl Stream for TlsIncoming {
    type Item = io::Result<TlsConn>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(ready!(self.finished.poll_recv(context)).map(Ok))
    }
}

/// Accepts on `listener` in a background task (so call it inside a tokio runtime) until the stream is dropped.
pub fn incoming(listener: TcpListener, tls: &ServerTls) -> TlsIncoming {
    let (sender, finished) = mpsc::channel(MAX_WAITING);
    tokio::spawn(accept_loop(listener, tls.acceptor(), sender));
    TlsIncoming { finished }
}

async fn accept_loop(listener: TcpListener, acceptor: TlsAcceptor, sender: mpsc::Sender<TlsConn>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let accept_all = async {
        // The semaphore is never closed.
        while let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, remote_addr)) => {
                    let handshake = handshake(acceptor.clone(), stream, remote_addr);
                    tokio::spawn(deliver(handshake, sender.clone(), permit, remote_addr));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(PAUSE_AFTER_FAILED_ACCEPT).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept_all => {}
        () = sender.closed() => {}
    }
}

async fn deliver(
    handshake: impl Future<Output = io::Result<TlsConn>>,
    sender: mpsc::Sender<TlsConn>,
    permit: OwnedSemaphorePermit,
    remote_addr: SocketAddr,
) {
    let outcome = tokio::select! {
        outcome = tokio::time::timeout(HANDSHAKE_DEADLINE, handshake) => outcome,
        () = sender.closed() => return,
    };
    match outcome {
        // The permit goes back only after the server took the connection: back-pressure reaches `accept`.
        // A closed channel means that the server is shutting down.
        Ok(Ok(connection)) => drop(sender.send(connection).await),
        Ok(Err(error)) => tracing::info!(%remote_addr, %error, "refused a connection"),
        Err(_) => tracing::info!(%remote_addr, "refused a connection: the handshake took too long"),
    }
    drop(permit);
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    remote_addr: SocketAddr,
) -> io::Result<TlsConn> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let presented = stream.get_ref().1.peer_certificates();
    let peer = match presented.and_then(|chain| chain.first()) {
        Some(certificate) => {
            Some(PeerIdentity::from_certificate(certificate).map_err(io::Error::other)?)
        }
        None => None,
    };
    Ok(TlsConn {
        stream,
        info: ConnectInfo {
            remote_addr,
            peer: peer.map(Arc::new),
        },
    })
}

//! A TCP proxy on the loopback that does to a connection what networks and overloaded servers do.
//!
//! A [`Fault`] cuts the connections under way and meets every new one until it is replaced. Holding and slowing down
//! cut nothing: what was held goes on, byte for byte, once it is let go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::ports;

/// What new connections meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: they are passed on.
    None,
    /// Every request is answered with HTTP 503 "Slow Down".
    Unavailable,
    /// Reset as soon as the client has said something.
    Reset,
    /// The answer ends behind so many bytes.
    Truncate(usize),
}

/// A running proxy; ends when dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    target: u16,
    fault: watch::Sender<Fault>,
    /// While true, nothing passes from clients to the server.
    requests_held: watch::Sender<bool>,
    /// While true, nothing passes from the server to clients.
    answers_held: watch::Sender<bool>,
    /// Bytes a second, each connection and direction; 0: no limit.
    rate: AtomicU64,
    /// Connections that met a fault.
    met: AtomicU64,
    /// Requests of S3 that carried a session token.
    with_token: AtomicU64,
}

/// The header in which S3 clients send the token of a session.
const TOKEN_HEADER: &[u8] = b"x-amz-security-token:";

impl Proxy {
    /// Listens on a free port for connections to 127.0.0.1:`target`.
    #[must_use]
    pub fn start(target: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let port = ports::free();
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", port)))
            .unwrap();
        let shared = Arc::new(Shared {
            target,
            fault: watch::Sender::new(Fault::None),
            requests_held: watch::Sender::new(false),
            answers_held: watch::Sender::new(false),
            rate: AtomicU64::new(0),
            met: AtomicU64::new(0),
            with_token: AtomicU64::new(0),
        });
        runtime.spawn(accept(listener, shared.clone()));
        Self {
            port,
            shared,
            _runtime: runtime,
        }
    }

    /// The port that clients dial.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Cuts what is under way; new connections meet `fault`.
    pub fn set(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// From now on nothing passes: a network that swallows everything, a server that hangs.
    pub fn hold(&self) {
        self.shared.requests_held.send_replace(true);
        self.shared.answers_held.send_replace(true);
    }

    /// From now on the server hears its clients and they do not hear it.
    pub fn hold_answers(&self) {
        self.shared.answers_held.send_replace(true);
    }

    /// What was held goes on.
    pub fn let_go(&self) {
        self.shared.requests_held.send_replace(false);
        self.shared.answers_held.send_replace(false);
    }

    /// Lets through so many bytes a second on each connection; 0 takes the limit away.
    pub fn limit(&self, bytes_a_second: u64) {
        self.shared.rate.store(bytes_a_second, Ordering::Relaxed);
    }

    /// Connections that met a fault so far: a story about faults in which nobody met one proves nothing.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.shared.met.load(Ordering::Relaxed)
    }
}

impl Proxy {
    /// Pieces passed on so far in which a session's token went to S3.
    #[must_use]
    pub fn with_token(&self) -> u64 {
        self.shared.with_token.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connection(client, shared.clone()));
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let mut changes = shared.fault.subscribe();
    let fault = *changes.borrow_and_update();
    if fault != Fault::None {
        shared.met.fetch_add(1, Ordering::Relaxed);
    }
    let work = async {
        match fault {
            Fault::None => pass(client, &shared, usize::MAX).await,
            Fault::Truncate(bytes) => pass(client, &shared, bytes).await,
            Fault::Unavailable => unavailable(client).await,
            Fault::Reset => reset(client).await,
        }
    };
    tokio::select! {
        _ = work => {}
        _ = changes.changed() => {}
    }
}

async fn pass(client: TcpStream, shared: &Shared, answer_bytes: usize) -> std::io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", shared.target)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_reads, client_writes) = client.into_split();
    let (server_reads, server_writes) = server.into_split();
    let up = copy(client_reads, server_writes, shared, usize::MAX, true);
    let down = copy(server_reads, client_writes, shared, answer_bytes, false);
    if answer_bytes == usize::MAX {
        tokio::try_join!(up, down).map(|_| ())
    } else {
        // The answer's end is the connection's end.
        tokio::select! { done = down => done, Err(error) = up => Err(error) }
    }
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    shared: &Shared,
    mut left: usize,
    upwards: bool,
) -> std::io::Result<()> {
    let gate = if upwards {
        &shared.requests_held
    } else {
        &shared.answers_held
    };
    let mut held = gate.subscribe();
    let mut buffer = vec![0; 64 * 1024];
    while left > 0 {
        let rate = shared.rate.load(Ordering::Relaxed);
        let most = if rate == 0 {
            buffer.len()
        } else {
            buffer.len().min(usize::try_from(rate / 20 + 1).unwrap())
        };
        let count = from.read(&mut buffer[..most.min(left)]).await?;
        if count == 0 {
            return to.shutdown().await;
        }
        left -= count;
        if held.wait_for(|held| !held).await.is_err() {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
        if upwards && holds(&buffer[..count], TOKEN_HEADER) {
            shared.with_token.fetch_add(1, Ordering::Relaxed);
        }
        if rate != 0 {
            tokio::time::sleep(Duration::from_secs_f64(count as f64 / rate as f64)).await;
        }
    }
    Ok(())
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes
        .windows(part.len())
        .any(|window| window.eq_ignore_ascii_case(part))
}

/// Answers once the head is there, then reads on: a close over unread bytes would reset the answer away.
async fn unavailable(mut client: TcpStream) -> std::io::Result<()> {
    const BODY: &str = "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    let mut head = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match client.read(&mut buffer).await? {
            0 => return Ok(()),
            count => head.extend_from_slice(&buffer[..count]),
        }
    }
    let answer = format!(
        "HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await?;
    let drained = async {
        while client.read(&mut buffer).await? > 0 {}
        Ok(())
    };
    tokio::time::timeout(Duration::from_secs(5), drained)
        .await
        .unwrap_or(Ok(()))
}

async fn reset(mut client: TcpStream) -> std::io::Result<()> {
    client.read_u8().await?;
    // Closing with this set sends RST instead of FIN.
    client.set_zero_linger()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// A server that answers each connection with 10,000 bytes.
    fn server() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(&[b'x'; 10_000]);
            }
        });
        port
    }

    fn ask(proxy: &Proxy) -> std::io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port()))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn each_fault_does_what_it_says() {
        let proxy = Proxy::start(server());
        assert_eq!(ask(&proxy).unwrap().len(), 10_000);
        proxy.set(Fault::Truncate(700));
        assert_eq!(ask(&proxy).unwrap().len(), 700);
        proxy.set(Fault::Unavailable);
        assert!(ask(&proxy).unwrap().starts_with(b"HTTP/1.1 503"));
        proxy.set(Fault::Reset);
        assert_eq!(
            ask(&proxy).unwrap_err().kind(),
            std::io::ErrorKind::ConnectionReset
        );
        assert_eq!(proxy.met(), 3);
        proxy.set(Fault::None);
        assert_eq!(ask(&proxy).unwrap().len(), 10_000);
    }

    #[test]
    fn what_is_held_goes_on_when_let_go() {
        let proxy = Proxy::start(server());
        proxy.hold();
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| ask(&proxy));
            std::thread::sleep(Duration::from_millis(200));
            assert!(!asking.is_finished());
            proxy.let_go();
            assert_eq!(asking.join().unwrap().unwrap().len(), 10_000);
        });
    }
}

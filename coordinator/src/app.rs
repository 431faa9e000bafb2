//! `holdfast-coordinator serve`, from start to end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast_config::SecretError;
use holdfast_identity::{IdentityError, ServerTls, http2_server, incoming};
use holdfast_proto::FILE_DESCRIPTOR_SET;
use holdfast_proto::v1::agent_service_server::AgentServiceServer;
use holdfast_proto::v1::control_service_server::ControlServiceServer;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::transport::Server;

use crate::api::access::AccessLayer;
use crate::api::agent::Agents;
use crate::api::control::Control;
use crate::config::{Config, parse_address};
use crate::coordinator::Coordinator;
use crate::pki::{KeyFiles, MasterKey, MasterKeyError, Pki};
use crate::store::{Store, StoreError, agents, certificates};
use crate::tasks;

/// Failed.
pub const EXIT_FAILED: u8 = 1;
/// Wrong arguments or configuration.
pub const EXIT_USAGE: u8 = 2;
/// A condition forbids it.
pub const EXIT_REFUSED: u8 = 3;

/// Largest message read: a log batch or a manifest.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// How long requests may go on after the signal to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the coordinator does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(String),
    /// A secret it names cannot be had.
    #[error("the password of the database: {0}")]
    Secret(#[from] SecretError),
    /// The keys cannot be used.
    #[error("{0}\nhint: `holdfast-coordinator init` makes what is missing")]
    Identity(#[from] IdentityError),
    /// The master key cannot be used.
    #[error("{0}\nhint: `holdfast-coordinator init` makes what is missing")]
    MasterKey(#[from] MasterKeyError),
    /// The state cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The port cannot be used.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
    /// The server ended by itself.
    #[error("the server failed: {0}")]
    Server(String),
    /// Somebody else has the state now.
    #[error("another coordinator took the state over; this one has stopped")]
    LostState,
}

impl ServeError {
    /// The code that the process exits with.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Secret(_) => EXIT_USAGE,
            Self::Store(StoreError::InUse { .. } | StoreError::NewerSchema { .. })
            | Self::LostState => EXIT_REFUSED,
            _ => EXIT_FAILED,
        }
    }
}

/// Returns at SIGTERM or SIGINT.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let wait = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(error) => {
                tracing::error!(%error, "cannot listen for signals");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = wait(SignalKind::terminate()) => {}
        () = wait(SignalKind::interrupt()) => {}
    }
}

/// Serves until `stop` returns. Relative secrets' files are taken from `folder`.
pub async fn serve(
    config: Config,
    folder: &Path,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    // 1. Keys, then the state: a second coordinator is refused before it touches anything.
    let address = parse_address(&config.address).map_err(ServeError::Config)?;
    let keys = KeyFiles::in_folder(&config.state);
    let pki = Pki::load(&keys, address, config.certificates.clone())?;
    let master_key = MasterKey::load(&keys.master_key())?;
    let place = config.place(folder)?;
    let (store, lock) = Store::open(&place).await?;
    load_revocations(&store, &pki).await?;
    // 2. The ports.
    let listener = bind(config.listen).await?;
    let health_listener = match config.health_listen {
        Some(at) => Some(bind(at).await?),
        None => None,
    };
    let tls = ServerTls::new(
        pki.authority().certificate(),
        pki.slot().clone(),
        Some(pki.revocations.admit_peer()),
    )?;
    // 3. Everything at work.
    let coordinator = Arc::new(Coordinator::new(config, store, pki, master_key));
    let driver = tokio::spawn(tasks::drive(Arc::clone(&coordinator)));
    let mut server = tokio::spawn(run_server(Arc::clone(&coordinator), listener, tls));
    let health = health_listener
        .map(|listener| tokio::spawn(run_health(Arc::clone(&coordinator), listener)));
    tracing::info!(
        listen = %coordinator.config.listen,
        address = %coordinator.config.address,
        state = place.shown(),
        database = coordinator.store.database().as_str(),
        "the coordinator serves"
    );
    // 4. Until told to stop.
    let outcome = tokio::select! {
        () = stop => Ok(()),
        ended = &mut server => Err(ServeError::Server(reason(ended))),
        () = lock.lost() => Err(ServeError::LostState),
    };
    tracing::info!("the coordinator stops");
    shut_down(&coordinator, server, driver, health).await;
    drop(lock);
    outcome
}

async fn load_revocations(store: &Store, pki: &Pki) -> Result<(), StoreError> {
    let mut connection = store.read().await?;
    let now = crate::clock::now_micros();
    pki.revocations
        .refuse_serials(certificates::revoked(&mut connection, now).await?);
    for agent in agents::list(&mut connection).await? {
        if agent.revoked_micros > 0 {
            pki.revocations.refuse_holder(agent.id.to_string());
        }
    }
    Ok(())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| ServeError::Listen { address, error })
}

async fn run_server(
    coordinator: Arc<Coordinator>,
    listener: TcpListener,
    tls: ServerTls,
) -> Result<(), String> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<AgentServiceServer<Agents>>().await;
    reporter
        .set_serving::<ControlServiceServer<Control>>()
        .await;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|error| error.to_string())?;
    let agents = AgentServiceServer::new(Agents::new(Arc::clone(&coordinator)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let control = ControlServiceServer::new(Control::new(Arc::clone(&coordinator)))
        .max_decoding_message_size(MAX_MESSAGE_BYTES);
    let access = AccessLayer {
        revocations: coordinator.pki.revocations.clone(),
    };
    let shutdown = coordinator.shutdown.clone();
    http2_server()
        .layer(access)
        .add_service(agents)
        .add_service(control)
        .add_service(health)
        .add_service(reflection)
        .serve_with_incoming_shutdown(incoming(listener, &tls), shutdown.cancelled_owned())
        .await
        .map_err(|error| error.to_string())
}

/// Health without a certificate, for this machine.
async fn run_health(coordinator: Arc<Coordinator>, listener: TcpListener) -> Result<(), String> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<AgentServiceServer<Agents>>().await;
    reporter
        .set_serving::<ControlServiceServer<Control>>()
        .await;
    let connections = tokio_stream::wrappers::TcpListenerStream::new(listener);
    Server::builder()
        .add_service(health)
        .serve_with_incoming_shutdown(connections, coordinator.shutdown.clone().cancelled_owned())
        .await
        .map_err(|error| error.to_string())
}

/// Sessions end first, with a reason, so that agents come back by themselves; then requests get [`DRAIN`]; the state is
/// closed last.
async fn shut_down(
    coordinator: &Coordinator,
    server: JoinHandle<Result<(), String>>,
    driver: JoinHandle<()>,
    health: Option<JoinHandle<Result<(), String>>>,
) {
    coordinator.shutdown.cancel();
    coordinator
        .sessions
        .end_all(&Status::unavailable("the coordinator is shutting down"));
    let server_abort = server.abort_handle();
    let work = async {
        if !server.is_finished() {
            let _ = server.await;
        }
        let _ = driver.await;
        if let Some(health) = health {
            let _ = health.await;
        }
    };
    if tokio::time::timeout(DRAIN, work).await.is_err() {
        tracing::warn!("requests were still under way after {} s", DRAIN.as_secs());
        server_abort.abort();
    }
    coordinator.store.close().await;
}

fn reason(ended: Result<Result<(), String>, tokio::task::JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "it ended".into(),
        Ok(Err(error)) => error,
        Err(error) => error.to_string(),
    }
}

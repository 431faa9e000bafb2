//! A coordinator of its own for each test: made by `init`, served in this process, on a free port.

use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_coordinator::app::{self, ServeError};
use holdfast_coordinator::config::Config;
use holdfast_coordinator::init::{InitOptions, init};
use holdfast_identity::{
    CertificateAuthority, ClientTls, CoordinatorAddress, Identity, IdentityFiles, IdentitySlot,
    OperatorRole, Role, Subject, Validity,
};
use holdfast_proto::v1;
use holdfast_proto::v1::control_service_client::ControlServiceClient;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use uuid::Uuid;

use super::cluster;

/// Where a test's coordinator keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// A coordinator on disk.
pub struct Installation {
    pub folder: tempfile::TempDir,
    pub port: u16,
}

/// A coordinator that serves.
pub struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ServeError>>,
}

pub type Control = ControlServiceClient<Channel>;

pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its number").port()
}

impl Installation {
    /// Leases and windows of a second, so that tests see them lapse.
    pub fn new(database: Database) -> Self {
        Self::with(
            database,
            "[runs]\nlease = \"1s\"\ncommit_window = \"1s\"\nretry_pause = \"200ms\"\n",
        )
    }

    pub fn with(database: Database, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let installation = Self { folder, port };
        init(&installation.options()).expect("init");
        let mut text = std::fs::read_to_string(installation.config()).expect("configuration");
        if database == Database::Postgres {
            text.push_str(&format!(
                "[database]\nurl = \"{}\"\n",
                cluster::new_database()
            ));
        }
        text.push_str(more);
        std::fs::write(installation.config(), text).expect("configuration");
        installation
    }

    pub fn options(&self) -> InitOptions {
        InitOptions {
            dir: self.dir(),
            address: format!("127.0.0.1:{}", self.port),
            listen: format!("127.0.0.1:{}", self.port),
            operator: "ann".into(),
        }
    }

    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("coordinator")
    }

    pub fn config(&self) -> PathBuf {
        self.dir().join("coordinator.toml")
    }

    pub fn address(&self) -> CoordinatorAddress {
        format!("https://127.0.0.1:{}", self.port)
            .parse()
            .expect("an address")
    }

    pub fn authority(&self) -> CertificateAuthority {
        CertificateAuthority::load(&self.dir().join("ca.pem")).expect("the authority")
    }

    pub fn load_config(&self) -> Config {
        Config::load(&self.config()).expect("a good configuration")
    }

    /// Serves; returns when it answers.
    pub async fn start(&self) -> Running {
        let running = self.start_unready();
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            if running.task.is_finished() {
                panic!("the coordinator ended: {:?}", running.task.await);
            }
            if tokio::net::TcpStream::connect(("127.0.0.1", self.port))
                .await
                .is_ok()
            {
                return running;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the coordinator does not listen"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn start_unready(&self) -> Running {
        let (stop, stopped) = oneshot::channel();
        let (config, folder) = (self.load_config(), self.dir());
        let task = tokio::spawn(async move {
            app::serve(config, &folder, async {
                let _ = stopped.await;
            })
            .await
        });
        Running { stop, task }
    }

    /// Serves until it refuses.
    pub async fn start_refused(&self) -> ServeError {
        let running = self.start_unready();
        let ended = tokio::time::timeout(Duration::from_secs(20), running.task).await;
        ended
            .expect("it ends")
            .expect("no panic")
            .expect_err("it refuses")
    }

    /// The first operator, an admin.
    pub async fn admin(&self) -> Control {
        let files = IdentityFiles::at(self.dir().join("operator/operator.pem"));
        self.control(files.load().expect("readable").expect("there"))
            .await
    }

    pub fn operator_identity(&self, role: OperatorRole, name: &str) -> Identity {
        self.identity(Role::Operator(role), name)
    }

    pub fn identity(&self, role: Role, name: &str) -> Identity {
        let subject = Subject::new(role, Uuid::now_v7(), name).expect("a name");
        let validity = Validity::starting(Timestamp::now(), Duration::from_secs(3600));
        self.authority()
            .issue(&subject, validity.expect("valid"))
            .expect("issued")
    }

    pub async fn channel(&self, identity: Identity) -> Channel {
        let tls = ClientTls::with_identity(IdentitySlot::new(identity)).expect("TLS");
        tls.connect(&self.address()).await.expect("connected")
    }

    pub async fn control(&self, identity: Identity) -> Control {
        ControlServiceClient::new(self.channel(identity).await)
    }

    /// A vault in a folder of this installation.
    pub async fn add_vault(&self, control: &mut Control, name: &str) -> v1::AddVaultResponse {
        let folder = self.folder.path().join(name);
        let request = v1::AddVaultRequest {
            name: name.into(),
            address: format!("file://{}", folder.display()),
            ..Default::default()
        };
        control
            .add_vault(request)
            .await
            .expect("added")
            .into_inner()
    }

    pub fn vault_folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Running {
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task).await;
        ended
            .expect("it stops")
            .expect("no panic")
            .expect("stopped well");
    }
}

/// Every file below a folder with its bytes.
pub fn contents(folder: &Path) -> std::collections::BTreeMap<PathBuf, Vec<u8>> {
    let mut found = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            found.insert(entry.path(), std::fs::read(entry.path()).expect("readable"));
        }
    }
    found
}

//! A coordinator for tests: the control service over real TLS with real identities, whose answers a test lays down.
//!
//! What the program under test sees is the contract and nothing less: the port, the certificates, the status codes, streams
//! that break. What it asked for is kept, so that a test can look at it.

// Shared by several test programs, none of which uses all of it; what fails here fails the test.
#![allow(
    dead_code,
    unused_imports,
    clippy::expect_used,
    clippy::large_enum_variant
)]

mod answers;
mod service;
mod vault;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assert_cmd::Command;
use holdfast_identity::{
    CertificateAuthority, IdentityFiles, IdentitySlot, OperatorRole, Role, ServerTls, Subject,
    Validity, http2_server, incoming,
};
use holdfast_proto::v1::control_service_server::ControlServiceServer;
use jiff::{SignedDuration, Timestamp};

pub use answers::*;
pub use service::{State, Step};
pub use vault::Vault;

use service::Fake;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An installation: authority, coordinator, and an operator's folder.
pub struct Coordinator {
    pub state: Arc<Mutex<State>>,
    pub authority: Arc<CertificateAuthority>,
    folder: tempfile::TempDir,
    /// All of the server's tasks; gone with it.
    runtime: Option<tokio::runtime::Runtime>,
    pub address: SocketAddr,
}

impl Coordinator {
    /// A coordinator that answers on a port of its own.
    pub fn start() -> Self {
        let now = Timestamp::now();
        let authority = Arc::new(CertificateAuthority::create("test", now).expect("authority"));
        let folder = tempfile::tempdir().expect("temp");
        let mut fake = Self {
            state: Arc::new(Mutex::new(State::new(Arc::clone(&authority)))),
            authority,
            folder,
            runtime: None,
            address: ([127, 0, 0, 1], 0).into(),
        };
        fake.serve();
        let address = fake.address;
        fake.write_config(&format!(
            "address = \"{address}\"\nidentity = \"operator.pem\"\n"
        ));
        fake.write_identity(Role::Operator(OperatorRole::Admin), now, DAY * 90);
        fake
    }

    /// Serves, on the same port after the first time.
    pub fn serve(&mut self) {
        let subject =
            Subject::new(Role::Coordinator, uuid::Uuid::now_v7(), "coordinator").expect("subject");
        let validity = Validity::starting(Timestamp::now(), DAY).expect("validity");
        let own = self
            .authority
            .issue_coordinator(&subject, &["127.0.0.1".to_owned()], validity)
            .expect("identity");
        let tls = ServerTls::new(self.authority.certificate(), IdentitySlot::new(own), None)
            .expect("tls");
        let service = ControlServiceServer::new(Fake(Arc::clone(&self.state)));
        let wanted = self.address;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("runtime");
        self.address = runtime.block_on(async move {
            let socket = tokio::net::TcpSocket::new_v4().expect("socket");
            socket.set_reuseaddr(true).expect("option");
            socket.bind(wanted).expect("bind");
            let listener = socket.listen(64).expect("listen");
            let address = listener.local_addr().expect("address");
            let connections = incoming(listener, &tls);
            let server = http2_server().add_service(service);
            tokio::spawn(server.serve_with_incoming(connections));
            address
        });
        self.runtime = Some(runtime);
    }

    /// Ends it as a kill does: every connection breaks.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }

    /// Where the operator's files are.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A file in the operator's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write_config(&self, text: &str) {
        std::fs::write(self.file("ctl.toml"), text).expect("written");
    }

    /// Gives the operator an identity that was issued at `from` and lasts `lifetime`.
    pub fn write_identity(&self, role: Role, from: Timestamp, lifetime: Duration) {
        let subject = Subject::new(role, uuid::Uuid::now_v7(), "ada").expect("subject");
        let begin = from - SignedDuration::from_hours(24);
        let end = from + SignedDuration::try_from(lifetime).expect("range");
        let validity = Validity::between(begin, end).expect("validity");
        let identity = self.authority.issue(&subject, validity).expect("identity");
        IdentityFiles::at(self.file("operator.pem"))
            .save(&identity)
            .expect("saved");
    }

    /// holdfastctl with this operator's configuration.
    pub fn ctl(&self, arguments: &[&str]) -> Command {
        let mut command = bare_ctl(arguments);
        command
            .env("HOLDFAST_CONFIG", self.file("ctl.toml"))
            .current_dir(self.path());
        command
    }

    /// holdfastctl on a terminal of 80 columns, where `typed` is entered. Both outputs come as one.
    pub fn on_a_terminal(&self, typed: &str, arguments: &[&str]) -> Said {
        let program = assert_cmd::cargo::cargo_bin!("holdfastctl").display();
        let line = format!("stty cols 80; exec {program} {}", arguments.join(" "));
        let mut command = Command::new("script");
        command
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .env("HOLDFAST_CONFIG", self.file("ctl.toml"))
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm")
            .timeout(Duration::from_secs(30))
            .write_stdin(format!("{typed}\n"));
        run(command)
    }

    /// Changes what is answered.
    pub fn with(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("lock"));
    }

    /// What was asked for, in order: `name {request}`.
    pub fn asked(&self) -> Vec<String> {
        self.state.lock().expect("lock").asked.clone()
    }
}

/// holdfastctl without any configuration or credentials from the environment.
pub fn bare_ctl(arguments: &[&str]) -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("holdfastctl"));
    for name in [
        "HOLDFAST_CONFIG",
        "HOLDFAST_ACCESS_KEY_ID",
        "HOLDFAST_SECRET_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "HOLDFAST_LOG",
    ] {
        command.env_remove(name);
    }
    command
        .env("HOME", "/nonexistent")
        .env("TZ", "UTC")
        .args(arguments);
    command.timeout(Duration::from_secs(60));
    command
}

/// What a process said and how it ended.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Said {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!(
            "{:?}: {error} (script is part of Debian's bsdutils)",
            command.get_program()
        ),
    };
    Said {
        code: output.status.code().expect("an exit code, no signal"),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Said {
    /// The one JSON document on standard output.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.err))
    }

    /// The JSON lines on standard output.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        let read =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(read).collect()
    }

    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.out, self.err
        );
        self
    }

    /// Standard error holds each of these.
    pub fn err_has(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(
                self.err.contains(part),
                "{part:?} is missing in: {}",
                self.err
            );
        }
        self
    }

    /// Standard output holds each of these.
    pub fn out_has(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(
                self.out.contains(part),
                "{part:?} is missing in: {}",
                self.out
            );
        }
        self
    }
}

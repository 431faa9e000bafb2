//! A coordinator: initialized, served, killed and started again on the same state.

use std::path::PathBuf;
use std::process::{Command, Output};

use crate::ctl::Ctl;
use crate::folder::StoryFolder;
use crate::process::{self, Process};
use crate::proxy::Proxy;
use crate::transcript::Transcript;
use crate::{places, ports, wait};

/// What of the configuration a story chooses; times are short enough for one.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Seconds of a lease.
    pub lease: u64,
    /// Seconds in which a permitted snapshot may be written.
    pub commit_window: u64,
    /// Hand-outs of one run.
    pub attempts: u32,
    /// Deadline of a backup and of a restore, as the configuration writes it.
    pub deadline: String,
    /// `[database]` of the configuration; empty: SQLite.
    pub database: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: 3,
            commit_window: 20,
            attempts: 3,
            deadline: "10m".into(),
            database: String::new(),
        }
    }
}

/// A coordinator in a folder. Agents reach it through a proxy, operators directly, so that a story can cut off agents
/// alone.
pub struct Coordinator {
    folder: PathBuf,
    log: PathBuf,
    listen: u16,
    link: Proxy,
    environment: Vec<(String, String)>,
    transcript: Transcript,
    process: Option<Process>,
}

impl Coordinator {
    /// Runs `init`, writes the configuration, and serves.
    #[must_use]
    pub fn start(
        folder: &StoryFolder,
        settings: &Settings,
        environment: &[(String, String)],
    ) -> Self {
        let listen = ports::free();
        let mut coordinator = Self {
            folder: folder.path("coordinator"),
            log: folder.path("coordinator.log"),
            listen,
            link: Proxy::start(listen),
            environment: environment.to_vec(),
            transcript: folder.transcript().clone(),
            process: None,
        };
        let output = coordinator.init();
        assert!(
            output.status.success(),
            "holdfast-coordinator init: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        coordinator.configure(settings);
        coordinator.start_again();
        coordinator
    }

    /// `holdfast-coordinator init` on this coordinator's folder.
    pub fn init(&self) -> Output {
        let mut command = self.command();
        command.arg("init").arg("--dir").arg(&self.folder);
        command.args(["--address", &format!("127.0.0.1:{}", self.link.port())]);
        command.args([
            "--listen",
            &format!("127.0.0.1:{}", self.listen),
            "--operator",
            "olga",
        ]);
        let output = command.output().unwrap();
        let text = format!(
            "{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        self.transcript.add_text("holdfast-coordinator init", &text);
        output
    }

    /// Replaces what `init` wrote by a configuration with the story's times.
    fn configure(&self, settings: &Settings) {
        let text = format!(
            "listen = \"127.0.0.1:{listen}\"\naddress = \"127.0.0.1:{address}\"\nstate = {state:?}\n\n[runs]\n\
             lease = \"{lease}s\"\ncommit_window = \"{window}s\"\nattempts = {attempts}\nretry_pause = \"1s\"\n\
             backup_deadline = \"{deadline}\"\nrestore_deadline = \"{deadline}\"\n{database}",
            listen = self.listen,
            address = self.link.port(),
            state = self.folder,
            lease = settings.lease,
            window = settings.commit_window,
            attempts = settings.attempts,
            deadline = settings.deadline,
            database = settings.database,
        );
        std::fs::write(self.config(), text).unwrap();
        let operator = self.folder.join("operator");
        let direct = format!(
            "address = \"127.0.0.1:{}\"\nidentity = \"operator.pem\"\n",
            self.listen
        );
        std::fs::write(operator.join("ctl.toml"), direct).unwrap();
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.join("coordinator.toml")
    }

    /// The folder with state, keys and the first operator.
    #[must_use]
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// What lies between agents and this coordinator.
    #[must_use]
    pub fn link(&self) -> &Proxy {
        &self.link
    }

    /// A command of the coordinator's binary.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = process::command(&places::binary("holdfast-coordinator"), None);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Serves, and waits until operators are answered.
    pub fn start_again(&mut self) {
        let mut command = self.command();
        command.arg("serve").arg("--config").arg(self.config());
        self.process = Some(Process::start(
            "coordinator",
            command,
            &self.log,
            &self.transcript,
        ));
        let ctl = self.operator();
        wait::until_true("the coordinator to answer", wait::seconds(30), || {
            self.process().assert_running();
            ctl.run_unrecorded(&["status"]).code == 0
        });
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process
            .take()
            .expect("a running coordinator")
            .kill_alone();
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running coordinator")
    }

    /// The first operator, an admin.
    #[must_use]
    pub fn operator(&self) -> Ctl {
        Ctl::new(&self.folder.join("operator/ctl.toml"), &self.transcript)
    }
}

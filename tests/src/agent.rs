//! An agent beside a database server: invited, joined, run, killed and started again.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::ctl::Ctl;
use crate::folder::{StoryFolder, write_private};
use crate::postgres::{Postgres, with_input};
use crate::process::{self, Process};
use crate::transcript::Transcript;
use crate::{places, wait};

/// The one source of most stories.
pub const SOURCE: &str = "orders-db";

/// How an agent is set up.
#[derive(Debug, Clone)]
pub struct AgentPlan {
    /// Its name, and that of its folder.
    pub name: String,
    /// The source it announces.
    pub source: String,
    /// Lines of `[backup]`.
    pub backup: String,
    /// More lines of the source.
    pub source_settings: String,
    /// Variables of its process.
    pub environment: Vec<(String, String)>,
    /// A clock this much off, as faketime writes it: `+1h`.
    pub clock: Option<String>,
}

impl Default for AgentPlan {
    fn default() -> Self {
        Self {
            name: "db1".into(),
            source: SOURCE.into(),
            // Small enough that a slow store stops the dump: what the stories kill must be under way.
            backup: "pack_size = \"4MiB\"\nuploads = 1\nthreads = 1\nmemory_budget = \"24MiB\"\n"
                .into(),
            source_settings: String::new(),
            environment: Vec::new(),
            clock: None,
        }
    }
}

/// An agent that has joined.
pub struct Agent {
    plan: AgentPlan,
    config: PathBuf,
    log: PathBuf,
    transcript: Transcript,
    process: Option<Process>,
}

impl Agent {
    /// Writes the configuration, invites, joins, runs, and waits until the coordinator has its source.
    #[must_use]
    pub fn start(
        folder: &StoryFolder,
        plan: &AgentPlan,
        operator: &Ctl,
        postgres: &Postgres,
    ) -> Self {
        let home = folder.make(&format!("agent-{}", plan.name));
        let mut agent = Self {
            plan: plan.clone(),
            config: home.join("agent.toml"),
            log: folder.path(&format!("agent-{}.log", plan.name)),
            transcript: folder.transcript().clone(),
            process: None,
        };
        write_private(&home.join("password"), postgres.password());
        std::fs::write(&agent.config, agent.configuration(postgres)).unwrap();
        agent.join(operator);
        agent.start_again();
        agent.wait_until_connected(operator);
        agent
    }

    fn configuration(&self, postgres: &Postgres) -> String {
        format!(
            "state = {state:?}\n\n[backup]\n{backup}\n[[source]]\nname = \"{name}\"\nkind = \"postgres\"\nhost = \"127.0.0.1\"\n\
             port = {port}\nuser = \"holdfast\"\npassword = {{ file = \"password\" }}\ntls = \"disable\"\nprograms = [{programs:?}]\n{more}",
            state = self.config.parent().unwrap().join("state"),
            backup = self.plan.backup,
            name = self.plan.source,
            port = postgres.port(),
            programs = postgres.programs(),
            more = self.plan.source_settings,
        )
    }

    /// Invites the agent under its name and joins with the token on standard input.
    pub fn join(&self, operator: &Ctl) {
        let answer = operator
            .run_unrecorded(&["--json", "agent", "invite", &self.plan.name])
            .expect(0);
        let token = answer.json()["token"].as_str().expect("a token").to_owned();
        self.transcript.add_secret("the join token", &token);
        let mut command = self.command("join");
        let output = with_input(&mut command, &token);
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        self.transcript.add_text("holdfast-agent join", &text);
        assert!(output.status.success(), "holdfast-agent join: {text}");
    }

    /// A command of the agent's binary with its configuration, under its clock.
    #[must_use]
    pub fn command(&self, verb: &str) -> Command {
        let mut command = process::command(&places::binary("holdfast-agent"), None);
        if let Some(clock) = &self.plan.clock {
            command
                .env("LD_PRELOAD", places::faketime())
                .env("FAKETIME", clock);
            // The offset is for what the clock says; how long things take stays true.
            command
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
        }
        command.arg(verb).arg("--config").arg(&self.config);
        command.envs(
            self.plan
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
        command
    }

    /// Runs it.
    pub fn start_again(&mut self) {
        let name = format!("agent {}", self.plan.name);
        self.process = Some(Process::start(
            &name,
            self.command("run"),
            &self.log,
            &self.transcript,
        ));
    }

    /// Runs a copy of this agent, key and certificate included, from a folder of its own: a copied virtual machine.
    #[must_use]
    pub fn start_clone(&self, folder: &StoryFolder) -> Process {
        let home = self.config.parent().unwrap();
        let copy = folder.path("agent-clone");
        let copied = Command::new("cp")
            .arg("-a")
            .arg(home)
            .arg(&copy)
            .status()
            .unwrap();
        assert!(copied.success());
        let config = copy.join("agent.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(
            &config,
            text.replace(home.to_str().unwrap(), copy.to_str().unwrap()),
        )
        .unwrap();
        let mut command = process::command(&places::binary("holdfast-agent"), None);
        command.arg("run").arg("--config").arg(&config);
        Process::start(
            "the clone",
            command,
            &folder.path("clone.log"),
            &self.transcript,
        )
    }

    /// Waits until the coordinator knows its source by a session that is open.
    pub fn wait_until_connected(&mut self, operator: &Ctl) {
        wait::until_true("the agent to connect", Duration::from_secs(60), || {
            self.process().assert_running();
            let answer = operator.run_unrecorded(&["--json", "source", "show", &self.plan.source]);
            answer.code == 0 && answer.json()["agent_connected"] == true
        });
    }

    /// `kill -9` of the agent alone; what it had started is left as it is.
    pub fn kill(&mut self) {
        self.process.take().expect("a running agent").kill_alone();
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("a running agent")
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> nix::unistd::Pid {
        self.process.as_ref().expect("a running agent").pid()
    }

    /// The agent's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &PathBuf {
        &self.config
    }
}

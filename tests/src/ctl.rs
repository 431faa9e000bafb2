//! holdfastctl as an operator types it: arguments in, two streams and an exit code out.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::transcript::Transcript;
use crate::{places, process, wait};

/// No command of a story takes longer; one that does hangs.
const DEADLINE: Duration = Duration::from_secs(420);

/// What a command came to.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The arguments, for messages.
    pub command: String,
    /// Exit code; a signal is no exit code and fails the story.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Answer {
    /// Panics with all there is to see when the exit code is another one.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "exit code of holdfastctl {}\n-- stdout\n{}\n-- stderr\n{}",
            self.command, self.stdout, self.stderr
        );
        self
    }

    /// Panics unless the exit code is one of these.
    pub fn expect_one_of(self, codes: &[i32]) -> Self {
        let code = if codes.contains(&self.code) {
            self.code
        } else {
            codes[0]
        };
        self.expect(code)
    }

    /// Panics unless standard error holds each of these, in whatever case.
    pub fn expect_says(self, parts: &[&str]) -> Self {
        let text = self.stderr.to_lowercase();
        for part in parts {
            assert!(
                text.contains(&part.to_lowercase()),
                "holdfastctl {} does not say {part:?}:\n{}",
                self.command,
                self.stderr
            );
        }
        self
    }

    /// Standard output as JSON: the last line, which is the result of commands that wait.
    #[must_use]
    pub fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("holdfastctl {}: {error}: {line}", self.command))
    }
}

/// An operator with a configuration.
#[derive(Clone)]
pub struct Ctl {
    config: PathBuf,
    environment: Vec<(String, String)>,
    transcript: Transcript,
}

impl Ctl {
    /// The operator whose `ctl.toml` this is.
    #[must_use]
    pub fn new(config: &Path, transcript: &Transcript) -> Self {
        Self {
            config: config.to_owned(),
            environment: Vec::new(),
            transcript: transcript.clone(),
        }
    }

    /// The same operator with a variable set.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut with = self.clone();
        with.environment.push((name.to_owned(), value.to_owned()));
        with
    }

    /// Runs a command to its end, whatever that is.
    pub fn run(&self, arguments: &[&str]) -> Answer {
        let answer = self.run_unrecorded(arguments);
        let name = format!("holdfastctl {}", answer.command);
        self.transcript
            .add_text(&name, &format!("{}\n{}", answer.stdout, answer.stderr));
        answer
    }

    /// The same, kept out of the transcript: for the commands that print a secret because they are asked to.
    pub fn run_unrecorded(&self, arguments: &[&str]) -> Answer {
        let mut command = process::command(&places::binary("holdfastctl"), None);
        command.arg("--config").arg(&self.config).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = read_all(child.stdout.take().unwrap());
        let stderr = read_all(child.stderr.take().unwrap());
        let command = arguments.join(" ");
        let what = format!("the end of holdfastctl {command}");
        let status: ExitStatus = wait::until(&what, DEADLINE, || child.try_wait().unwrap());
        Answer {
            code: status
                .code()
                .unwrap_or_else(|| panic!("holdfastctl {command}: {status}")),
            command,
            stdout: stdout.join().unwrap(),
            stderr: stderr.join().unwrap(),
        }
    }

    /// The JSON of a command that must succeed.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut with = vec!["--json"];
        with.extend(arguments);
        self.run(&with).expect(0).json()
    }

    /// Starts a run with `--detach`; its id.
    pub fn start(&self, arguments: &[&str]) -> String {
        let mut with = arguments.to_vec();
        with.push("--detach");
        let answer = self.run(&with).expect(0);
        answer.stdout.trim().to_owned()
    }

    /// A run as it is now.
    #[must_use]
    pub fn run_now(&self, id: &str) -> Value {
        self.json(&["run", "show", id])
    }

    /// Waits until the run is in one of these states.
    pub fn wait_for_state(&self, id: &str, states: &[&str], deadline: Duration) -> Value {
        let mut last = Value::Null;
        let what = format!("run {id} to be {}", states.join(" or "));
        wait::until(&what, deadline, || {
            // A coordinator that is away for a moment is part of many stories.
            let answer = self.run_unrecorded(&["--json", "run", "show", id]);
            if answer.code == 0 {
                last = answer.json();
            }
            let state = last["state"].as_str().unwrap_or_default();
            assert!(
                !is_final(state) || states.contains(&state),
                "run {id} ended as {state}, expected {}: {last:#}",
                states.join(" or ")
            );
            states.contains(&state).then(|| last.clone())
        })
    }

    /// Waits for the run's end, whatever it is.
    pub fn wait_for_end(&self, id: &str, deadline: Duration) -> Value {
        self.wait_for_state(id, &["succeeded", "failed", "cancelled", "lost"], deadline)
    }
}

/// Whether a run in this state stays in it.
#[must_use]
pub fn is_final(state: &str) -> bool {
    matches!(state, "succeeded" | "failed" | "cancelled" | "lost")
}

fn read_all(mut from: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

//! Child programs: started with a clean environment, heard, and never left behind.
//!
//! Promise: a child lives in a process group of its own and ends when its token is cancelled, when its [`Running`]
//! is dropped, or by itself, whichever comes first; what it says on stderr reaches the run's log line by line, bounded,
//! and its last words are kept for the error. Nothing secret is ever an argument: passwords go through the child's
//! environment, which inherits nothing of ours but the search path, the time zone and the library path.
//!
//! Ordering: a supervisor task owns the child. On a stop it signals the group (SIGTERM, so that a client program can
//! cancel its query on the server; SIGKILL after [`GRACE`]), then reaps, then reads what is left of stderr, and only then
//! publishes the [`Exit`]: whoever has seen it knows that the child is gone and that no line follows.

mod ears;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::ears::Ears;
use crate::error::SourceError;
use crate::run::Reporter;

/// What a pipe holds: fewer, larger turns between us and the child. More than an unprivileged user may ask for is refused.
const PIPE_BYTES: i32 = 1 << 20;
/// How long a child may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);
/// Variables a child inherits.
const INHERITED: [&str; 4] = ["PATH", "TZ", "LD_LIBRARY_PATH", "TMPDIR"];

/// A program to run.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    name: String,
    arguments: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    secrets: Vec<(&'static str, SecretString)>,
}

/// What a program reads and writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pipes {
    /// Its stdin is ours to write; otherwise empty.
    pub stdin: bool,
    /// Its stdout is ours to read; otherwise discarded.
    pub stdout: bool,
}

impl Program {
    pub(crate) fn new(path: &Path) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self {
            path: path.to_owned(),
            name: name.to_string_lossy().into_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            secrets: Vec::new(),
        }
    }

    pub(crate) fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    pub(crate) fn secret_env(mut self, name: &'static str, value: &SecretString) -> Self {
        self.secrets.push((name, value.clone()));
        self
    }

    /// Starts it. It ends with `cancel`, or when the [`Running`] is dropped.
    pub(crate) fn start(
        &self,
        pipes: Pipes,
        cancel: &CancellationToken,
        reporter: Option<Arc<dyn Reporter>>,
    ) -> Result<Running, SourceError> {
        let pipe = |wanted| {
            if wanted {
                Stdio::piped()
            } else {
                Stdio::null()
            }
        };
        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(
                INHERITED
                    .iter()
                    .filter_map(|name| Some((name, std::env::var_os(name)?))),
            )
            // Messages are judged, and are to read the same for everybody.
            .env("LC_ALL", "C")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(
                self.secrets
                    .iter()
                    .map(|(name, value)| (name, value.expose_secret())),
            )
            .stdin(pipe(pipes.stdin))
            .stdout(pipe(pipes.stdout))
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| {
            SourceError::permanent(
                format!("{} cannot be started: {error}", self.path.display()),
                "check `programs` of the source in the agent's configuration",
            )
        })?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        widen(stdin.as_ref());
        widen(stdout.as_ref());
        let stderr = child.stderr.take();
        let stop = cancel.child_token();
        let (exit_sender, exit) = watch::channel(None);
        let ears = Ears::new(self.name.clone(), reporter);
        tokio::spawn(supervise(child, stderr, stop.clone(), ears, exit_sender));
        Ok(Running {
            stdin,
            stdout,
            waiter: Waiter {
                name: self.name.clone(),
                exit,
            },
            stop: stop.clone(),
            _stop_on_drop: stop.drop_guard(),
        })
    }

    /// Runs it to its end and gives what it wrote on stdout, refusing more than `limit` bytes.
    pub(crate) async fn output(
        &self,
        limit: usize,
        cancel: &CancellationToken,
        reporter: Option<Arc<dyn Reporter>>,
    ) -> Result<Vec<u8>, SourceError> {
        let pipes = Pipes {
            stdin: false,
            stdout: true,
        };
        let mut running = self.start(pipes, cancel, reporter)?;
        let mut output = Vec::new();
        if let Some(stdout) = running.stdout.take() {
            let mut bounded = stdout.take(limit as u64 + 1);
            bounded.read_to_end(&mut output).await.map_err(|error| {
                SourceError::retryable(format!("reading from {} failed: {error}", self.name), "")
            })?;
        }
        if output.len() > limit {
            running.stop();
            running.waiter().wait().await;
            return Err(SourceError::permanent(
                format!("{} wrote more than {limit} bytes", self.name),
                "",
            ));
        }
        let exit = running.waiter().wait().await;
        if cancel.is_cancelled() {
            return Err(SourceError::Cancelled);
        }
        exit.into_result(&self.name)?;
        Ok(output)
    }
}

/// A started program.
#[derive(Debug)]
pub(crate) struct Running {
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<ChildStdout>,
    waiter: Waiter,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
}

impl Running {
    /// Asks it to end; [`Waiter::wait`] tells when it has.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Something that can wait for the end, also after the [`Running`] is gone.
    pub(crate) fn waiter(&self) -> Waiter {
        self.waiter.clone()
    }
}

/// Waits for a program's end.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    name: String,
    exit: watch::Receiver<Option<Exit>>,
}

impl Waiter {
    /// How it ended. Comes back once the process is reaped.
    pub(crate) async fn wait(mut self) -> Exit {
        match self.exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.clone().unwrap_or_else(|| Exit::unknown(&self.name)),
            // The supervisor died with the runtime; the child was killed with it.
            Err(_) => Exit::unknown(&self.name),
        }
    }
}

/// How a program ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    status: Option<ExitStatus>,
    last_words: Vec<String>,
}

impl Exit {
    fn unknown(name: &str) -> Self {
        Self {
            status: None,
            last_words: vec![format!("{name} was lost sight of")],
        }
    }

    /// Whether it ended by itself with code 0.
    pub(crate) fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Its last lines on stderr, oldest first.
    pub(crate) fn last_words(&self) -> String {
        self.last_words.join("\n")
    }

    /// "exited with code 1", "was killed by signal 9".
    pub(crate) fn describe(&self) -> String {
        use std::os::unix::process::ExitStatusExt;
        let Some(status) = self.status else {
            return "ended in an unknown way".to_owned();
        };
        match (status.code(), status.signal()) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was killed by signal {signal}"),
            (None, None) => "ended in an unknown way".to_owned(),
        }
    }

    /// Nothing when it ended with code 0, else an error with its last words.
    pub(crate) fn into_result(self, name: &str) -> Result<(), SourceError> {
        if self.success() {
            return Ok(());
        }
        let message = match self.last_words() {
            words if words.is_empty() => format!("{name} {}", self.describe()),
            words => format!("{name} {}: {words}", self.describe()),
        };
        Err(if is_permanent(&message) {
            SourceError::permanent(message, "")
        } else {
            SourceError::retryable(message, "")
        })
    }
}

/// Whether the last words of a client program speak of something that the next try meets again.
fn is_permanent(words: &str) -> bool {
    const SIGNS: [&str; 9] = [
        "password authentication failed",
        "no password supplied",
        "permission denied",
        "must be superuser",
        "must be owner",
        "row-level security",
        "server version mismatch",
        "unrecognized option",
        "invalid page in block",
    ];
    SIGNS.iter().any(|sign| words.contains(sign))
}

/// Makes a pipe hold more, where the system lets us.
fn widen(pipe: Option<&impl AsFd>) {
    if let Some(pipe) = pipe {
        let _as_it_was = fcntl(pipe.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
    }
}

async fn supervise(
    mut child: Child,
    stderr: Option<ChildStderr>,
    stop: CancellationToken,
    ears: Ears,
    exit: watch::Sender<Option<Exit>>,
) {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .map(Pid::from_raw);
    let hearing = tokio::spawn(ears.listen(stderr));
    let status = tokio::select! {
        status = child.wait() => status,
        () = stop.cancelled() => end(&mut child, group).await,
    };
    // Whatever the child started itself goes with it; it also holds stderr open otherwise.
    signal(group, Signal::SIGKILL);
    let last_words = match tokio::time::timeout(GRACE, hearing).await {
        Ok(Ok(words)) => words,
        _ => Vec::new(),
    };
    exit.send_replace(Some(Exit {
        status: status.ok(),
        last_words,
    }));
}

async fn end(child: &mut Child, group: Option<Pid>) -> std::io::Result<ExitStatus> {
    signal(group, Signal::SIGTERM);
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            signal(group, Signal::SIGKILL);
            child.wait().await
        }
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // ESRCH, nobody left in the group, is the usual answer after the end.
        let _gone = killpg(group, signal);
    }
}

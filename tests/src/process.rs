//! One running program of a story: it has a log, takes signals, and does not outlive the story.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::transcript::Transcript;
use crate::wait;

/// A command that ends when the thread that starts it does, as `user` when this is root and a user is named.
#[must_use]
pub fn command(program: &Path, user: Option<&str>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = user.filter(|_| nix::unistd::geteuid().is_root()) {
        command.args(["--reuid", user, "--regid", user, "--init-groups"]);
    }
    command.arg("--").arg(program);
    command.env("LC_ALL", "C.UTF-8").env("TZ", "UTC");
    command
}

/// A program under way. Dropped, it and all of its process group are killed.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    leaves_children: bool,
}

impl Process {
    /// Starts `command` with stdout and stderr in `log`, behind what is there from an earlier start.
    pub fn start(name: &str, mut command: Command, log: &Path, transcript: &Transcript) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .process_group(0);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        transcript.add_log(name, log);
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            leaves_children: false,
        }
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal to the program alone, not to its children.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal)
            .unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// `kill -9` of the program, and of nothing else: its children go on or end as they would in life.
    pub fn kill_alone(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
        self.leaves_children = true;
    }

    /// Waits for the program to end by itself.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait::until(&what, deadline, || self.child.try_wait().unwrap())
    }

    /// Asks the program to end and waits for it.
    pub fn terminate(&mut self, deadline: Duration) -> ExitStatus {
        if self.is_running() {
            self.signal(Signal::SIGTERM);
        }
        self.wait(deadline)
    }

    /// All it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Panics with the log's end when the program has ended.
    pub fn assert_running(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!(
                "{} has ended ({}):\n{}",
                self.name,
                describe(status),
                self.log()
            );
        }
    }

    /// Resident memory in bytes: `VmRSS` of proc(5), or `VmHWM` for the peak.
    #[must_use]
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{field}:")));
        let kilobytes = line
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .expect("a line of kB");
        kilobytes.trim().parse::<u64>().unwrap() * 1024
    }

    /// Processor seconds so far, of this process alone: utime and stime of proc(5), USER_HZ is 100.
    #[must_use]
    pub fn processor_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: f64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<f64>().unwrap())
            .sum();
        ticks / 100.0
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.leaves_children {
            let _ = killpg(self.pid(), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// `kill -9` of a process that is not a story's own child.
pub fn kill_hard(pid: Pid) {
    let _ = kill(pid, Signal::SIGKILL);
}

/// Direct children of a process and their programs' names.
#[must_use]
pub fn children(parent: Pid) -> Vec<(Pid, String)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // pid (name) state ppid ..., proc(5); the name may hold parentheses itself.
        let Some((pid, (name, rest))) = stat
            .split_once(" (")
            .and_then(|(pid, rest)| Some((pid, rest.rsplit_once(") ")?)))
        else {
            continue;
        };
        let parent_of = rest.split(' ').nth(1).and_then(|field| field.parse().ok());
        if parent_of == Some(parent.as_raw()) {
            found.push((Pid::from_raw(pid.parse().unwrap()), name.to_owned()));
        }
    }
    found
}

/// Whether a process exists and is not only waiting to be reaped.
#[must_use]
pub fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

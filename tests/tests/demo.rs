//! `deploy/demo` as a newcomer runs it: it succeeds twice in a row, with S3 and with a folder, fails when what came back
//! is not equal, and leaves nothing behind however it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holdfast_tests::places::binary;
use holdfast_tests::{StoryFolder, wait};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A demo takes two minutes at most once built; debug programs on a busy machine get more.
const LONGEST: Duration = Duration::from_secs(240);

/// The demo with programs that are built already and small tables, in a folder that shows what it leaves.
fn demo(temporary: &Path, arguments: &[&str]) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/demo");
    // Started behind an `&`, this process ignores SIGINT, and so would the demo.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(script);
    command
        .arg("--bin-dir")
        .arg(binary("holdfastctl").parent().unwrap());
    command.args(["--scale", "1"]).args(arguments);
    command
        .env("TMPDIR", temporary)
        .env_remove("HOLDFAST_CONFIG")
        .stdin(Stdio::null());
    command.process_group(0);
    command
}

/// Where the demos of one story make their folders; PostgreSQL's user passes through it.
fn temporary(folder: &StoryFolder) -> PathBuf {
    let path = folder.path("t");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    path
}

/// Runs one to its end; everything it said, and its exit code.
fn run(folder: &StoryFolder, mut command: Command) -> (String, Option<i32>) {
    let said = folder.path("demo.log");
    let file = fs::File::create(&said).unwrap();
    command.stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = Started(command.spawn().unwrap());
    let code = child.wait();
    let text = fs::read_to_string(&said).unwrap();
    folder.transcript().add_text("deploy/demo", &text);
    (text, code)
}

/// A demo under way, which does not outlive its story.
struct Started(Child);

impl Started {
    fn wait(&mut self) -> Option<i32> {
        let mut status = None;
        wait::until_true("the demo to end", LONGEST, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }

    fn signal(&self, signal: Signal) {
        killpg(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Started {
    /// The demo clears up behind itself when it is asked to end.
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            self.signal(Signal::SIGTERM);
            drop(self.0.wait());
        }
    }
}

fn assert_nothing_is_left(temporary: &Path) {
    let left: Vec<_> = fs::read_dir(temporary)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let processes = processes_in(temporary);
    assert!(processes.is_empty(), "{processes:?}");
}

/// Command lines of processes that the demos in `temporary` have started.
fn processes_in(temporary: &Path) -> Vec<String> {
    let marker = format!("HOLDFAST_DEMO_FOLDER={}", temporary.display());
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter_map(|entry| {
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let is_ours = environment
            .split(|byte| *byte == 0)
            .any(|line| line.starts_with(marker.as_bytes()));
        is_ours.then(|| {
            fs::read_to_string(entry.path().join("cmdline"))
                .unwrap_or_default()
                .replace('\0', " ")
        })
    })
    .collect()
}

#[test]
fn the_demo_succeeds_twice_in_a_row() {
    let folder = StoryFolder::new("demo");
    let temporary = temporary(&folder);
    for _ in 0..2 {
        let (said, code) = run(&folder, demo(&temporary, &[]));
        assert_eq!(code, Some(0), "{said}");
        for expected in [
            "holdfastctl backup demo-db",
            "snapshots    1 object",
            "no errors were found",
            "DROP DATABASE \"shop\"",
            "\nEQUAL: ",
        ] {
            assert!(said.contains(expected), "{expected:?} is not in\n{said}");
        }
        assert_nothing_is_left(&temporary);
    }
}

#[test]
fn the_demo_does_without_s3() {
    let folder = StoryFolder::new("demo-file");
    let temporary = temporary(&folder);
    let (said, code) = run(&folder, demo(&temporary, &["--vault", "file"]));
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("\nEQUAL: ") && !said.contains("SeaweedFS"),
        "{said}"
    );
    assert_nothing_is_left(&temporary);
}

/// `--keep`: it answers afterwards, its secrets were shown nowhere, a look at the databases sees a change, and `stop` ends it.
#[test]
fn the_demo_that_is_kept_can_be_talked_to_and_stopped() {
    let folder = StoryFolder::new("demo-kept");
    let temporary = temporary(&folder);
    let (said, code) = run(&folder, demo(&temporary, &["--keep", "--vault", "file"]));
    let kept = fs::read_dir(&temporary)
        .unwrap()
        .next()
        .expect("a kept folder")
        .unwrap()
        .path();
    let stop = Stop(kept.join("stop"));
    assert_eq!(code, Some(0), "{said}");

    for (what, file) in [
        ("the agent's password", "agent/postgres.password"),
        ("the master key", "coordinator/master.key"),
    ] {
        folder
            .transcript()
            .add_secret(what, fs::read_to_string(kept.join(file)).unwrap().trim());
    }
    let kit = fs::read_to_string(kept.join("recovery-kit.txt")).unwrap();
    let secret = kit
        .lines()
        .find_map(|line| line.strip_prefix("secret:"))
        .unwrap()
        .trim();
    folder.transcript().add_secret("the vault's secret", secret);
    // What the demo tells the person to type.
    let line = said
        .lines()
        .find(|line| line.trim_start().starts_with("holdfastctl restore"))
        .expect("a line to try");
    let output = Command::new(binary("holdfastctl"))
        .args(line.split_whitespace().skip(1))
        .env(
            "HOLDFAST_CONFIG",
            kept.join("coordinator/operator/ctl.toml"),
        )
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );

    for name in ["postgres", "coordinator", "agent", "join"] {
        let text = fs::read_to_string(kept.join(format!("logs/{name}.log"))).unwrap();
        folder.transcript().add_text(name, &text);
    }
    assert!(!processes_in(&temporary).is_empty());
    drop(stop);
    assert_nothing_is_left(&temporary);
}

/// Runs the kept demo's `stop` at the end of the story, also when it fails.
struct Stop(PathBuf);

impl Drop for Stop {
    fn drop(&mut self) {
        let stopped = Command::new(&self.0).status().unwrap();
        assert!(stopped.success() || std::thread::panicking());
    }
}

#[test]
fn ctrl_c_in_the_middle_of_the_demo_leaves_nothing() {
    let folder = StoryFolder::new("demo-interrupted");
    let temporary = temporary(&folder);
    for step in [
        "Start PostgreSQL",
        "Start the coordinator",
        "Back up",
        "Restore",
    ] {
        let mut command = demo(&temporary, &[]);
        let mut child = Started(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let mut lines = BufReader::new(child.0.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        assert!(
            lines.any(|line| line.starts_with('[') && line.contains(step)),
            "{step} never began"
        );
        child.signal(Signal::SIGINT);
        // Read on: who writes into a closed pipe ends in another way.
        let reader = std::thread::spawn(move || lines.collect::<Vec<_>>().join("\n"));
        assert_eq!(child.wait(), Some(130), "{step}");
        folder.transcript().add_text(
            "deploy/demo",
            &format!("[{step}]\n{}", reader.join().unwrap()),
        );
        assert_nothing_is_left(&temporary);
    }
}

/// A comparison that cannot fail compares nothing: what differs is shown, and the exit code is not 0.
#[test]
fn the_demo_fails_when_what_came_back_is_not_equal() {
    let folder = StoryFolder::new("demo-unequal");
    let temporary = temporary(&folder);
    let programs = folder.make("programs");
    let real = binary("holdfastctl");
    for name in ["holdfast-coordinator", "holdfast-agent"] {
        std::os::unix::fs::symlink(binary(name), programs.join(name)).unwrap();
    }
    // An operator's program after whose restore one row more is there.
    let forged = format!(
        "#!/bin/bash\n{real} \"$@\" || exit\n[[ $1 == restore ]] || exit 0\n\
         port=$(sed -n 's/^port = //p' agent/agent.toml)\n\
         PGPASSWORD=$(<agent/postgres.password) psql -X -q -h 127.0.0.1 -p \"$port\" -U holdfast -d shop -c 'INSERT INTO nothing_yet VALUES (1)'\n",
        real = real.display()
    );
    let path = programs.join("holdfastctl");
    fs::write(&path, forged).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = demo(&temporary, &["--vault", "file"]);
    command.arg("--bin-dir").arg(&programs);
    let (said, code) = run(&folder, command);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("- table public.nothing_yet\t0 rows")
            && said.contains("+ table public.nothing_yet\t1 rows"),
        "{said}"
    );
    assert!(!said.contains("EQUAL: "), "{said}");
    assert_nothing_is_left(&temporary);
}

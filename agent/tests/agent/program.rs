//! The program itself: arguments, exit codes, messages.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use std::process::{Child, Stdio};
use std::time::Duration;

use assert_cmd::Command;
use holdfast_proto::v1;
use holdfast_proto::v1::coordinator_message::Message as ToAgent;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::coordinator::{FakeCoordinator, SOON};

fn agent() -> Command {
    let mut command = Command::cargo_bin("holdfast-agent").expect("built");
    command
        .env_remove("RUST_LOG")
        .timeout(std::time::Duration::from_secs(60));
    command
}

fn config(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("agent.toml"), text).expect("written");
    folder
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(folder: &Path, args: &[&str], stdin: &str) -> Outcome {
    let output = agent()
        .current_dir(folder)
        .args(args)
        .write_stdin(stdin)
        .output()
        .expect("ran");
    Outcome {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[test]
fn the_help_lists_the_exit_codes() {
    for args in [
        &["--help"][..],
        &["join", "--help"],
        &["run", "--help"],
        &["check-config", "--help"],
    ] {
        let outcome = run(Path::new("/"), args, "");
        assert_eq!(outcome.code, 0);
        assert!(
            outcome.stdout.contains("4 coordinator not"),
            "{}",
            outcome.stdout
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn joining_takes_the_token_from_standard_input_or_a_private_file() {
    let coordinator = FakeCoordinator::start().await;
    let folder = config("state = 'state'\n");
    let token = coordinator.token().reveal().expose_secret().to_owned();
    let join = ["join", "--config", "agent.toml"];
    let outcome = run(folder.path(), &join, &format!("{token}\n"));
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("as agent \"db1\""),
        "{}",
        outcome.stdout
    );
    assert!(folder.path().join("state/identity.pem").exists());

    let outcome = run(folder.path(), &join, &token);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);

    let file = folder.path().join("token");
    std::fs::File::create(&file)
        .and_then(|mut file| writeln!(file, "{token}"))
        .expect("written");
    let from_file = [
        "join",
        "--config",
        "agent.toml",
        "--force",
        "--token-file",
        "token",
    ];
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("set");
    let outcome = run(folder.path(), &from_file, "");
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("chmod 600"), "{}", outcome.stderr);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("set");
    let outcome = run(folder.path(), &from_file, "");
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(coordinator.joins().len(), 2);
}

#[test]
fn a_token_as_an_argument_is_refused_and_not_repeated() {
    let folder = config("state = 'state'\n");
    let outcome = run(
        folder.path(),
        &["join", "--config", "agent.toml", "hfjoin1.SECRET"],
        "",
    );
    assert_eq!(outcome.code, 2);
    assert!(
        outcome.stderr.contains("never an argument"),
        "{}",
        outcome.stderr
    );
    assert!(!outcome.stderr.contains("SECRET"), "{}", outcome.stderr);
    for wrong in ["", "hello", "hfjoin1.AAAA"] {
        let outcome = run(folder.path(), &["join", "--config", "agent.toml"], wrong);
        assert_eq!(outcome.code, 2, "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("holdfastctl agent invite"),
            "{}",
            outcome.stderr
        );
    }
}

#[test]
fn a_wrong_configuration_is_told_with_its_place() {
    let folder = config("state = 'state'\nlog_fromat = 'json'\n");
    for command in ["run", "check-config", "join"] {
        let outcome = run(folder.path(), &[command, "--config", "agent.toml"], "");
        assert_eq!(outcome.code, 2, "{}", outcome.stderr);
        assert!(
            outcome.stderr.contains("agent.toml:2:1"),
            "{}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains("did you mean `log_format`"),
            "{}",
            outcome.stderr
        );
    }
    let outcome = run(folder.path(), &["run", "--config", "none.toml"], "");
    assert_eq!(outcome.code, 2);
    assert!(outcome.stderr.contains("none.toml"), "{}", outcome.stderr);
}

#[test]
fn an_agent_that_has_not_joined_says_how() {
    let folder = config("state = 'state'\n");
    let outcome = run(folder.path(), &["run", "--config", "agent.toml"], "");
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("holdfast-agent join"),
        "{}",
        outcome.stderr
    );
    let outcome = run(
        folder.path(),
        &["check-config", "--offline", "--config", "agent.toml"],
        "",
    );
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        outcome.stdout.contains("identity: none yet"),
        "{}",
        outcome.stdout
    );
}

/// A joined agent that serves, in a process of its own.
fn serve(coordinator: &FakeCoordinator) -> (TempDir, Child) {
    let folder = config("state = 'state'\n");
    let token = coordinator.token().reveal().expose_secret().to_owned();
    let joined = run(folder.path(), &["join", "--config", "agent.toml"], &token);
    assert_eq!(joined.code, 0, "{}", joined.stderr);
    let child = std::process::Command::new(assert_cmd::cargo::cargo_bin("holdfast-agent"))
        .current_dir(folder.path())
        .args(["run", "--config", "agent.toml"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    (folder, child)
}

async fn ended(mut child: Child) -> Outcome {
    let until = tokio::time::Instant::now() + SOON;
    while child.try_wait().expect("waited for").is_none() {
        if tokio::time::Instant::now() > until {
            child.kill().expect("killed");
            panic!("the agent did not end");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let output = child.wait_with_output().expect("read");
    Outcome {
        code: output.status.code().expect("an exit code"),
        stdout: String::new(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serving_agent_ends_well_when_told_and_lets_no_second_one_in() {
    let coordinator = FakeCoordinator::start().await;
    let (folder, child) = serve(&coordinator);
    let _session = coordinator.welcomed().await;
    let second = run(folder.path(), &["run", "--config", "agent.toml"], "");
    assert_eq!(second.code, 3, "{}", second.stderr);
    assert!(
        second.stderr.contains("another agent runs on"),
        "{}",
        second.stderr
    );
    let pid = Pid::from_raw(child.id().try_into().expect("a pid"));
    kill(pid, Signal::SIGTERM).expect("told");
    let outcome = ended(child).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_displaced_and_a_revoked_agent_end_with_3_and_say_why() {
    let coordinator = FakeCoordinator::start().await;
    let (_folder, child) = serve(&coordinator);
    let mut session = coordinator.welcomed().await;
    session
        .send(ToAgent::Displaced(v1::Displaced {
            by_host: "clone".into(),
            by_address: "10.0.0.9".into(),
        }))
        .await;
    let outcome = ended(child).await;
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("clone (10.0.0.9)"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("\nhint: "), "{}", outcome.stderr);

    let (_folder, child) = serve(&coordinator);
    let session = coordinator.welcomed().await;
    coordinator.revoke();
    session
        .end(tonic::Status::permission_denied("agent db1 was revoked"))
        .await;
    let outcome = ended(child).await;
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("db1 was revoked"),
        "{}",
        outcome.stderr
    );
}

//! The program itself: arguments, exit codes, messages.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use assert_cmd::Command;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::coordinator::FakeCoordinator;

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

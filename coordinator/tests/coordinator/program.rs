//! The program itself: arguments, configuration, signals, exit codes.

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Database, Installation};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_holdfast-coordinator"))
}

fn serve(at: &Installation) -> Command {
    let mut command = program();
    command.arg("serve").arg("--config").arg(at.config());
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn wait_for_port(child: &mut Child, port: u16) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(child.try_wait().expect("asked").is_none(), "it ended");
        assert!(Instant::now() < deadline, "it does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn init_says_what_it_made_and_what_was_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new");
    let init = || {
        let output = program()
            .args(["init", "--address", "127.0.0.1:7600", "--dir"])
            .arg(&dir)
            .output()
            .expect("runs");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        String::from_utf8(output.stdout).expect("text")
    };
    let first = init();
    assert!(
        first.contains("made") && first.contains("ca.pem") && first.contains("next: "),
        "{first}"
    );
    let second = init();
    assert!(second.contains("nothing was changed"), "{second}");
}

#[test]
fn init_refuses_an_address_that_is_none_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new");
    let output = program()
        .args(["init", "--address", "no port", "--dir"])
        .arg(&dir)
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(!dir.exists());
}

#[test]
fn a_wrong_configuration_is_usage_with_its_place() {
    let at = Installation::with(Database::Sqlite, "[runs]\nleas = \"1s\"\n");
    let output = serve(&at).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let told = stderr(&output);
    assert!(
        told.contains("coordinator.toml:") && told.contains("did you mean `lease`?"),
        "{told}"
    );
}

#[test]
fn a_database_that_is_not_there_is_told_with_its_place() {
    let port = crate::support::installation::free_port();
    let url = format!("[database]\nurl = \"postgres://me@127.0.0.1:{port}/x\"\n");
    let at = Installation::with(Database::Sqlite, &url);
    let output = serve(&at).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let told = stderr(&output);
    assert!(
        told.contains("cannot open the state") && told.contains("hint: "),
        "{told}"
    );
}

#[test]
fn it_serves_until_a_signal_and_refuses_a_second_of_itself() {
    for signal in ["-TERM", "-INT"] {
        let at = Installation::with(Database::Sqlite, "");
        let mut child = serve(&at).stderr(Stdio::null()).spawn().expect("starts");
        wait_for_port(&mut child, at.port);
        let second = serve(&at).output().expect("runs");
        assert_eq!(second.status.code(), Some(3), "{}", stderr(&second));
        assert!(
            stderr(&second).contains("another coordinator"),
            "{}",
            stderr(&second)
        );

        let told = Instant::now();
        let sent = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
        let ended = child.wait().expect("it ends");
        assert_eq!(ended.code(), Some(0));
        assert!(
            told.elapsed() < Duration::from_secs(10),
            "{:?}",
            told.elapsed()
        );
    }
}

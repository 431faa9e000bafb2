//! Children that fail, linger, talk and are left.

use super::*;

fn shell(script: &str) -> Program {
    Program::new(Path::new("/bin/sh")).arg("-c").arg(script)
}

const SILENT: Pipes = Pipes {
    stdin: false,
    stdout: false,
};

#[tokio::test]
async fn failure_carries_code_and_last_words() {
    let token = CancellationToken::new();
    let error = shell("echo first >&2; echo last >&2; exit 3")
        .output(100, &token, None)
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "sh exited with code 3: first\nlast");
}

#[tokio::test]
async fn cancel_ends_the_whole_group() {
    let token = CancellationToken::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!(
        "sleep 1000 & echo $! > {}; trap '' TERM; wait; sleep 1000",
        file.display()
    );
    let running = shell(&script).start(SILENT, &token, None).unwrap();
    while std::fs::read_to_string(&file).map_or(true, |text| text.is_empty()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    token.cancel();
    let exit = running.waiter().wait().await;
    assert!(!exit.success(), "{}", exit.describe());
    let grandchild: i32 = std::fs::read_to_string(&file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let state = std::fs::read_to_string(format!("/proc/{grandchild}/stat")).unwrap_or_default();
    assert!(
        state.is_empty() || state.contains(") Z"),
        "still there: {state}"
    );
}

#[tokio::test]
async fn dropping_ends_it_too() {
    let running = shell("sleep 1000")
        .start(SILENT, &CancellationToken::new(), None)
        .unwrap();
    let waiter = running.waiter();
    drop(running);
    assert_eq!(waiter.wait().await.describe(), "was killed by signal 15");
}

#[tokio::test]
async fn environment_is_clean_and_output_bounded() {
    let token = CancellationToken::new();
    let program = shell("env | sort | cut -d= -f1").secret_env("PGPASSWORD", &"x".into());
    let text = String::from_utf8(program.output(10_000, &token, None).await.unwrap()).unwrap();
    assert!(text.contains("PGPASSWORD"));
    assert!(!text.contains("CARGO"), "{text}");
    let error = shell("yes").output(1000, &token, None).await.unwrap_err();
    assert_eq!(error.to_string(), "sh wrote more than 1000 bytes");
}

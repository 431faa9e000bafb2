//! Waiting outlives what happens on the way: streams that break, a coordinator that is killed, ctrl-C.

#![allow(clippy::expect_used)]

mod fake;

use std::time::Duration;

use fake::{Coordinator, RUN, Step, run};
use holdfast_proto::v1::RunState;
use tonic::Status;

#[test]
fn a_broken_stream_is_taken_up_where_it_broke() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        let mut events = fake::backup_events();
        events.insert(5, Step::Break);
        state.events.insert(RUN.into(), events);
    });
    let said = run(coordinator.ctl(&["backup", "orders-db"])).expect_code(0);
    let said = said.err_has(&[
        "the coordinator does not answer; the run goes on",
        "the coordinator is back",
    ]);
    assert_eq!(
        said.err.matches("odd").count(),
        1,
        "nothing is shown twice: {}",
        said.err
    );
    assert!(
        coordinator
            .asked()
            .iter()
            .any(|call| call.contains("after_sequence: 4")),
        "{:?}",
        coordinator.asked()
    );
    assert_eq!(
        coordinator
            .asked()
            .iter()
            .filter(|call| call.starts_with("start_run"))
            .count(),
        1
    );
}

#[test]
fn a_coordinator_that_is_killed_and_comes_back_ends_nothing() {
    let mut coordinator = Coordinator::start();
    coordinator.with(|state| {
        state.events.insert(
            RUN.into(),
            vec![fake::state(1, RunState::Running), Step::Hang],
        );
    });
    let mut command = coordinator.ctl(&["backup", "orders-db"]);
    let waiting = std::thread::spawn(move || command.output().expect("ran"));
    until(|| {
        coordinator
            .asked()
            .iter()
            .any(|call| call.starts_with("watch_run"))
    });
    coordinator.kill();
    std::thread::sleep(Duration::from_secs(1));
    coordinator.with(|state| {
        state.events.insert(RUN.into(), fake::backup_events());
    });
    coordinator.serve();
    let output = waiting.join().expect("joined");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{err}");
    assert!(err.contains("the coordinator is back"), "{err}");
    assert_eq!(
        coordinator
            .asked()
            .iter()
            .filter(|call| call.starts_with("start_run"))
            .count(),
        1
    );
}

#[test]
fn a_coordinator_that_stays_away_is_given_up_and_the_run_is_not() {
    let mut coordinator = Coordinator::start();
    coordinator.with(|state| {
        state.events.insert(
            RUN.into(),
            vec![fake::state(1, RunState::Running), Step::Hang],
        );
    });
    let mut command = coordinator.ctl(&["backup", "orders-db", "--reconnect-for", "1s"]);
    let waiting = std::thread::spawn(move || command.output().expect("ran"));
    until(|| {
        coordinator
            .asked()
            .iter()
            .any(|call| call.starts_with("watch_run"))
    });
    coordinator.kill();
    let output = waiting.join().expect("joined");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(4), "{err}");
    assert!(
        err.contains("the run goes on without the coordinator"),
        "{err}"
    );
    assert!(
        err.contains(&format!("holdfastctl run show {RUN}")),
        "{err}"
    );
}

#[test]
fn a_start_that_was_not_answered_is_repeated_under_the_same_key() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        state
            .error_once
            .insert("start_run", Status::unavailable("going down"));
    });
    run(coordinator.ctl(&["backup", "orders-db"])).expect_code(0);
    coordinator.with(|state| {
        assert_eq!(state.start_keys.len(), 2);
        assert_eq!(state.start_keys[0], state.start_keys[1]);
        assert!(!state.start_keys[0].is_empty());
    });
    run(coordinator.ctl(&["backup", "orders-db"])).expect_code(0);
    coordinator.with(|state| assert_ne!(state.start_keys[0], state.start_keys[2]));
}

#[test]
fn ctrl_c_detaches_and_leaves_the_run_alone() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        state.events.insert(
            RUN.into(),
            vec![fake::state(1, RunState::Running), Step::Hang],
        );
    });
    let program = assert_cmd::cargo::cargo_bin!("holdfastctl");
    let child = std::process::Command::new(program)
        .args(["backup", "orders-db"])
        .env("HOLDFAST_CONFIG", coordinator.file("ctl.toml"))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    until(|| {
        coordinator
            .asked()
            .iter()
            .any(|call| call.starts_with("watch_run"))
    });
    std::thread::sleep(Duration::from_millis(300));
    let interrupted = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill");
    assert!(interrupted.success());
    let output = child.wait_with_output().expect("ended");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(6), "{err}");
    assert!(err.contains("detached") && err.contains("goes on"), "{err}");
    assert!(
        err.contains(&format!("holdfastctl run cancel {RUN}")),
        "{err}"
    );
    assert!(
        !coordinator
            .asked()
            .iter()
            .any(|call| call.starts_with("cancel_run"))
    );
}

#[test]
fn a_traced_command_hands_its_trace_to_the_coordinator() {
    let coordinator = Coordinator::start();
    run(coordinator.ctl(&["status"])).expect_code(0);
    coordinator.with(|state| assert_eq!(state.traceparents, Vec::<String>::new()));
    let mut traced = coordinator.ctl(&["backup", "orders-db"]);
    // Nobody collects there; the command neither fails nor waits for it.
    traced.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1");
    run(traced).expect_code(0);
    coordinator.with(|state| {
        let traces: Vec<&str> = state
            .traceparents
            .iter()
            .filter_map(|text| text.get(3..35))
            .collect();
        assert_eq!(
            traces.len(),
            2,
            "start_run and watch_run: {:?}",
            state.traceparents
        );
        assert_eq!(traces[0], traces[1]);
    });
}

/// Waits for something another process does; gives up after 20 s.
fn until(condition: impl Fn() -> bool) {
    for _ in 0..400 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("it did not happen within 20 s");
}

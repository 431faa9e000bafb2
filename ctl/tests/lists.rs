//! What the commands that look things up print, for people and for scripts.

#![allow(clippy::expect_used)]

mod fake;

use fake::{Coordinator, FAILED_RUN, RUN, SNAPSHOT, run};

#[test]
fn status_says_first_what_needs_attention() {
    let coordinator = Coordinator::start();
    let said = run(coordinator.ctl(&["status"])).expect_code(0);
    assert!(
        said.out
            .starts_with("NEEDS ATTENTION\n  ! agent db1: its clock is 1 h behind\n"),
        "{}",
        said.out
    );
    let said = said.out_has(&[
        "RUNS THAT GO ON",
        "SOURCES",
        "AGENTS",
        "VAULTS",
        "clock 1 h 0 min behind",
        "state in sqlite",
    ]);
    assert!(
        said.out.lines().all(|line| !line.ends_with(' ')),
        "{}",
        said.out
    );
    coordinator.with(|state| state.status.attention.clear());
    run(coordinator.ctl(&["status"]))
        .expect_code(0)
        .out_has(&["Nothing needs attention."]);
}

#[test]
fn a_coordinator_of_another_contract_is_refused() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| state.status.version.as_mut().expect("set").major = 9);
    run(coordinator.ctl(&["status"]))
        .expect_code(3)
        .err_has(&["update the older"]);
}

#[test]
fn runs_are_listed_with_their_results() {
    let coordinator = Coordinator::start();
    run(coordinator.ctl(&[
        "run",
        "list",
        "--source",
        "orders-db",
        "--state",
        "failed",
        "--limit",
        "7",
    ]))
    .expect_code(0)
    .out_has(&[
        "RUN",
        "0190a1b2-c3d4",
        "succeeded",
        "snapshot 1a2b3c4d, stored 8.0 MiB",
        "pg_dump of app ended with code 1",
    ]);
    let asked = coordinator.asked();
    assert!(
        asked[0].contains("source: \"orders-db\"") && asked[0].contains("limit: 7"),
        "{asked:?}"
    );
    assert!(asked[0].contains("Failed"), "{asked:?}");
    let runs = run(coordinator.ctl(&["run", "list", "--json"]))
        .expect_code(0)
        .json();
    assert_eq!(
        runs["runs"][1]["failure"]["hint"],
        "read its last words in the log"
    );
    assert_eq!(runs["runs"][0]["started_at"], "2026-07-01T12:00:01Z");
    coordinator.with(|state| state.runs.clear());
    let none = run(coordinator.ctl(&["run", "list"])).expect_code(0);
    assert_eq!(none.out, "no runs\n");
}

#[test]
fn a_run_is_shown_whole() {
    let coordinator = Coordinator::start();
    run(coordinator.ctl(&["run", "show", FAILED_RUN]))
        .expect_code(0)
        .out_has(&[
            "state      failed",
            "asked by   ada",
            "2026-07-01 12:01:13 UTC",
            "ended with code 1",
            "hint: read",
        ]);
    let shown = run(coordinator.ctl(&["run", "show", RUN, "--json"]))
        .expect_code(0)
        .json();
    assert_eq!(shown["result"]["stored_bytes"], 8 << 20);
}

#[test]
fn the_log_of_a_run_that_ended_is_printed_to_its_end() {
    let coordinator = Coordinator::start();
    let said = run(coordinator.ctl(&["run", "logs", RUN])).expect_code(0);
    assert_eq!(
        said.out,
        "2026-07-01 12:00:04 UTC  pg_dump: pg_dump: warning: odd \\u{1b}[2J thing\n"
    );
    let line = run(coordinator.ctl(&["run", "logs", RUN, "--json"]))
        .expect_code(0)
        .json();
    assert_eq!(line["log"]["text"], "pg_dump: warning: odd \u{1b}[2J thing");
}

#[test]
fn the_log_of_a_run_that_goes_on_ends_with_what_there_is_unless_followed() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        state.runs = vec![fake::queued()];
        let events = vec![
            fake::log(1, "info", "first"),
            fake::wait(3000),
            fake::log(2, "info", "second"),
            fake::end(3, fake::succeeded_backup()),
        ];
        state.events.insert(RUN.into(), events);
    });
    let said = run(coordinator.ctl(&["run", "logs", RUN]))
        .expect_code(0)
        .err_has(&["the run goes on; --follow"]);
    assert!(
        said.out.contains("first") && !said.out.contains("second"),
        "{}",
        said.out
    );
    run(coordinator.ctl(&["run", "logs", RUN, "--follow"]))
        .expect_code(0)
        .out_has(&["first", "second"]);
}

#[test]
fn a_cancelled_run_is_told() {
    let coordinator = Coordinator::start();
    run(coordinator.ctl(&["run", "cancel", RUN]))
        .expect_code(0)
        .out_has(&["cancelled the backup of orders-db"]);
}

#[test]
fn snapshots_are_listed_and_shown() {
    let coordinator = Coordinator::start();
    run(coordinator.ctl(&["snapshot", "list", "--source", "orders-db", "--orphans"]))
        .expect_code(0)
        .out_has(&[
            "1a2b3c4d",
            "2026-07-01 12:00:00 UTC",
            "committed",
            "primary",
        ]);
    assert!(coordinator.asked()[0].contains("include_orphans: true"));
    run(coordinator.ctl(&["snapshot", "show", "1a2b"]))
        .expect_code(0)
        .out_has(&[
            SNAPSHOT,
            "orders-db (postgres, dump)",
            "DATABASE",
            "app",
            "ann",
            "1.0 MiB",
            "billing",
        ]);
    let shown = run(coordinator.ctl(&["snapshot", "show", "1a2b", "--json"]))
        .expect_code(0)
        .json();
    assert_eq!(shown["manifest"]["databases"][0]["name"], "app");
    assert_eq!(shown["standing"], "committed");
}

#[test]
fn sources_agents_and_vaults_are_listed() {
    let coordinator = Coordinator::start();
    run(coordinator.ctl(&["source", "list"]))
        .expect_code(0)
        .out_has(&["orders-db", "postgres", "db1", "backup succeeded", "ready"]);
    run(coordinator.ctl(&["source", "show", "orders-db"]))
        .expect_code(0)
        .out_has(&[
            "PostgreSQL 15.9",
            "1a2b3c4d of 2026-07-01",
            "3, and 1 orphans",
        ]);
    run(coordinator.ctl(&["agent", "list"]))
        .expect_code(0)
        .out_has(&["db1.example", "connected"]);
    run(coordinator.ctl(&["vault", "list"]))
        .expect_code(0)
        .out_has(&[
            "primary (default)",
            "s3://backups/prod",
            "no: the server has no object lock",
        ]);
    coordinator.with(|state| state.sources[0].agent_connected = false);
    run(coordinator.ctl(&["source", "list"]))
        .expect_code(0)
        .out_has(&["agent away"]);
}

#[test]
fn an_invitation_is_alone_on_standard_output() {
    let coordinator = Coordinator::start();
    let said = run(coordinator.ctl(&["agent", "invite", "db1", "--expires", "90m"])).expect_code(0);
    assert_eq!(said.out, "hfjoin1.TOKEN\n");
    let said = said.err_has(&["holdfast-agent join", "2026-07-01 13:00:00 UTC"]);
    assert!(!said.err.contains("hfjoin1"), "{}", said.err);
    assert!(
        coordinator.asked()[0].contains("expires_in_seconds: 5400"),
        "{:?}",
        coordinator.asked()
    );
    let json = run(coordinator.ctl(&["agent", "invite", "db1", "--json"]))
        .expect_code(0)
        .json();
    assert_eq!(json["token"], "hfjoin1.TOKEN");
}

#[test]
fn a_revocation_says_what_cannot_be_recalled() {
    let coordinator = Coordinator::start();
    run(coordinator.ctl(&["agent", "revoke", "db1", "--yes"]))
        .expect_code(0)
        .out_has(&[
            "revoked db1",
            &format!("cancelled run {RUN}"),
            "- its static key AKIAX works until it is rotated",
        ]);
}

#[test]
fn a_state_of_a_newer_coordinator_is_shown_as_unknown() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        state.runs[0].state = 77;
        state.runs[0].spec.as_mut().expect("set").kind = 77;
        state.status.agents[0].state = 77;
    });
    run(coordinator.ctl(&["run", "list"]))
        .expect_code(0)
        .out_has(&["unknown"]);
    run(coordinator.ctl(&["agent", "list"]))
        .expect_code(0)
        .out_has(&["unknown"]);
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        let one = state.runs[0].clone();
        state.runs = vec![one; 5000];
    });
    let program = assert_cmd::cargo::cargo_bin!("holdfastctl")
        .display()
        .to_string();
    let mut command = assert_cmd::Command::new("sh");
    command.args(["-c", &format!("{program} run list --json | head -c 10")]);
    command.env("HOLDFAST_CONFIG", coordinator.file("ctl.toml"));
    let said = run(command).expect_code(0);
    assert_eq!(said.err, "");
}

#[test]
fn a_table_fits_the_terminal_and_is_cut_nowhere_else() {
    let coordinator = Coordinator::start();
    let said = coordinator
        .on_a_terminal("", &["run", "list"])
        .expect_code(0);
    let widest = said
        .out
        .lines()
        .map(|line| line.trim_end().chars().count())
        .max();
    assert!(widest.expect("lines") <= 80, "{}", said.out);
    let piped = run(coordinator.ctl(&["run", "list"])).expect_code(0);
    assert_eq!(
        piped.out.lines().count(),
        3,
        "a line for each run: {}",
        piped.out
    );
}

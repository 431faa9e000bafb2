//! Commands that start a run and wait for it: what they print, how they end, and that a broken connection ends nothing.

#![allow(clippy::expect_used)]

mod fake;

use fake::{Coordinator, RUN, SAFETY_RUN, SNAPSHOT, run};
use holdfast_proto::v1::{self, FailureClass, RunState};

#[test]
fn a_backup_is_shown_while_it_runs_and_summed_up_at_its_end() {
    let coordinator = Coordinator::start();
    let said = run(coordinator.ctl(&["backup", "orders-db"])).expect_code(0);
    let said = said.out_has(&[
        &format!("backed up orders-db: snapshot {SNAPSHOT}"),
        "read 1.2 GiB, new 24.0 MiB (2.0 % of what was read), stored 8.0 MiB; 4 files in 1 min 12 s",
        "warning: database template0 was skipped",
    ]);
    said.err_has(&[
        &format!("started the backup of orders-db (run {RUN})"),
        "running",
        "dumping app: read 10.0 MiB of about 1.2 GiB, stored 2.5 MiB, about 30 s left",
        "pg_dump: pg_dump: warning: odd \\u{1b}[2J thing",
    ]);
}

#[test]
fn on_a_terminal_a_bar_is_drawn_and_taken_away_again() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        let mut events = fake::backup_events();
        events.insert(4, fake::wait(600));
        events.insert(5, fake::progress(600 << 20));
        events.insert(6, fake::wait(600));
        state.events.insert(RUN.into(), events);
    });
    let said = coordinator
        .on_a_terminal("", &["backup", "orders-db"])
        .expect_code(0);
    said.out_has(&[
        "50 %",
        "stored 150 MiB",
        "odd \\u{1b}[2J thing",
        "backed up orders-db",
    ]);
}

#[test]
fn a_backup_for_scripts_is_one_json_line_an_event_and_the_run_last() {
    let coordinator = Coordinator::start();
    let said = run(coordinator.ctl(&["backup", "orders-db", "--json"])).expect_code(0);
    let lines = said.json_lines();
    let names: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect();
    assert_eq!(
        names,
        [
            "started", "state", "state", "state", "progress", "log", "state", "ended"
        ]
    );
    assert_eq!(lines[4]["progress"]["read_bytes"], 10 << 20);
    assert_eq!(lines[5]["log"]["origin"], "pg_dump");
    let last = &lines[7]["run"];
    assert_eq!(last["state"], "succeeded");
    assert_eq!(last["result"]["snapshot_id"], SNAPSHOT);
    assert_eq!(said.err, "");
}

#[test]
fn a_detached_backup_prints_the_id_alone() {
    let coordinator = Coordinator::start();
    let said = run(coordinator.ctl(&["backup", "orders-db", "--detach"])).expect_code(0);
    assert_eq!(said.out, format!("{RUN}\n"));
    assert!(
        !coordinator
            .asked()
            .iter()
            .any(|call| call.starts_with("watch_run"))
    );
}

#[test]
fn the_exit_code_is_that_of_the_runs_end() {
    let coordinator = Coordinator::start();
    let cancelled = v1::run_result::Result::CancelledBy("ada".into());
    let table = [
        (
            fake::ended_as(RunState::Failed, fake::failure(FailureClass::Permanent)),
            1,
            "failed: pg_dump of app ended with code 1",
        ),
        (
            fake::ended_as(RunState::Failed, fake::failure(FailureClass::Refused)),
            3,
            "was refused: pg_dump",
        ),
        (
            fake::ended_as(RunState::Cancelled, cancelled),
            6,
            "was cancelled by ada",
        ),
        (
            v1::Run {
                state: RunState::Lost.into(),
                ..fake::queued()
            },
            1,
            "is lost",
        ),
        (
            v1::Run {
                state: 99,
                ..fake::queued()
            },
            1,
            "ended as unknown",
        ),
    ];
    for (ended, code, words) in table {
        coordinator.with(|state| {
            state.events.insert(RUN.into(), vec![fake::end(1, ended)]);
        });
        let said = run(coordinator.ctl(&["backup", "orders-db"])).expect_code(code);
        assert_eq!(said.out, "", "no success is told");
        said.err_has(&[words]);
    }
}

#[test]
fn a_failed_run_says_what_to_do_next() {
    let coordinator = Coordinator::start();
    let ended = fake::ended_as(RunState::Failed, fake::failure(FailureClass::Permanent));
    coordinator.with(|state| {
        state.events.insert(RUN.into(), vec![fake::end(1, ended)]);
    });
    run(coordinator.ctl(&["backup", "orders-db"]))
        .expect_code(1)
        .err_has(&["hint: read its last words in the log"]);
    let said = run(coordinator.ctl(&["backup", "orders-db", "--json"])).expect_code(1);
    assert_eq!(
        said.json_lines().last().expect("a line")["run"]["failure"]["class"],
        "permanent"
    );
    let error: serde_json::Value =
        serde_json::from_str(said.err.lines().last().expect("a line")).expect("json");
    assert_eq!(error["error"]["exit_code"], 1);
}

#[test]
fn a_restore_tells_where_the_old_database_is_and_how_to_drop_it() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        state
            .events
            .insert(RUN.into(), vec![fake::end(1, fake::restored())]);
    });
    let said = run(coordinator.ctl(&["restore", "orders-db", "--yes"])).expect_code(0);
    said.out_has(&[
        "restored orders-db from snapshot 1a2b3c4d: read 300 MiB in 1 min 12 s",
        "app: 312 tables, 1200000 rows",
        "as it was before: app_before_0190a1b2",
        "holdfastctl source drop-copy orders-db app_before_0190a1b2",
    ])
    .err_has(&[
        "Restore in place: orders-db",
        "databases  app, billing",
        "stays as NAME_before_<run>",
    ]);
    let start = coordinator
        .asked()
        .into_iter()
        .find(|call| call.starts_with("start_run"))
        .expect("started");
    assert!(
        start.contains(&format!("snapshot: \"{SNAPSHOT}\"")),
        "the snapshot shown is the one asked for: {start}"
    );
    assert!(start.contains("vault: \"primary\""), "{start}");
}

#[test]
fn the_safety_backup_comes_first_and_its_failure_is_told() {
    let coordinator = Coordinator::start();
    let safety = v1::Run {
        id: SAFETY_RUN.into(),
        ..fake::failed_backup()
    };
    let refused = v1::run_result::Result::Failure(v1::Failure {
        class: FailureClass::Refused.into(),
        message: "the run before it did not succeed".into(),
        hint: String::new(),
    });
    coordinator.with(|state| {
        state.started.safety_run = Some(v1::Run {
            id: SAFETY_RUN.into(),
            ..fake::queued()
        });
        state
            .events
            .insert(SAFETY_RUN.into(), vec![fake::end(1, safety)]);
        state.events.insert(
            RUN.into(),
            vec![fake::end(1, fake::ended_as(RunState::Failed, refused))],
        );
    });
    run(coordinator.ctl(&["restore", "orders-db", "--drop-old", "--yes"]))
        .expect_code(3)
        .err_has(&[
            "DROPPED at the end, after a safety backup",
            &format!("a safety backup comes first: run {SAFETY_RUN}"),
            "the safety backup did not succeed",
            "the run before it did not succeed",
        ]);
}

#[test]
fn a_restore_to_a_new_database_asks_nothing_and_says_exactly_what_was_meant() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        state
            .events
            .insert(RUN.into(), vec![fake::end(1, fake::restored())]);
    });
    let arguments = [
        "restore",
        "orders-db",
        "--snapshot",
        "2026-07-01T13:00:00Z",
        "--database",
        "app",
        "--table",
        "public.t",
        "--into",
        "app2",
        "--to",
        "db2/spare",
        "--globals",
        "--subscriptions",
        "skip",
        "--disconnect-clients",
    ];
    run(coordinator.ctl(&arguments)).expect_code(0);
    let start = coordinator
        .asked()
        .into_iter()
        .find(|call| call.starts_with("start_run"))
        .expect("started");
    for part in [
        "source: \"spare\"",
        "from_source: \"orders-db\"",
        "agent: \"db2\"",
        "databases: [\"app\"]",
        "tables: [\"public.t\"]",
        "into: \"app2\"",
        "globals: true",
        "subscriptions: Skip",
        "disconnect_clients: true",
    ] {
        assert!(start.contains(part), "{part} is missing in {start}");
    }
}

#[test]
fn the_copy_of_a_restore_is_dropped_by_a_run() {
    let coordinator = Coordinator::start();
    let dropped = v1::run_result::Result::DroppedCopy("app_before_1".into());
    coordinator.with(|state| {
        let ended = fake::ended_as(RunState::Succeeded, dropped);
        state.events.insert(RUN.into(), vec![fake::end(1, ended)]);
    });
    run(coordinator.ctl(&["source", "drop-copy", "orders-db", "app_before_1", "--yes"]))
        .expect_code(0)
        .out_has(&["dropped app_before_1"]);
}

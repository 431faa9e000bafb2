//! Everything that must not work: each with its exit code, what is wrong, and what to do.

#![allow(clippy::expect_used)]

mod fake;

use std::time::Duration;

use fake::{Coordinator, bare_ctl, run};
use holdfast_identity::{IdentityFiles, OperatorRole, Role};
use jiff::{SignedDuration, Timestamp};
use tonic::{Code, Status};

const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn nobody_at_the_address_is_told_with_the_address() {
    let mut coordinator = Coordinator::start();
    coordinator.kill();
    let address = coordinator.address.to_string();
    run(coordinator.ctl(&["status"])).expect_code(4).err_has(&[
        "cannot reach",
        &address,
        "hint: on the coordinator's host: systemctl status",
    ]);
    let said = run(coordinator.ctl(&["status", "--json"])).expect_code(4);
    let error: serde_json::Value = serde_json::from_str(&said.err).expect("json");
    assert_eq!(error["error"]["class"], "not_reachable");
    assert_eq!(error["error"]["exit_code"], 4);
    assert_eq!(said.out, "");
}

#[test]
fn each_answer_of_the_coordinator_has_its_exit_code() {
    let coordinator = Coordinator::start();
    let table = [
        (Code::InvalidArgument, 2),
        (Code::FailedPrecondition, 3),
        (Code::PermissionDenied, 3),
        (Code::Unauthenticated, 3),
        (Code::Unavailable, 4),
        (Code::NotFound, 5),
        (Code::Internal, 1),
        (Code::Unimplemented, 1),
    ];
    for (code, exit) in table {
        coordinator.with(|state| {
            state
                .errors
                .insert("status", Status::new(code, "because\nhint: do that"));
        });
        run(coordinator.ctl(&["status"]))
            .expect_code(exit)
            .err_has(&["because", "hint: do that"]);
    }
}

#[test]
fn what_is_not_there_is_not_found() {
    let coordinator = Coordinator::start();
    for arguments in [
        ["run", "show", "ffff"],
        ["run", "logs", "ffff"],
        ["run", "cancel", "ffff"],
        ["snapshot", "show", "ffff"],
        ["source", "show", "nobody"],
        ["restore", "nobody", "--yes"],
        ["restore", "orders-db", "--snapshot=2020-01-01T00:00:00Z"],
        ["restore", "orders-db", "--database=nodb"],
    ] {
        run(coordinator.ctl(&arguments)).expect_code(5);
    }
}

#[test]
fn a_source_without_a_snapshot_has_nothing_to_restore() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| state.sources[0].latest = None);
    run(coordinator.ctl(&["restore", "orders-db", "--yes"]))
        .expect_code(5)
        .err_has(&["orders-db has no snapshot to restore", "--orphans"]);
    assert!(
        !coordinator
            .asked()
            .iter()
            .any(|call| call.starts_with("start_run"))
    );
}

#[test]
fn another_sources_snapshot_is_not_taken_for_this_one() {
    let coordinator = Coordinator::start();
    run(coordinator.ctl(&["restore", "billing-db", "--snapshot", "1a2b3c4d", "--yes"]))
        .expect_code(2)
        .err_has(&["is one of \"orders-db\"", "--to AGENT/billing-db"]);
}

#[test]
fn destruction_without_a_terminal_needs_yes() {
    let coordinator = Coordinator::start();
    for arguments in [
        &["restore", "orders-db"][..],
        &["agent", "revoke", "db1"],
        &["source", "drop-copy", "orders-db", "app_before_1"],
    ] {
        run(coordinator.ctl(arguments))
            .expect_code(3)
            .err_has(&["nothing was done", "add --yes"]);
    }
    let changed = |call: &String| call.starts_with("start_run") || call.starts_with("revoke");
    assert!(
        !coordinator.asked().iter().any(changed),
        "{:?}",
        coordinator.asked()
    );
}

#[test]
fn on_a_terminal_the_name_must_be_typed() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        state
            .events
            .insert(fake::RUN.into(), vec![fake::end(1, fake::restored())]);
    });
    coordinator
        .on_a_terminal("orders", &["restore", "orders-db"])
        .expect_code(3)
        .out_has(&[
            "Type orders-db to go on",
            "nothing was done: what was typed is not the name",
        ]);
    assert!(
        !coordinator
            .asked()
            .iter()
            .any(|call| call.starts_with("start_run"))
    );
    coordinator
        .on_a_terminal("app", &["restore", "orders-db", "--database", "app"])
        .expect_code(0)
        .out_has(&["Type app to go on", "restored orders-db"]);
    coordinator
        .on_a_terminal("db1", &["agent", "revoke", "db1"])
        .expect_code(0)
        .out_has(&["revoked db1"]);
}

#[test]
fn contradictions_are_told_before_anybody_is_asked() {
    let coordinator = Coordinator::start();
    for arguments in [
        &["restore", "orders-db", "--table", "t"][..],
        &["restore", "orders-db", "--into", "x"],
        &["restore", "orders-db", "-d", "a", "-t", "t"],
        &["restore", "orders-db", "-d", "a", "-d", "b", "--into", "x"],
        &["restore", "orders-db", "--no-safety"],
        &[
            "restore",
            "orders-db",
            "-d",
            "a",
            "--into",
            "x",
            "--drop-old",
        ],
        &["restore", "orders-db", "--to", "nowhere"],
        &["restore", "Orders DB"],
        &["backup"],
        &["backup", "../etc"],
        &["run", "list", "--state", "asleep"],
        &["run", "list", "--limit", "0"],
        &["agent", "invite", "UPPER"],
        &["agent", "invite", "db1", "--expires", "soon"],
        &["agent", "invite", "db1", "--expires", "0s"],
        &["snapshot", "files", "abc", "--source", "orders-db"],
        &["frobnicate"],
        &[],
    ] {
        run(coordinator.ctl(arguments)).expect_code(2);
    }
    assert_eq!(coordinator.asked(), Vec::<String>::new());
    run(coordinator.ctl(&["restore", "orders-db", "--snapshot", "yesterday"]))
        .expect_code(2)
        .err_has(&["neither a snapshot's id nor a time"]);
}

#[test]
fn a_variable_that_is_not_set_changes_no_meaning() {
    let coordinator = Coordinator::start();
    let restore = ["restore", "orders-db", "--yes", "-d", "a"];
    for (option, more) in [
        ("--into", &[][..]),
        ("--into-schema", &["-t", "t"]),
        ("--table", &["--into", "x"]),
        ("--database", &["--drop-old"]),
        ("--snapshot", &[]),
    ] {
        let arguments = [&restore[..], &[option, ""], more].concat();
        run(coordinator.ctl(&arguments))
            .expect_code(2)
            .err_has(&[option]);
    }
    run(coordinator.ctl(&["restore", "orders-db", "--yes", "-d", "a", "--into="])).expect_code(2);
    run(coordinator.ctl(&["backup", "orders-db", "--vault", ""])).expect_code(2);
    run(coordinator.ctl(&["run", "cancel", ""])).expect_code(2);
    run(coordinator.ctl(&["snapshot", "list", "--source", ""])).expect_code(2);
    assert_eq!(coordinator.asked(), Vec::<String>::new());
}

#[test]
fn a_configuration_that_cannot_work_says_where() {
    let coordinator = Coordinator::start();
    let mut unset = bare_ctl(&["status"]);
    unset.env("HOLDFAST_CONFIG", "");
    let missing = run(unset).expect_code(2);
    missing.err_has(&[
        "/nonexistent/.config/holdfast/ctl.toml",
        "holdfast-coordinator init",
    ]);
    let table = [
        (
            "adress = \"x:1\"\nidentity = \"operator.pem\"\n",
            "ctl.toml:1:1: unknown key `adress`",
        ),
        (
            "address = \"x\"\nidentity = \"operator.pem\"\n",
            "host:port",
        ),
        ("address = \"x:1\"\n", "`identity` is missing"),
        (
            "address = \"x:1\"\nidentity = \"other.pem\"\n",
            "there is no identity at",
        ),
    ];
    for (text, words) in table {
        coordinator.write_config(text);
        run(coordinator.ctl(&["status"]))
            .expect_code(2)
            .err_has(&[words]);
    }
}

#[test]
fn an_identity_that_cannot_work_is_told_plainly() {
    let coordinator = Coordinator::start();
    let now = Timestamp::now();
    coordinator.write_identity(Role::Agent, now, DAY);
    run(coordinator.ctl(&["status"]))
        .expect_code(2)
        .err_has(&["needs an operator's"]);
    let past = now - SignedDuration::from_hours(24 * 30);
    coordinator.write_identity(Role::Operator(OperatorRole::Viewer), past, DAY);
    run(coordinator.ctl(&["status"]))
        .expect_code(3)
        .err_has(&["expired on", "ask an administrator"]);
    let stranger = Coordinator::start();
    std::fs::copy(
        stranger.file("operator.pem"),
        coordinator.file("operator.pem"),
    )
    .expect("copied");
    run(coordinator.ctl(&["status"]))
        .expect_code(3)
        .err_has(&["is not the coordinator we know"]);
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(coordinator.file("operator.pem"), open).expect("mode");
    run(coordinator.ctl(&["status"]))
        .expect_code(2)
        .err_has(&["operator.pem"]);
}

#[test]
fn a_certificate_renews_itself_at_two_thirds() {
    let coordinator = Coordinator::start();
    let files = IdentityFiles::at(coordinator.file("operator.pem"));
    let serial = || {
        files
            .load()
            .expect("read")
            .expect("there")
            .peer()
            .serial()
            .to_owned()
    };
    let fresh = serial();
    run(coordinator.ctl(&["status"])).expect_code(0);
    assert_eq!(serial(), fresh, "a fresh one is left alone");
    let past = Timestamp::now() - SignedDuration::from_hours(3);
    coordinator.write_identity(
        Role::Operator(OperatorRole::Admin),
        past,
        Duration::from_secs(4 * 3600),
    );
    let old = serial();
    run(coordinator.ctl(&["status"])).expect_code(0);
    assert_ne!(serial(), old);
    assert!(
        coordinator
            .asked()
            .iter()
            .any(|call| call.starts_with("renew"))
    );
    run(coordinator.ctl(&["status"])).expect_code(0);
}

#[test]
fn a_renewal_that_fails_does_not_stop_the_command() {
    let coordinator = Coordinator::start();
    let past = Timestamp::now() - SignedDuration::from_hours(3);
    coordinator.write_identity(
        Role::Operator(OperatorRole::Admin),
        past,
        Duration::from_secs(4 * 3600),
    );
    coordinator.with(|state| {
        state.errors.insert("renew", Status::internal("no"));
    });
    run(coordinator.ctl(&["status"]))
        .expect_code(0)
        .out_has(&["NEEDS ATTENTION"]);
}

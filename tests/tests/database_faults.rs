//! The database side misbehaves: its programs die, the server stops, the password is wrong, the operator cancels.

use std::time::Duration;

use holdfast_tests::agent::SOURCE;
use holdfast_tests::{House, Plan, checksum, data, process, wait};

const LONG: Duration = Duration::from_secs(120);

/// More than the agent buffers: behind a slow store pg_dump is still at work when it is struck.
const ROWS: u32 = 300_000;

/// One hand-out: the first failure is the run's.
fn house(story: &'static str) -> House {
    let mut plan = Plan::new(story);
    plan.timing.attempts = 1;
    plan.start(|postgres| data::fill_bulk(postgres, ROWS))
}

/// The child of the agent that dumps this server.
fn pg_dump_of(house: &House) -> nix::unistd::Pid {
    wait::until("pg_dump among the agent's children", LONG, || {
        let children = process::children(house.agent.pid()).into_iter();
        children
            .filter(|(_, name)| name == "pg_dump")
            .map(|(pid, _)| pid)
            .next()
    })
}

#[test]
fn pg_dump_is_killed() {
    let house = house("pg-dump-killed");
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.s3.limit(400_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.wait_until_reading(&begun.run);
    process::kill_hard(pg_dump_of(&house));
    house.s3.limit(0);
    begun.answer().expect(1).expect_says(&["pg_dump", "signal"]);
    assert!(
        house.snapshots(true).is_empty(),
        "no snapshot of half a dump"
    );
    house.backup();
    house.assert_whole(&live);
    assert_eq!(house.snapshots(true).len(), 1);
}

#[test]
fn the_server_stops_immediately_in_mid_dump() {
    let mut house = house("postgres-stopped");
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.s3.limit(400_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.wait_until_reading(&begun.run);
    house.postgres.stop_immediately();
    house.s3.limit(0);
    begun.answer().expect(1).expect_says(&["pg_dump"]);
    house.postgres.start_again();
    assert!(house.snapshots(true).is_empty());
    house.backup();
    house.assert_whole(&live);
}

#[test]
fn a_server_that_comes_back_is_tried_again() {
    let mut plan = Plan::new("postgres-restarted");
    plan.timing.attempts = 10;
    let mut house = plan.start(|postgres| data::fill_bulk(postgres, ROWS));
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.s3.limit(400_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.wait_until_reading(&begun.run);
    house.postgres.stop_immediately();
    house.s3.limit(0);
    house.postgres.start_again();
    begun.answer().expect(0);
    house.assert_whole(&live);
}

#[test]
fn a_wrong_password_is_not_tried_again() {
    let mut plan = Plan::new("wrong-password");
    plan.timing.attempts = 5;
    let house = plan.start(|postgres| data::fill_bulk(postgres, 1000));
    house.postgres.sql(
        "postgres",
        "ALTER ROLE holdfast PASSWORD 'another one than the agent knows'",
    );
    let begun = house.begin(&["backup", SOURCE]);
    let run = begun.run.clone();
    begun.answer().expect(1).expect_says(&["password"]);
    let run = house.ctl.run_now(&run);
    assert_eq!(
        (run["state"].as_str(), run["epoch"].as_u64()),
        (Some("failed"), Some(1)),
        "{run:#}"
    );
    assert_eq!(run["failure"]["class"], "permanent", "{run:#}");
    assert!(house.snapshots(true).is_empty());
}

#[test]
fn a_cancelled_backup_leaves_nothing() {
    let house = house("cancelled");
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.s3.limit(400_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.wait_until_reading(&begun.run);
    let dump = pg_dump_of(&house);
    house.ctl.run(&["run", "cancel", &begun.run]).expect(0);
    let run = begun.run.clone();
    begun.answer().expect(6);
    assert_eq!(house.ctl.run_now(&run)["state"], "cancelled");
    wait::until_true("pg_dump to end", LONG, || !process::is_alive(dump));
    house.s3.limit(0);
    assert!(house.snapshots(true).is_empty());
    house.assert_whole(&live);
}

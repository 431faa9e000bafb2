//! The coordinator is killed, is away, comes back. No run is interrupted by it, none is started again.

use std::time::Duration;

use holdfast_tests::agent::SOURCE;
use holdfast_tests::{House, Plan, checksum, data, wait};

const LONG: Duration = Duration::from_secs(120);

fn house(story: &'static str) -> House {
    Plan::new(story).start(|postgres| data::fill_bulk(postgres, 100_000))
}

/// The run succeeded at its first hand-out.
fn assert_uninterrupted(house: &House, run: &str) {
    let run = house.ctl.wait_for_end(run, LONG);
    assert_eq!(run["state"], "succeeded", "{run:#}");
    assert_eq!(run["epoch"], 1, "handed out once: {run:#}");
}

#[test]
fn while_the_agent_dumps_and_away_for_ten_seconds() {
    let mut house = house("coordinator-killed-dumping");
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.s3.limit(400_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.wait_until_reading(&begun.run);
    house.coordinator.kill();
    // Three leases long nobody renews anything, and the dump goes on and ends.
    house.s3.limit(0);
    wait::let_pass(wait::seconds(10));
    house.coordinator.start_again();

    let run = begun.run.clone();
    begun.answer().expect(0);
    assert_uninterrupted(&house, &run);
    assert_eq!(house.snapshots(true).len(), 1);
    house.assert_whole(&live);
}

#[test]
fn while_the_agent_restores() {
    let mut house = house("coordinator-killed-restoring");
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    house.postgres.sql(data::AWKWARD, "DELETE FROM small");
    house.s3.limit(400_000);
    let begun = house.begin(&["restore", SOURCE, "--yes", "--database", data::AWKWARD]);
    house.wait_until_reading(&begun.run);
    house.coordinator.kill();
    house.s3.limit(0);
    house.coordinator.start_again();

    let run = begun.run.clone();
    begun.answer().expect(0);
    assert_uninterrupted(&house, &run);
    house.assert_whole(&before);
}

#[test]
fn around_the_swap() {
    let mut house = house("coordinator-killed-swapping");
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    house.postgres.sql(data::AWKWARD, "DELETE FROM small");
    let lock = house
        .postgres
        .open_transaction("postgres", "COMMENT ON DATABASE orders IS 'held'");
    let begun = house.begin(&["restore", SOURCE, "--yes", "--database", data::AWKWARD]);
    house.ctl.wait_for_state(&begun.run, &["committing"], LONG);
    house.coordinator.kill();
    drop(lock);
    house.coordinator.start_again();

    let run = begun.run.clone();
    begun.answer().expect(0);
    assert_uninterrupted(&house, &run);
    house.assert_whole(&before);
}

/// Before the swap, without a coordinator to permit it: the restore waits, and the live database goes on.
#[test]
fn a_restore_waits_for_its_permission() {
    let mut house = house("coordinator-away-at-permission");
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    house.postgres.sql(data::AWKWARD, "DELETE FROM small");
    let damaged = checksum::rows(&house.postgres, data::AWKWARD);
    house.s3.limit(400_000);
    let begun = house.begin(&["restore", SOURCE, "--yes", "--database", data::AWKWARD]);
    house.wait_until_reading(&begun.run);
    house.coordinator.kill();
    house.s3.limit(0);
    // Long enough for the restore to be through and to stand before the swap.
    wait::let_pass(wait::seconds(12));
    checksum::assert_equal(
        "the live database",
        &damaged,
        &checksum::rows(&house.postgres, data::AWKWARD),
    );
    house.coordinator.start_again();

    let run = begun.run.clone();
    begun.answer().expect(0);
    assert_uninterrupted(&house, &run);
    house.assert_whole(&before);
}

#[test]
#[ignore = "takes six minutes: tests/run --long"]
fn a_coordinator_away_for_five_minutes() {
    let mut plan = Plan::new("coordinator-away");
    plan.timing.lease = 60;
    let mut house = plan.start(|postgres| data::fill_bulk(postgres, 100_000));
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.s3.limit(400_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.wait_until_reading(&begun.run);
    house.coordinator.kill();
    wait::let_pass(wait::seconds(300));
    house.coordinator.start_again();
    house.s3.limit(0);

    let run = begun.run.clone();
    begun.answer().expect(0);
    assert_uninterrupted(&house, &run);
    house.assert_whole(&live);
}

#[test]
fn a_second_coordinator_on_the_same_state_is_refused() {
    let mut house = house("coordinator-twice");
    let mut second = house.coordinator.command();
    second
        .arg("serve")
        .arg("--config")
        .arg(house.coordinator.config());
    let output = second.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    house
        .folder()
        .transcript()
        .add_text("the second coordinator", &stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    assert!(
        stderr.contains("state.lock") || stderr.contains("another coordinator"),
        "{stderr}"
    );
    house.coordinator.process().assert_running();
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    house.assert_whole(&live);
}

#[test]
fn init_twice_destroys_nothing() {
    let house = house("coordinator-init");
    let read = |name: &str| std::fs::read(house.coordinator.folder().join(name)).unwrap();
    let names = [
        "ca.pem",
        "coordinator.pem",
        "master.key",
        "operator/operator.pem",
        "operator/ctl.toml",
        "coordinator.toml",
    ];
    let before: Vec<_> = names.iter().map(|name| read(name)).collect();
    assert_eq!(house.coordinator.init().status.code(), Some(0));
    let after: Vec<_> = names.iter().map(|name| read(name)).collect();
    assert!(before == after, "init changed what was there");
    house.ctl.run(&["status"]).expect(0);
}

//! The agent is killed at the worst moments. The run is handed out again, nothing half made is left, and the live
//! database serves all the time.

use std::time::Duration;

use holdfast_tests::agent::SOURCE;
use holdfast_tests::checksum::Fingerprint;
use holdfast_tests::{House, Plan, checksum, data, wait};

const LONG: Duration = Duration::from_secs(120);

fn house(story: &'static str) -> House {
    Plan::new(story).start(|postgres| data::fill_bulk(postgres, 100_000))
}

/// A backup, then damage: what a restore in place has to undo. Returns the rows before and after the damage.
fn backed_up_and_damaged(house: &House) -> (Fingerprint, Fingerprint) {
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    house
        .postgres
        .sql(data::AWKWARD, "UPDATE small SET word = 'damaged'");
    let damaged = checksum::rows(&house.postgres, data::AWKWARD);
    assert_ne!(before, damaged);
    (before, damaged)
}

#[test]
fn while_it_dumps() {
    let mut house = house("agent-killed-dumping");
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.s3.limit(400_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.wait_until_reading(&begun.run);
    house.agent.kill();
    assert!(
        house.snapshots(true).is_empty(),
        "no snapshot of a backup that did not end"
    );
    house.s3.limit(0);
    house.agent.start_again();

    begun.answer().expect(0);
    let run = house.ctl.wait_for_end(&begun_run(&house), LONG);
    assert_eq!(run["state"], "succeeded");
    assert!(run["epoch"].as_u64().unwrap() > 1, "{run:#}");
    assert_eq!(house.snapshots(true).len(), 1);
    house.assert_whole(&live);
}

/// The newest backup run.
fn begun_run(house: &House) -> String {
    let runs = house.ctl.json(&["run", "list", "--limit", "1"]);
    runs["runs"][0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn while_it_restores() {
    let mut house = house("agent-killed-restoring");
    let (before, damaged) = backed_up_and_damaged(&house);
    house.s3.limit(400_000);
    let begun = house.begin(&["restore", SOURCE, "--yes", "--database", data::AWKWARD]);
    house.wait_until_reading(&begun.run);
    house.agent.kill();
    checksum::assert_equal(
        "the live database",
        &damaged,
        &checksum::rows(&house.postgres, data::AWKWARD),
    );
    house.s3.limit(0);
    house.agent.start_again();

    let answer = begun.answer().expect(0);
    assert!(!answer.stdout.is_empty());
    assert_swapped_once(&house, &damaged);
    house.assert_whole(&before);
}

#[test]
fn around_the_swap() {
    let mut house = house("agent-killed-swapping");
    let (before, damaged) = backed_up_and_damaged(&house);
    let lock = house
        .postgres
        .open_transaction("postgres", "COMMENT ON DATABASE orders IS 'held'");
    let begun = house.begin(&["restore", SOURCE, "--yes", "--database", data::AWKWARD]);
    house.ctl.wait_for_state(&begun.run, &["committing"], LONG);
    wait_until_renaming(&house);
    house.agent.kill();
    drop(lock);
    house.agent.start_again();

    begun.answer().expect(0);
    assert_swapped_once(&house, &damaged);
    house.assert_whole(&before);
}

/// The swap has been sent to the server and waits for the story's lock.
fn wait_until_renaming(house: &House) {
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query ILIKE '%RENAME%'";
    wait::until_true("the swap to wait for the lock", LONG, || {
        house.postgres.sql("postgres", waiting) != "0"
    });
}

/// Exactly one safety copy, with what was live before.
fn assert_swapped_once(house: &House, damaged: &Fingerprint) {
    let copies: Vec<String> = house
        .postgres
        .databases()
        .into_iter()
        .filter(|name| name.starts_with("orders_before_"))
        .collect();
    assert_eq!(copies.len(), 1, "{copies:?}");
    checksum::assert_equal(
        "the safety copy",
        damaged,
        &checksum::rows(&house.postgres, &copies[0]),
    );
}

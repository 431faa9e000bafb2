//! What an operator can ask a restore for, what is refused before anything starts, and the exit codes of both.

use holdfast_tests::agent::SOURCE;
use holdfast_tests::{House, Plan, Postgres, Store, checksum, data};

fn house(story: &'static str, fill: impl FnOnce(&Postgres)) -> House {
    Plan::new(story).store(Store::Folder(None)).start(fill)
}

#[test]
fn one_table_comes_with_what_belongs_to_it() {
    let house = house("choice-table", data::fill);
    let before = checksum::database(&house.postgres, data::AWKWARD);
    house.backup();
    house
        .restore(&[
            "--database",
            data::AWKWARD,
            "--table",
            "public.secured",
            "--table",
            "public.customers",
            "--into",
            "parts",
        ])
        .expect(0);
    let after = checksum::database(&house.postgres, "parts");
    for fact in [
        "table public.customers",
        "table public.secured",
        "index customers_pkey",
        "index customers_lower",
        "constraint customers.customers_pkey",
        "trigger secured.touched",
        "policy secured.own",
        "sequence public.customers_id_seq",
    ] {
        assert!(before.contains_key(fact), "{fact} in {:?}", before.keys());
        assert_eq!(before.get(fact), after.get(fact), "{fact}");
    }
    assert!(!after.contains_key("table public.wide"));
    checksum::assert_equal(
        "the live database",
        &before,
        &checksum::database(&house.postgres, data::AWKWARD),
    );
}

#[test]
fn a_new_name_leaves_the_live_database_alone() {
    let house = house("choice-into", data::fill);
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    house.postgres.sql(data::AWKWARD, "DROP TABLE wide");
    let changed = checksum::rows(&house.postgres, data::AWKWARD);
    house
        .restore(&["--database", data::AWKWARD, "--into", "Copy of \"orders\""])
        .expect(0);
    checksum::assert_equal(
        "the copy",
        &before,
        &checksum::rows(&house.postgres, "Copy of \"orders\""),
    );
    checksum::assert_equal(
        "the live one",
        &changed,
        &checksum::rows(&house.postgres, data::AWKWARD),
    );
    // Nothing is overwritten.
    house
        .restore(&["--database", data::AWKWARD, "--into", data::QUOTED])
        .expect(3);
}

#[test]
fn connected_clients_are_in_the_way_unless_told_otherwise() {
    let house = house("choice-clients", |postgres| data::fill_bulk(postgres, 2000));
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    let client = house
        .postgres
        .open_transaction(data::AWKWARD, "DELETE FROM small");
    house
        .ctl
        .run(&["restore", SOURCE, "--yes", "--database", data::AWKWARD])
        .expect(3)
        .expect_says(&["client", "orders", "hint"]);
    assert_eq!(house.postgres.databases(), ["orders"], "nothing was done");
    house
        .restore(&["--database", data::AWKWARD, "--disconnect-clients"])
        .expect(0);
    drop(client);
    house.assert_whole(&before);
}

#[test]
fn a_subscription_is_not_carried_along_silently() {
    let house = house("choice-subscription", |postgres| {
        data::fill_bulk(postgres, 100);
        let connection = format!(
            "host={} port={} user=postgres dbname=publisher",
            postgres.socket().display(),
            postgres.port()
        );
        postgres.sql("postgres", "CREATE DATABASE publisher");
        postgres.sql("publisher", "CREATE TABLE small (id int, word text); CREATE PUBLICATION p FOR TABLE small; SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
        postgres.sql(data::AWKWARD, &format!("CREATE SUBSCRIPTION s CONNECTION '{connection}' PUBLICATION p WITH (create_slot = false, enabled = false)"));
    });
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    house
        .ctl
        .run(&["restore", SOURCE, "--yes", "--database", data::AWKWARD])
        .expect(3)
        .expect_says(&["subscription", "--subscriptions"]);
    house
        .restore(&["--database", data::AWKWARD, "--subscriptions", "skip"])
        .expect(0);
    checksum::assert_equal(
        "the database",
        &before,
        &checksum::rows(&house.postgres, data::AWKWARD),
    );
    let slots = house.postgres.sql(
        "postgres",
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 's'",
    );
    assert_eq!(slots, "1", "the publisher's slot is still there");
    let here = house.postgres.sql(data::AWKWARD, "SELECT count(*) FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = 'orders')");
    assert_eq!(here, "0");
}

#[test]
fn dropping_the_old_one_makes_a_safety_backup_first() {
    let house = house("choice-drop-old", |postgres| {
        data::fill_bulk(postgres, 2000)
    });
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    house.postgres.sql(data::AWKWARD, "DELETE FROM small");
    let damaged = checksum::rows(&house.postgres, data::AWKWARD);
    house
        .restore(&["--database", data::AWKWARD, "--drop-old"])
        .expect(0);
    assert_eq!(house.postgres.databases(), ["orders"], "no copy is left");
    checksum::assert_equal(
        "the database",
        &before,
        &checksum::rows(&house.postgres, data::AWKWARD),
    );
    let snapshots = house.snapshots(false);
    assert_eq!(snapshots.len(), 2, "the safety backup is the second");
    house.assert_restores(snapshots[0]["id"].as_str().unwrap(), &damaged);
}

#[test]
fn exit_codes_say_what_happened() {
    let house = house("choice-codes", |postgres| data::fill_bulk(postgres, 100));
    house
        .ctl
        .run(&["backup", "no-such-source"])
        .expect(5)
        .expect_says(&["no-such-source"]);
    house
        .ctl
        .run(&["restore", SOURCE, "--yes"])
        .expect(5)
        .expect_says(&["snapshot"]);
    house.ctl.run(&["run", "show", "00000000"]).expect(5);
    house.ctl.run(&["snapshot", "show", "abcdef12"]).expect(5);
    house.ctl.run(&["no-such-command"]).expect(2);
    house.backup();
    house
        .ctl
        .run(&["restore", SOURCE, "--yes", "--database", "no-such-database"])
        .expect(5)
        .expect_says(&["no-such-database"]);
    // Nobody is there to type the name, and --yes was not said.
    house
        .ctl
        .run(&["restore", SOURCE])
        .expect_one_of(&[2, 3])
        .expect_says(&["--yes"]);
    assert_eq!(house.postgres.databases(), ["orders"]);
}

#[test]
fn a_coordinator_that_is_not_there_is_exit_code_4() {
    let mut house = house("choice-away", |postgres| data::fill_bulk(postgres, 100));
    house.coordinator.kill();
    let answer = house.ctl.run(&["status"]).expect(4);
    assert!(answer.stderr.contains("127.0.0.1"), "{}", answer.stderr);
    house.coordinator.start_again();
    house.ctl.run(&["status"]).expect(0);
}

#[test]
fn the_bucket_outlives_the_state() {
    let house = Plan::new("choice-scan").start(|postgres| data::fill_bulk(postgres, 2000));
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    house.backup();
    let before = house.snapshots(false);
    let scanned = house.ctl.json(&["vault", "scan", "main"]);
    assert_eq!(scanned["snapshots"], 2, "{scanned:#}");
    let known = |snapshots: &[serde_json::Value]| -> Vec<_> {
        let facts = |snapshot: &serde_json::Value| {
            ["id", "standing", "run_id", "time"].map(|name| snapshot[name].clone())
        };
        snapshots.iter().map(facts).collect()
    };
    assert_eq!(
        known(&house.snapshots(false)),
        known(&before),
        "what is known stays what it is"
    );
    house.assert_whole(&live);
}

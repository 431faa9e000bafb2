//! The main job: a database server is backed up, destroyed, and comes back equal.

use std::collections::BTreeMap;

use holdfast_tests::agent::SOURCE;
use holdfast_tests::checksum::{self, Fingerprint};
use holdfast_tests::{House, Plan, Store, data};

fn assert_server_equal(
    before: &BTreeMap<String, Fingerprint>,
    after: &BTreeMap<String, Fingerprint>,
) {
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>(),
        "databases"
    );
    for (name, print) in before {
        checksum::assert_equal(name, print, &after[name]);
    }
}

/// Backs up, loses every database and the roles that owned them, restores, compares everything.
fn comes_back(plan: Plan) -> House {
    let house = plan.start(data::fill);
    let before = checksum::server(&house.postgres);
    assert!(before.contains_key(data::QUOTED), "{:?}", before.keys());

    let run = house.backup();
    assert_eq!(run["state"], "succeeded", "{run:#}");
    let snapshot = run["result"]["snapshot_id"].as_str().unwrap().to_owned();
    house.restic().check_all_data();
    assert_eq!(
        house.restic().snapshots(),
        std::slice::from_ref(&snapshot),
        "stock restic sees the one snapshot"
    );
    assert_manifest(&house, &snapshot, &before);

    data::drop_all(&house.postgres);
    // The owner comes back as another role of the same name.
    house
        .postgres
        .sql("postgres", "DROP ROLE app_owner; DROP ROLE \"Odd Role\"");
    assert!(house.postgres.databases().is_empty());
    house.restore(&["--globals"]).expect(0);
    assert_server_equal(&before, &checksum::server(&house.postgres));
    house.assert_no_active_runs();
    house
}

/// What the snapshot says about itself is what the server had.
fn assert_manifest(house: &House, snapshot: &str, before: &BTreeMap<String, Fingerprint>) {
    let shown = house.ctl.json(&["snapshot", "show", snapshot]);
    let manifest = shown["manifest"].to_string();
    for name in before.keys() {
        let quoted = serde_json::to_string(name).unwrap();
        assert!(
            manifest.contains(&quoted),
            "{name} is not in the manifest: {manifest}"
        );
    }
    assert_eq!(shown["standing"], "committed", "{shown:#}");
}

#[test]
fn postgres_15_comes_back_from_s3() {
    let house = comes_back(Plan::new("main-15"));
    let names: Vec<String> = {
        let (server, bucket) = house.bucket();
        server
            .objects(bucket, "")
            .into_iter()
            .map(|(key, _)| key)
            .collect()
    };
    for folder in ["config", "keys/", "data/", "index/", "snapshots/"] {
        let start = format!("backups/{SOURCE}/{folder}");
        assert!(
            names.iter().any(|name| name.starts_with(&start)),
            "{start} in {names:?}"
        );
    }
    house.ctl.run(&["status"]).expect(0);
}

#[test]
fn a_live_database_changes_places_with_its_backup() {
    let house = Plan::new("main-swap").start(data::fill);
    let before = checksum::server(&house.postgres);
    house.backup();
    house.postgres.sql(data::AWKWARD, "DELETE FROM lines WHERE customer < 1000; DROP TABLE wide; INSERT INTO cache VALUES ('new', '')");
    let damaged = checksum::rows(&house.postgres, data::AWKWARD);
    let answer = house.restore(&["--database", data::AWKWARD]).expect(0);
    let run = answer.json()["run"].clone();
    checksum::assert_equal(
        "the restored database",
        &before[data::AWKWARD],
        &checksum::database(&house.postgres, data::AWKWARD),
    );
    checksum::assert_equal(
        "the untouched one",
        &before[data::QUOTED],
        &checksum::database(&house.postgres, data::QUOTED),
    );

    // What was live is the safety copy until it is dropped by command.
    let copy = run["result"]["databases"][0]["previous_as"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(copy.starts_with("orders_before_"), "{copy}");
    checksum::assert_equal(
        "the safety copy",
        &damaged,
        &checksum::rows(&house.postgres, &copy),
    );
    house
        .ctl
        .run(&["source", "drop-copy", SOURCE, &copy, "--yes"])
        .expect(0);
    assert_eq!(house.postgres.databases().len(), before.len());
    house
        .ctl
        .run(&["source", "drop-copy", SOURCE, data::QUOTED, "--yes"])
        .expect(3);
    assert_eq!(
        house.postgres.databases().len(),
        before.len(),
        "only copies are dropped"
    );
}

#[test]
fn postgres_14_comes_back_from_s3() {
    comes_back(Plan::new("main-14").postgres(14));
}

#[test]
fn postgres_16_comes_back_from_s3() {
    comes_back(Plan::new("main-16").postgres(16));
}

#[test]
fn postgres_17_comes_back_from_s3() {
    comes_back(Plan::new("main-17").postgres(17));
}

#[test]
fn postgres_18_comes_back_from_s3() {
    comes_back(Plan::new("main-18").postgres(18));
}

#[test]
fn postgres_15_comes_back_from_a_folder() {
    comes_back(Plan::new("main-folder").store(Store::Folder(None)));
}

#[test]
fn postgres_15_comes_back_with_the_state_in_postgres() {
    let mut plan = Plan::new("main-state");
    plan.state_in_postgres = true;
    let house = comes_back(plan);
    assert_eq!(house.ctl.json(&["status"])["database"], "postgres");
}

#[test]
fn a_second_backup_stores_next_to_nothing() {
    let house = Plan::new("main-again").start(|postgres| data::fill_bulk(postgres, 200_000));
    let first = house.backup();
    let second = house.backup();
    let stored = |run: &serde_json::Value| run["result"]["stored_bytes"].as_u64().unwrap();
    assert!(stored(&first) > 4_000_000, "{first:#}");
    assert!(stored(&second) < stored(&first) / 8, "{second:#}");
    house.assert_whole(&checksum::rows(&house.postgres, data::AWKWARD));
    assert_eq!(house.snapshots(false).len(), 2);
}

#[test]
fn ten_thousand_tables() {
    let house = Plan::new("main-many").start(|postgres| {
        postgres.sql("postgres", "CREATE DATABASE orders");
        // In portions: one transaction would need a lock for each table.
        for portion in 0..20 {
            let tables = (1..=500).map(|i| {
                let name = portion * 500 + i;
                format!("CREATE TABLE t{name} (id int PRIMARY KEY); INSERT INTO t{name} VALUES ({name});")
            });
            postgres.sql(data::AWKWARD, &format!("BEGIN;{} COMMIT;", tables.collect::<String>()));
        }
    });
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    assert_eq!(before.len(), 10_000);
    house.backup();
    house.postgres.sql(data::AWKWARD, "DROP TABLE t77");
    house.restore(&["--database", data::AWKWARD]).expect(0);
    checksum::assert_equal(
        "ten thousand tables",
        &before,
        &checksum::rows(&house.postgres, data::AWKWARD),
    );
}

#[test]
fn a_snapshot_is_exported_for_people_without_us() {
    let house = Plan::new("main-export").start(data::fill);
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    let run = house.backup();
    let snapshot = run["result"]["snapshot_id"].as_str().unwrap();
    let files = house.ctl.json(&["snapshot", "files", snapshot]);
    assert!(files.to_string().contains("globals.sql"), "{files:#}");

    let target = house.folder().make("export");
    house
        .ctl
        .run(&[
            "snapshot",
            "export",
            snapshot,
            target.join("all").to_str().unwrap(),
        ])
        .expect(0);
    let dump = find_file(&target, "orders.dump").expect("orders.dump among the exported files");
    house.postgres.sql(
        "postgres",
        "CREATE DATABASE by_hand TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
    );
    let restored = house
        .postgres
        .client("pg_restore")
        .args(["--exit-on-error", "-d", "by_hand"])
        .arg(dump)
        .output()
        .unwrap();
    assert!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    checksum::assert_equal(
        "restored by hand",
        &before,
        &checksum::rows(&house.postgres, "by_hand"),
    );
}

fn find_file(folder: &std::path::Path, name: &str) -> Option<std::path::PathBuf> {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find_file(&path, name) {
                return Some(found);
            }
        } else if path.file_name().is_some_and(|found| found == name) {
            return Some(path);
        }
    }
    None
}

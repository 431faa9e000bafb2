//! Ten thousand small tables: where a restore in one transaction runs out of locks.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Instant;

use holdfast_tests::checksum;
use holdfast_tests::folder::StoryFolder;
use holdfast_tests::postgres::Postgres;

use support::{Run, Vault, manifest, of, source};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tables_come_back() {
    let folder = StoryFolder::new("scale");
    let server = Postgres::start(&folder, "server", 15);
    server.sql("postgres", "CREATE DATABASE many");
    // In batches, since one statement that makes them all runs out of locks, too.
    let batch = |at: u32| {
        format!(
            "DO $$BEGIN FOR i IN {}..{} LOOP EXECUTE format('CREATE TABLE t%s AS SELECT %s AS a', i, i); END LOOP; END$$;",
            at * 1000 + 1,
            (at + 1) * 1000
        )
    };
    server.sql("many", &(0..10).map(batch).collect::<String>());
    let vault = Vault::new().await;
    let source = source(&server, "databases = ['many']");

    let started = Instant::now();
    let (id, outcome) = vault.backup(&*source, &Run::new()).await.unwrap();
    println!("backup: {:?}", started.elapsed());
    let stored = manifest(&outcome);
    let tables = &stored.database("many").unwrap().tables;
    assert_eq!(
        (
            tables.len(),
            tables.iter().map(|table| table.rows).sum::<u64>()
        ),
        (10_000, 10_000)
    );

    server.sql("many", "DROP TABLE t1, t2; UPDATE t3 SET a = -1");
    let started = Instant::now();
    let run = Run::new();
    let restored = vault
        .restore(&*source, &id, &of(&["many"]), &run)
        .await
        .unwrap();
    println!("restore: {:?}", started.elapsed());
    assert_eq!(
        (restored.databases[0].tables, restored.databases[0].rows),
        (10_000, 10_000)
    );
    assert_eq!(
        server.sql(
            "many",
            "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^t[0-9]+$'"
        ),
        "10000"
    );
    assert_eq!(
        server.sql("many", "SELECT a FROM t1 UNION ALL SELECT a FROM t3"),
        "1\n3"
    );
    let before = restored.databases[0].previous_as.clone().unwrap();
    let (now, then) = (
        checksum::rows(&server, "many"),
        checksum::rows(&server, &before),
    );
    assert_eq!(
        now.iter()
            .filter(|(name, value)| then.get(*name) != Some(*value))
            .count(),
        3
    );
}

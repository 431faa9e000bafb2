//! In place: the live database serves until the swap, and stays as the safety copy.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use holdfast_sources::{FailureClass, RestoreRequest, Source, SourceError};
use holdfast_tests::folder::StoryFolder;
use holdfast_tests::postgres::Postgres;
use holdfast_tests::{checksum, data};
use holdfast_vault::{FileMeta, SnapshotId};
use tokio::io::AsyncReadExt;

use support::{Gate, Run, Vault, assert_refused, names, of, source};

struct Story {
    vault: Vault,
    source: Box<dyn Source>,
    id: SnapshotId,
    server: Arc<Postgres>,
    /// Last: everything above lives in it.
    _folder: StoryFolder,
}

/// A small database `app`, backed up, then changed.
async fn story(name: &str) -> Story {
    let folder = StoryFolder::new(name);
    let server = Arc::new(Postgres::start(&folder, "server", 15));
    server.sql(
        "postgres",
        "CREATE DATABASE app; COMMENT ON DATABASE app IS 'the app'",
    );
    server.sql("app", "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'good' FROM generate_series(1, 1000) i");
    let vault = Vault::new().await;
    let source = source(&server, "");
    let (id, _) = vault.backup(&*source, &Run::new()).await.unwrap();
    server.sql("app", "DELETE FROM t WHERE id > 10; UPDATE t SET v = 'bad'");
    Story {
        vault,
        source,
        id,
        server,
        _folder: folder,
    }
}

const COUNT: &str = "SELECT count(*) || ' ' || min(v) FROM t";

impl Story {
    async fn restore(
        &self,
        request: &RestoreRequest,
        run: &Run,
    ) -> Result<holdfast_sources::RestoreOutcome, SourceError> {
        self.vault
            .restore(&*self.source, &self.id, request, run)
            .await
    }

    fn assert_untouched(&self) {
        assert_eq!(self.server.sql("app", COUNT), "10 bad");
        assert_eq!(names(&self.server), ["app", "postgres"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_database_stays_as_a_copy_until_it_is_dropped() {
    let story = story("swap-plain").await;
    let run = Run::new();
    let outcome = story.restore(&of(&["app"]), &run).await.unwrap();
    let before = format!("app_before_{}", run.tag());
    let database = &outcome.databases[0];
    assert_eq!(
        (
            database.restored_as.as_str(),
            database.previous_as.as_deref()
        ),
        ("app", Some(before.as_str()))
    );
    assert_eq!((database.tables, database.rows), (1, 1000));
    assert_eq!(story.server.sql("app", COUNT), "1000 good");
    assert_eq!(story.server.sql(&before, COUNT), "10 bad");
    assert_eq!(run.gate.asked.load(Ordering::Relaxed), 1);
    assert!(run.recorder.restored.load(Ordering::Relaxed) > 10_000);

    // Only such a copy is dropped by that command.
    let drop_run = Run::new();
    let error = story
        .source
        .drop_copy("app", &drop_run.context())
        .await
        .unwrap_err();
    assert_refused(&error, &["app is no copy"]);
    story
        .source
        .drop_copy(&before, &drop_run.context())
        .await
        .unwrap();
    assert_eq!(names(&story.server), ["app", "postgres"]);
    let error = story
        .source
        .drop_copy(&before, &drop_run.context())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no database"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_has_swapped_does_not_swap_again() {
    let story = story("swap-again").await;
    let run = Run::new();
    story.restore(&of(&["app"]), &run).await.unwrap();
    story
        .server
        .sql("app", "INSERT INTO t VALUES (5000, 'new')");
    let outcome = story.restore(&of(&["app"]), &run).await.unwrap();
    assert_eq!(
        outcome.databases[0].previous_as.as_deref(),
        Some(format!("app_before_{}", run.tag()).as_str())
    );
    assert_eq!(
        story.server.sql("app", "SELECT count(*) FROM t"),
        "1001",
        "what was written since is there"
    );
    assert_eq!(run.gate.asked.load(Ordering::Relaxed), 1);

    // Where nothing stood before there is no copy: the mark of the run tells, until the run's end takes it away.
    story.server.sql("postgres", "DROP DATABASE app");
    let run = Run::new();
    story.restore(&of(&["app"]), &run).await.unwrap();
    let settings = "SELECT count(*) FROM pg_db_role_setting WHERE setdatabase <> 0";
    assert_eq!(story.server.sql("postgres", settings), "0");
    story.server.sql(
        "postgres",
        &format!("ALTER DATABASE app SET holdfast.restored_by = '{}'", run.id),
    );
    story
        .server
        .sql("app", "INSERT INTO t VALUES (5000, 'new')");
    story.restore(&of(&["app"]), &run).await.unwrap();
    assert_eq!(story.server.sql("app", "SELECT count(*) FROM t"), "1001");
    assert_eq!(story.server.sql("postgres", settings), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_refused_or_disconnected_and_never_see_anything_in_between() {
    let story = story("swap-clients").await;
    let stop = Arc::new(AtomicBool::new(false));
    let (served, strange) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let client = {
        let (server, stop, served, strange) = (
            story.server.clone(),
            stop.clone(),
            served.clone(),
            strange.clone(),
        );
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match server.try_sql("app", &format!("{COUNT}; SELECT pg_sleep(0.02); {COUNT}")) {
                    Ok(answer)
                        if answer == "10 bad\n\n10 bad" || answer == "1000 good\n\n1000 good" =>
                    {
                        served.fetch_add(1, Ordering::Relaxed)
                    }
                    Ok(_) => strange.fetch_add(1, Ordering::Relaxed),
                    Err(_) => 0,
                };
            }
        })
    };
    let idle = story.server.clone();
    let sleeper = std::thread::spawn(move || idle.try_sql("app", "SELECT pg_sleep(100)"));
    while story.server.sql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(100)%' AND datname = 'app'") == "0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let error = story.restore(&of(&["app"]), &Run::new()).await.unwrap_err();
    assert_refused(&error, &["app is in use", "--disconnect-clients", "psql"]);

    let served_before = served.load(Ordering::Relaxed);
    let request = RestoreRequest {
        disconnect_clients: true,
        ..of(&["app"])
    };
    story.restore(&request, &Run::new()).await.unwrap();
    assert!(
        sleeper.join().unwrap().is_err(),
        "the sleeping client was ended"
    );
    assert!(
        served.load(Ordering::Relaxed) > served_before,
        "the live database served until the swap"
    );
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    client.join().unwrap();
    assert_eq!(strange.load(Ordering::Relaxed), 0);
    assert_eq!(story.server.sql("app", COUNT), "1000 good");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_comes_late_makes_the_swap_fail_and_nothing_changes() {
    let story = story("swap-late").await;
    let server = story.server.clone();
    let mut gate = Gate::open();
    gate.on_enter = Box::new(move || {
        let server = server.clone();
        std::thread::spawn(move || server.try_sql("app", "SELECT pg_sleep(100)"));
        std::thread::sleep(Duration::from_millis(500));
    });
    let error = story
        .restore(&of(&["app"]), &Run::with_gate(gate))
        .await
        .unwrap_err();
    assert_refused(&error, &["in use", "psql", "--disconnect-clients"]);
    story.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_are_listed() {
    let story = story("swap-prepared").await;
    story.server.sql(
        "app",
        "BEGIN; INSERT INTO t VALUES (-1, 'p'); PREPARE TRANSACTION 'half done'",
    );
    let error = story.restore(&of(&["app"]), &Run::new()).await.unwrap_err();
    assert_refused(&error, &["half done", "COMMIT PREPARED"]);
    story.server.sql("app", "ROLLBACK PREPARED 'half done'");
    story.assert_untouched();
    story.restore(&of(&["app"]), &Run::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_gate_leaves_the_live_database_and_no_copy() {
    let story = story("swap-gate").await;
    let gate = Gate {
        open: false,
        ..Gate::open()
    };
    let error = story
        .restore(&of(&["app"]), &Run::with_gate(gate))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "another attempt has this run");
    story.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_wakes_up_late_swaps_and_drops_nothing_of_its_successor() {
    let story = story("swap-zombie").await;
    let server = story.server.clone();
    let mut gate = Gate::open();
    gate.on_enter = Box::new(move || {
        let copy = server.sql(
            "postgres",
            "SELECT datname FROM pg_database WHERE datname LIKE 'app_restoring_%'",
        );
        server.sql("postgres", &format!("DROP DATABASE {copy}"));
        server.sql("postgres", &format!("CREATE DATABASE {copy}"));
    });
    let run = Run::with_gate(gate);
    let error = story.restore(&of(&["app"]), &run).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no longer the one that this attempt made"),
        "{error}"
    );
    assert_eq!(story.server.sql("app", COUNT), "10 bad");
    let copy = format!("app_restoring_{}", run.tag());
    assert_eq!(
        names(&story.server),
        ["app".to_owned(), copy, "postgres".to_owned()]
    );

    // The successor's attempt takes the name over and succeeds.
    let successor = Run {
        id: run.id.clone(),
        ..Run::new()
    };
    story.restore(&of(&["app"]), &successor).await.unwrap();
    assert_eq!(story.server.sql("app", COUNT), "1000 good");
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_takes_the_half_made_copy_away() {
    let story = story("swap-cancel").await;
    for at in ["creating", "loading", "comparing", "asking"] {
        let run = Run::new();
        let (cancel, recorder) = (run.cancel.clone(), run.recorder.clone());
        let watcher = tokio::spawn(async move {
            while !recorder
                .phases
                .lock()
                .unwrap()
                .iter()
                .any(|phase| phase.starts_with(at))
            {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            cancel.cancel();
        });
        match story.restore(&of(&["app"]), &run).await {
            Err(error) => {
                assert_eq!(error.class(), FailureClass::Cancelled, "{at}: {error}");
                story.assert_untouched();
            }
            // Past the gate a cancel comes too late, and the restore is whole.
            Ok(_) => assert_eq!(story.server.sql("app", COUNT), "1000 good"),
        }
        watcher.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_differs_from_the_manifest_is_never_swapped_in() {
    let story = story("swap-differs").await;
    for (from, to, words) in [
        (
            "\"rows\":1000",
            "\"rows\":1001",
            "public.t has 1000 rows instead of 1001",
        ),
        ("\"name\":\"t\"", "\"name\":\"u\"", "public.u is missing"),
        (
            "\"large_objects\":0",
            "\"large_objects\":2",
            "0 large objects instead of 2",
        ),
    ] {
        let id = with_other_manifest(&story, from, to).await;
        let error = story
            .vault
            .restore(&*story.source, &id, &of(&["app"]), &Run::new())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(error.class(), FailureClass::Permanent);
        story.assert_untouched();
    }
}

/// The same snapshot with another manifest.
async fn with_other_manifest(story: &Story, from: &str, to: &str) -> SnapshotId {
    let reader = story
        .vault
        .repository
        .open_snapshot(&story.id)
        .await
        .unwrap();
    let run = Run::new();
    let writer = story
        .vault
        .repository
        .begin_backup(Vault::options(&run))
        .await
        .unwrap();
    for file in [
        "/db/globals.sql",
        "/db/databases/app.dump",
        "/db/databases/postgres.dump",
        "/db/manifest.json",
    ] {
        let mut bytes = Vec::new();
        reader
            .read_file(file)
            .await
            .unwrap()
            .read_to_end(&mut bytes)
            .await
            .unwrap();
        if file.ends_with("manifest.json") {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains(from), "{from} is not in {text}");
            bytes = text.replace(from, to).into_bytes();
        }
        writer
            .write_bytes(file, FileMeta::default(), Bytes::from(bytes))
            .await
            .unwrap();
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    writer
        .finish()
        .await
        .unwrap()
        .commit(deadline, None)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_databases_of_a_run_swap_together_the_maintenance_database_too() {
    let story = story("swap-all").await;
    story
        .server
        .sql("postgres", "CREATE TABLE only_now (a int)");
    let run = Run::new();
    let outcome = story
        .restore(&RestoreRequest::default(), &run)
        .await
        .unwrap();
    assert_eq!(outcome.databases.len(), 2);
    assert_eq!(story.server.sql("app", COUNT), "1000 good");
    assert!(
        story
            .server
            .try_sql("postgres", "SELECT FROM only_now")
            .is_err()
    );
    let tag = run.tag();
    assert_eq!(
        names(&story.server),
        [
            "app".to_owned(),
            format!("app_before_{tag}"),
            "postgres".to_owned(),
            format!("postgres_before_{tag}")
        ]
    );

    // One database in use: none is swapped.
    story.server.sql("app", "UPDATE t SET v = 'worse'");
    let run = Run::new();
    let server = story.server.clone();
    std::thread::spawn(move || server.try_sql("postgres", "SELECT pg_sleep(100)"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let error = story
        .restore(&RestoreRequest::default(), &run)
        .await
        .unwrap_err();
    assert_refused(&error, &["postgres is in use"]);
    assert_eq!(story.server.sql("app", "SELECT min(v) FROM t"), "worse");
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_old_drops_the_previous_database() {
    let story = story("swap-drop-old").await;
    let request = RestoreRequest {
        drop_old: true,
        ..of(&["app"])
    };
    let outcome = story.restore(&request, &Run::new()).await.unwrap();
    assert_eq!(outcome.databases[0].previous_as, None);
    assert_eq!(story.server.sql("app", COUNT), "1000 good");
    assert_eq!(names(&story.server), ["app", "postgres"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_old_drops_nothing_that_backups_leave_out() {
    let story = story("swap-drop-left-out").await;
    // Since then the database is left out: the safety backup that was just made does not hold it.
    let narrowed = source(&story.server, "exclude = ['app']");
    let request = RestoreRequest {
        drop_old: true,
        ..of(&["app"])
    };
    let run = Run::new();
    let restored = story.vault.restore(&*narrowed, &story.id, &request, &run);
    let error = restored.await.unwrap_err();
    assert_refused(&error, &["app would be dropped", "exclude", "--drop-old"]);
    story.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn into_a_new_database_and_never_over_one() {
    let story = story("swap-into").await;
    let into = |name: &str| RestoreRequest {
        into: Some(name.to_owned()),
        ..of(&["app"])
    };
    let outcome = story
        .restore(&into("App \"two\""), &Run::new())
        .await
        .unwrap();
    assert_eq!(outcome.databases[0].restored_as, "App \"two\"");
    assert_eq!(story.server.sql("App \"two\"", COUNT), "1000 good");
    assert_eq!(story.server.sql("app", COUNT), "10 bad");
    let error = story.restore(&into("app"), &Run::new()).await.unwrap_err();
    assert_refused(&error, &["database app exists"]);
    let error = story
        .restore(&into(&"x".repeat(64)), &Run::new())
        .await
        .unwrap_err();
    assert_refused(&error, &["cannot be a database's name"]);
    let error = story
        .restore(&of(&["missing"]), &Run::new())
        .await
        .unwrap_err();
    assert!(
        error.hint().contains("it holds: app, postgres"),
        "{}",
        error.hint()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_63_bytes_find_room() {
    let folder = StoryFolder::new("swap-long");
    let server = Postgres::start(&folder, "server", 15);
    let long = "é".repeat(31) + "x";
    server.sql("postgres", &format!("CREATE DATABASE \"{long}\""));
    server.sql(&long, "CREATE TABLE t AS SELECT 1 AS a");
    let vault = Vault::new().await;
    let source = source(&server, "");
    let (id, _) = vault.backup(&*source, &Run::new()).await.unwrap();
    server.sql(&long, "DELETE FROM t");
    let run = Run::new();
    let outcome = vault
        .restore(&*source, &id, &of(&[&long]), &run)
        .await
        .unwrap();
    assert_eq!(server.sql(&long, "SELECT count(*) FROM t"), "1");
    let previous = outcome.databases[0].previous_as.clone().unwrap();
    assert_eq!(server.sql(&previous, "SELECT count(*) FROM t"), "0");
    source
        .drop_copy(&previous, &Run::new().context())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_runs_are_swept_and_nothing_else() {
    let story = story("swap-sweep").await;
    let dead = Run::new();
    // Names hold the id's milliseconds.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let alive = Run::new();
    let half = |run: &Run| format!("app_restoring_{}", run.tag());
    for run in [&dead, &alive] {
        story.server.sql("postgres", &format!("CREATE DATABASE {0}; COMMENT ON DATABASE {0} IS 'holdfast: half-made copy of app, run x'", half(run)));
    }
    let foreign = "app_restoring_0123456789ab";
    story.server.sql("postgres", &format!("CREATE DATABASE {foreign}; COMMENT ON DATABASE {foreign} IS 'mine'; CREATE DATABASE app_before_0123456789ab"));
    // Somebody, a program that a dead agent left, still works in it.
    let (server, name) = (story.server.clone(), half(&dead));
    std::thread::spawn(move || server.try_sql(&name, "SELECT pg_sleep(100)"));
    tokio::time::sleep(Duration::from_millis(300)).await;

    assert_eq!(
        story
            .source
            .sweep(std::slice::from_ref(&alive.id))
            .await
            .unwrap(),
        [half(&dead)]
    );
    let left = names(&story.server);
    assert_eq!(
        left,
        [
            "app".to_owned(),
            "app_before_0123456789ab".to_owned(),
            foreign.to_owned(),
            half(&alive),
            "postgres".to_owned()
        ]
    );
    assert_eq!(story.source.sweep(&[]).await.unwrap(), [half(&alive)]);
    assert!(story.source.sweep(&[]).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_survive_a_swap_over_a_live_database() {
    let folder = StoryFolder::new("swap-properties");
    let server = Postgres::start(&folder, "server", 15);
    data::fill(&server);
    server.sql(
        "postgres",
        "GRANT CONNECT ON DATABASE orders TO app_owner WITH GRANT OPTION",
    );
    server.sql(
        "postgres",
        "SET ROLE app_owner; GRANT TEMPORARY ON DATABASE orders TO \"Odd Role\" WITH GRANT OPTION",
    );
    server.sql(
        "postgres",
        "SET ROLE \"Odd Role\"; GRANT TEMPORARY ON DATABASE orders TO reporter",
    );
    let before = checksum::server(&server);
    let vault = Vault::new().await;
    let source = source(&server, "");
    let (id, _) = vault.backup(&*source, &Run::new()).await.unwrap();
    server.sql("postgres", "ALTER DATABASE orders SET work_mem = '1MB'; ALTER DATABASE orders OWNER TO postgres; ALTER DATABASE orders CONNECTION LIMIT 3");
    vault
        .restore(
            &*source,
            &id,
            &of(&[data::AWKWARD, data::QUOTED]),
            &Run::new(),
        )
        .await
        .unwrap();
    for name in [data::AWKWARD, data::QUOTED] {
        checksum::assert_equal(name, &before[name], &checksum::database(&server, name));
    }
}

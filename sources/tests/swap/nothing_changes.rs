//! What forbids a swap or comes between: the live database stays as it was, and no half-made copy is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use holdfast_sources::{FailureClass, RestoreRequest};
use holdfast_vault::{FileMeta, SnapshotId};
use tokio::io::AsyncReadExt;

use crate::support::{Gate, Run, Vault, assert_refused, names, of};
use crate::{COUNT, Story, story};

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

//! Subscriptions and logical slots of a database that is swapped, and of copies that are dropped.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use holdfast_sources::{RestoreRequest, Source, Subscriptions};
use holdfast_tests::folder::StoryFolder;
use holdfast_tests::postgres::Postgres;
use holdfast_vault::SnapshotId;

use support::{Run, Vault, assert_refused, names, of, source};

struct Story {
    publisher: Postgres,
    subscriber: Postgres,
    vault: Vault,
    source: Box<dyn Source>,
    id: SnapshotId,
    _folder: StoryFolder,
}

/// `app` of the subscriber follows `app` of the publisher; backed up after a hundred rows, a hundred more came since.
async fn story(name: &str) -> Story {
    let folder = StoryFolder::new(name);
    let (publisher, subscriber) = (
        Postgres::start(&folder, "publisher", 15),
        Postgres::start(&folder, "subscriber", 15),
    );
    for server in [&publisher, &subscriber] {
        server.sql("postgres", "CREATE DATABASE app");
        server.sql("app", "CREATE TABLE t (id int PRIMARY KEY)");
    }
    publisher.sql("app", "CREATE PUBLICATION p FOR ALL TABLES");
    let create = format!(
        "CREATE SUBSCRIPTION s CONNECTION 'host={} port={} user=postgres dbname=app' PUBLICATION p WITH (slot_name = 'slot_of_s')",
        publisher.socket().display(),
        publisher.port()
    );
    subscriber.sql("app", &create);
    let story_rows = |range: &str| {
        publisher.sql(
            "app",
            &format!("INSERT INTO t SELECT i FROM generate_series({range}) i"),
        )
    };
    story_rows("1, 100");
    until(&subscriber, "app", "SELECT count(*) FROM t", "100").await;
    let vault = Vault::new().await;
    let source = source(&subscriber, "");
    let (id, outcome) = vault.backup(&*source, &Run::new()).await.unwrap();
    assert_eq!(
        support::manifest(&outcome)
            .database("app")
            .unwrap()
            .subscriptions,
        ["s"]
    );
    story_rows("101, 200");
    until(&subscriber, "app", "SELECT count(*) FROM t", "200").await;
    Story {
        publisher,
        subscriber,
        vault,
        source,
        id,
        _folder: folder,
    }
}

async fn until(server: &Postgres, database: &str, sql: &str, expected: &str) {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let answer = server.sql(database, sql);
        if answer == expected {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{sql}: still {answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn with(choice: Subscriptions) -> RestoreRequest {
    RestoreRequest {
        subscriptions: choice,
        ..of(&["app"])
    }
}

const SLOTS: &str = "SELECT string_agg(slot_name || ' ' || active, ',') FROM pg_replication_slots";

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_refused_without_a_word_about_it() {
    let story = story("subscription-refused").await;
    let error = story
        .vault
        .restore(&*story.source, &story.id, &of(&["app"]), &Run::new())
        .await
        .unwrap_err();
    assert_refused(
        &error,
        &[
            "subscriptions: s",
            "--subscriptions skip",
            "--subscriptions move",
        ],
    );
    assert_eq!(names(&story.subscriber), ["app", "postgres"]);
    assert_eq!(story.publisher.sql("app", SLOTS), "slot_of_s true");
}

#[tokio::test(flavor = "multi_thread")]
async fn skip_leaves_the_restored_database_without_and_the_slot_alone() {
    let story = story("subscription-skip").await;
    let run = Run::new();
    let outcome = story
        .vault
        .restore(&*story.source, &story.id, &with(Subscriptions::Skip), &run)
        .await
        .unwrap();
    assert_eq!(story.subscriber.sql("app", "SELECT count(*) FROM t"), "100");
    let warnings = outcome.warnings.join("\n");
    assert!(
        warnings.contains("subscription s of app is not restored")
            && warnings.contains("slot_of_s"),
        "{warnings}"
    );
    let previous = outcome.databases[0].previous_as.clone().unwrap();
    assert_eq!(
        story.subscriber.sql(&previous, "SELECT count(*) FROM t"),
        "200"
    );
    assert_eq!(
        story
            .subscriber
            .sql("app", "SELECT subenabled FROM pg_subscription"),
        "f"
    );
    assert_eq!(story.publisher.sql("app", SLOTS), "slot_of_s false");

    // Dropping the copy leaves the publisher's slot, and says so.
    let run = Run::new();
    story
        .source
        .drop_copy(&previous, &run.context())
        .await
        .unwrap();
    assert_eq!(names(&story.subscriber), ["app", "postgres"]);
    assert_eq!(story.publisher.sql("app", SLOTS), "slot_of_s false");
    assert!(
        run.lines()
            .contains("pg_drop_replication_slot('slot_of_s')"),
        "{}",
        run.lines()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn move_lets_the_restored_database_follow_on() {
    let story = story("subscription-move").await;
    // The subscriber tells what it has at its own pace, and the slot stands where it told last.
    let written = story.publisher.sql("app", "SELECT pg_current_wal_lsn()");
    let told = format!(
        "SELECT count(*) FROM pg_replication_slots WHERE confirmed_flush_lsn >= '{written}'"
    );
    until(&story.publisher, "app", &told, "1").await;
    let request = RestoreRequest {
        drop_old: true,
        ..with(Subscriptions::Move)
    };
    let outcome = story
        .vault
        .restore(&*story.source, &story.id, &request, &Run::new())
        .await
        .unwrap();
    assert!(
        outcome
            .warnings
            .iter()
            .any(|warning| warning.contains("goes on from where its slot stands")),
        "{:?}",
        outcome.warnings
    );
    assert_eq!(names(&story.subscriber), ["app", "postgres"]);
    story.publisher.sql(
        "app",
        "INSERT INTO t SELECT i FROM generate_series(201, 250) i",
    );
    until(&story.subscriber, "app", "SELECT count(*) FROM t", "150").await;
    assert_eq!(story.publisher.sql("app", SLOTS), "slot_of_s true");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_swap_leaves_the_subscription_running() {
    let story = story("subscription-failed").await;
    let gate = support::Gate {
        open: false,
        ..support::Gate::open()
    };
    let request = with(Subscriptions::Move);
    story
        .vault
        .restore(&*story.source, &story.id, &request, &Run::with_gate(gate))
        .await
        .unwrap_err();
    assert_eq!(
        names(&story.subscriber),
        ["app", "postgres"],
        "the copy with its subscription is gone"
    );
    story.publisher.sql(
        "app",
        "INSERT INTO t SELECT i FROM generate_series(201, 250) i",
    );
    until(&story.subscriber, "app", "SELECT count(*) FROM t", "250").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sweeping_a_copy_with_a_subscription_leaves_the_live_slot() {
    let story = story("subscription-sweep").await;
    let copy = "app_restoring_0123456789ab";
    story
        .subscriber
        .sql("postgres", &format!("CREATE DATABASE {copy}"));
    let create = format!(
        "CREATE SUBSCRIPTION s CONNECTION 'host={} port={} user=postgres dbname=app' PUBLICATION p WITH (connect = false, slot_name = 'slot_of_s')",
        story.publisher.socket().display(),
        story.publisher.port()
    );
    story.subscriber.sql(copy, &create);
    assert_eq!(story.source.sweep(&[]).await.unwrap(), [copy]);
    assert_eq!(story.publisher.sql("app", SLOTS), "slot_of_s true");
}

#[tokio::test(flavor = "multi_thread")]
async fn logical_slots_are_refused_or_moved() {
    let story = story("slots").await;
    let publisher = source(&story.publisher, "");
    let (id, outcome) = story.vault.backup(&*publisher, &Run::new()).await.unwrap();
    assert!(
        outcome
            .warnings
            .iter()
            .any(|warning| warning.contains("slot_of_s")),
        "{:?}",
        outcome.warnings
    );
    let error = story
        .vault
        .restore(&*publisher, &id, &of(&["app"]), &Run::new())
        .await
        .unwrap_err();
    assert_refused(
        &error,
        &[
            "logical replication slots: slot_of_s",
            "--subscriptions move",
        ],
    );
    let request = RestoreRequest {
        disconnect_clients: true,
        drop_old: true,
        ..with(Subscriptions::Move)
    };
    let outcome = story
        .vault
        .restore(&*publisher, &id, &request, &Run::new())
        .await
        .unwrap();
    assert!(
        outcome
            .warnings
            .iter()
            .any(|warning| warning.contains("slot_of_s begins anew")),
        "{:?}",
        outcome.warnings
    );
    assert_eq!(names(&story.publisher), ["app", "postgres"]);
    until(&story.publisher, "postgres", SLOTS, "slot_of_s true").await;
    story.publisher.sql("app", "INSERT INTO t VALUES (1000)");
    until(
        &story.subscriber,
        "app",
        "SELECT count(*) FROM t WHERE id = 1000",
        "1",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_that_a_late_client_stops_leaves_the_subscription_running() {
    let story = std::sync::Arc::new(story("subscription-late").await);
    let other = story.clone();
    let mut gate = support::Gate::open();
    gate.on_enter = Box::new(move || {
        let story = other.clone();
        std::thread::spawn(move || story.subscriber.try_sql("app", "SELECT pg_sleep(20)"));
        std::thread::sleep(Duration::from_millis(500));
    });
    let run = Run::with_gate(gate);
    let request = with(Subscriptions::Move);
    let error = story
        .vault
        .restore(&*story.source, &story.id, &request, &run)
        .await
        .unwrap_err();
    assert_refused(&error, &["in use", "--disconnect-clients"]);
    assert_eq!(names(&story.subscriber), ["app", "postgres"]);
    story.publisher.sql(
        "app",
        "INSERT INTO t SELECT i FROM generate_series(201, 250) i",
    );
    until(&story.subscriber, "app", "SELECT count(*) FROM t", "250").await;
}

//! What an operator may choose: all databases at once, another name, no safety copy; and what every restore keeps.

use std::time::Duration;

use holdfast_sources::RestoreRequest;
use holdfast_tests::folder::StoryFolder;
use holdfast_tests::postgres::Postgres;
use holdfast_tests::{checksum, data};

use crate::support::{Run, Vault, assert_refused, names, of, source};
use crate::{COUNT, story};

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

//! In place: the live database serves until the swap, and stays as the safety copy.

#![allow(clippy::unwrap_used)]

mod choices;
mod nothing_changes;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use holdfast_sources::{RestoreRequest, Source, SourceError};
use holdfast_tests::folder::StoryFolder;
use holdfast_tests::postgres::Postgres;
use holdfast_vault::SnapshotId;

use support::{Run, Vault, assert_refused, names, of, source};

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

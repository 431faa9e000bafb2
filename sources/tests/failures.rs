//! Backups that cannot be whole: no snapshot, a failed run, words a person understands.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_sources::{FailureClass, Source, SourceError};
use holdfast_tests::folder::StoryFolder;
use holdfast_tests::postgres::Postgres;

use support::{Run, Vault, assert_refused, source, source_with};

/// A folder of client programs in which `pg_dump` is this shell script; `$REAL` is the real one's folder.
fn programs_with(folder: &StoryFolder, server: &Postgres, name: &str, script: &str) -> PathBuf {
    let programs = folder.path(name);
    std::fs::create_dir(&programs).unwrap();
    for program in ["pg_dumpall", "pg_restore"] {
        std::os::unix::fs::symlink(server.programs().join(program), programs.join(program))
            .unwrap();
    }
    let real = server.programs().display().to_string();
    let text = format!(
        "#!/bin/sh\nREAL={real}\ncase \"$*\" in *--version*) exec $REAL/pg_dump --version;; esac\n{script}\n"
    );
    let path = programs.join("pg_dump");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    programs
}

fn source_of(server: &Postgres, programs: &Path, more: &str) -> Box<dyn Source> {
    source_with(&format!(
        "host = '{}'\nport = {}\nuser = 'postgres'\nprograms = ['{}']\n{more}",
        server.socket().display(),
        server.port(),
        programs.display()
    ))
}

async fn fails(source: &dyn Source, run: &Run) -> SourceError {
    let vault = Vault::new().await;
    let error = vault.backup(source, run).await.unwrap_err();
    assert_eq!(
        vault.snapshots().await,
        0,
        "a failed backup left a snapshot"
    );
    error
}

fn with_bulk(folder: &StoryFolder) -> Postgres {
    let server = Postgres::start(folder, "server", 15);
    holdfast_tests::data::fill_bulk(&server, 100_000);
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_fails_is_killed_or_ends_early_is_no_backup() {
    let folder = StoryFolder::new("sources-dump-fails");
    let server = with_bulk(&folder);
    let stories = [
        (
            "fails",
            "$REAL/pg_dump \"$@\"; echo 'pg_dump: error: the disk of the server is ill' >&2; exit 1",
            "exited with code 1: pg_dump: error: the disk of the server is ill",
        ),
        (
            "killed",
            "$REAL/pg_dump \"$@\" | head -c 3000000; kill -9 $$",
            "killed by signal 9",
        ),
        (
            "short",
            "$REAL/pg_dump \"$@\" | head -c 3000000; exit 0",
            "ends too early",
        ),
        (
            "head",
            "$REAL/pg_dump \"$@\" | head -c 1000; exit 0",
            "ends too early",
        ),
        ("nothing", "exit 0", "ends too early"),
        (
            "plain",
            "$REAL/pg_dump \"$@\" --format=plain",
            "no custom-format archive",
        ),
    ];
    for (name, script, words) in stories {
        let programs = programs_with(&folder, &server, name, script);
        let run = Run::new();
        let error = fails(
            &*source_of(&server, &programs, "databases = ['orders']"),
            &run,
        )
        .await;
        let text = error.to_string();
        assert!(
            text.contains(words) && text.contains("orders"),
            "{name}: {text}"
        );
        let class = if name == "plain" {
            FailureClass::Permanent
        } else {
            FailureClass::Retryable
        };
        assert_eq!(error.class(), class, "{name}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pg_dump_says_reaches_the_log() {
    let folder = StoryFolder::new("sources-stderr");
    let server = with_bulk(&folder);
    let programs = programs_with(
        &folder,
        &server,
        "talks",
        "echo 'a word of warning' >&2; exec $REAL/pg_dump \"$@\"",
    );
    let run = Run::new();
    Vault::new()
        .await
        .backup(&*source_of(&server, &programs, ""), &run)
        .await
        .unwrap();
    assert!(
        run.lines().contains("pg_dump: a word of warning"),
        "{}",
        run.lines()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_without_progress_is_cancelled_and_lets_vacuum_go_on() {
    let folder = StoryFolder::new("sources-stall");
    let server = with_bulk(&folder);
    let programs = programs_with(
        &folder,
        &server,
        "stalls",
        "$REAL/pg_dump \"$@\" | { head -c 2000000; sleep 1000; }",
    );
    let started = Instant::now();
    let error = fails(
        &*source_of(
            &server,
            &programs,
            "databases = ['orders']\nstall_timeout = '2s'\nlock_wait_timeout = '1s'",
        ),
        &Run::new(),
    )
    .await;
    assert!(
        error.to_string().contains("moved no byte for 2s"),
        "{error}"
    );
    assert_eq!(error.class(), FailureClass::Retryable);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    no_session_left(&server).await;
}

/// Neither a session of ours nor one of a program that we started holds anything back.
async fn no_session_left(server: &Postgres) {
    let sql = "SELECT string_agg(query, ' | ') FROM pg_stat_activity WHERE application_name IN ('holdfast', 'pg_dump')";
    for _ in 0..100 {
        if server.sql("postgres", sql).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("still there: {}", server.sql("postgres", sql));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_table_is_waited_for_only_so_long() {
    let folder = StoryFolder::new("sources-locked");
    let server = Arc::new(with_bulk(&folder));
    let holder = server.clone();
    let lock = std::thread::spawn(move || {
        holder.try_sql("orders", "BEGIN; LOCK TABLE bulk; SELECT pg_sleep(30)")
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    let error = fails(
        &*source(&server, "databases = ['orders']\nlock_wait_timeout = '1s'"),
        &Run::new(),
    )
    .await;
    assert!(
        error.to_string().contains("LOCK TABLE public.bulk")
            && error.hint().contains("lock_wait_timeout"),
        "{error}"
    );
    assert_eq!(error.class(), FailureClass::Retryable);
    server.sql("postgres", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' AND pid <> pg_backend_pid()");
    lock.join().unwrap().unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_backup_ends_its_children() {
    let folder = StoryFolder::new("sources-cancel");
    let server = with_bulk(&folder);
    let programs = programs_with(
        &folder,
        &server,
        "slow",
        "$REAL/pg_dump \"$@\" | { head -c 2000000; sleep 1000; }",
    );
    let run = Run::new();
    let cancel = run.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(2)).await;
        cancel.cancel();
    });
    let started = Instant::now();
    let error = fails(
        &*source_of(&server, &programs, "databases = ['orders']"),
        &run,
    )
    .await;
    assert_eq!(error.class(), FailureClass::Cancelled);
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    no_session_left(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_in_mid_dump_is_a_retryable_failure() {
    let folder = StoryFolder::new("sources-dies");
    let mut server = with_bulk(&folder);
    let programs = programs_with(
        &folder,
        &server,
        "waits",
        &format!(
            "$REAL/pg_dump \"$@\" | {{ head -c 2000000; touch {0}; while [ -e {0} ]; do sleep 0.1; done; cat; }}; $REAL/pg_dump \"$@\" >/dev/null",
            folder.path("waiting").display()
        ),
    );
    let source = source_of(&server, &programs, "databases = ['orders']");
    let waiting = folder.path("waiting");
    let failing = tokio::spawn(async move { fails(&*source, &Run::new()).await });
    while !waiting.exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop_immediately();
    std::fs::remove_file(&waiting).unwrap();
    let error = failing.await.unwrap();
    assert_eq!(error.class(), FailureClass::Retryable, "{error}");
    assert!(error.to_string().contains("orders"), "{error}");
    server.start_again();
    assert_eq!(server.sql("orders", "SELECT count(*) FROM bulk"), "100000");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_retry_mends_is_permanent_and_says_what_to_do() {
    let folder = StoryFolder::new("sources-permanent");
    let server = with_bulk(&folder);
    let tcp = |user: &str, more: &str| {
        source_with(&format!(
            "host = '127.0.0.1'\nport = {}\nuser = '{user}'\nprograms = ['{}']\n{more}",
            server.port(),
            server.programs().display()
        ))
    };
    let password = folder.path("password");
    holdfast_tests::folder::write_private(&password, "wrong\n");
    let with_password = format!("password = {{ file = '{}' }}", password.display());
    let error = fails(&*tcp("holdfast", &with_password), &Run::new()).await;
    assert_eq!(error.class(), FailureClass::Permanent);
    assert!(
        error.to_string().contains("password authentication failed")
            && error.hint().contains("pg_hba.conf"),
        "{error} {}",
        error.hint()
    );
    let error = fails(&*tcp("holdfast", ""), &Run::new()).await;
    assert_eq!(error.class(), FailureClass::Permanent, "{error}");
    assert!(
        error.hint().contains("set `password`"),
        "{error} {}",
        error.hint()
    );

    let error = fails(&*source(&server, "databases = ['nothing']"), &Run::new()).await;
    assert_eq!(
        (error.class(), error.to_string().as_str()),
        (FailureClass::Permanent, "database nothing does not exist")
    );
    let error = fails(
        &*source(&server, "maintenance_database = 'nothing'"),
        &Run::new(),
    )
    .await;
    assert_eq!(error.class(), FailureClass::Permanent, "{error}");

    let nobody = source_with(&format!(
        "host = '127.0.0.1'\nport = {}\nuser = 'x'",
        holdfast_tests::ports::free()
    ));
    let error = fails(&*nobody, &Run::new()).await;
    assert_eq!(error.class(), FailureClass::Retryable, "{error}");
    assert!(
        error.to_string().contains("refused") && !error.hint().is_empty(),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_client_is_refused_before_anything_starts() {
    let folder = StoryFolder::new("sources-older");
    let (old, new) = (
        Postgres::start(&folder, "old", 14),
        Postgres::start(&folder, "new", 16),
    );
    let error = fails(&*source_of(&new, old.programs(), ""), &Run::new()).await;
    assert_refused(
        &error,
        &[
            "PostgreSQL 16",
            "found 14.",
            "postgresql-client-16",
            "`programs`",
        ],
    );

    // A newer one dumps, and says what that means.
    let vault = Vault::new().await;
    let (id, outcome) = vault
        .backup(&*source_of(&old, new.programs(), ""), &Run::new())
        .await
        .unwrap();
    assert!(
        outcome.warnings[0].contains("only a server of version 16 or later"),
        "{:?}",
        outcome.warnings
    );
    let error = vault
        .restore(
            &*source(&old, ""),
            &id,
            &support::of(&["postgres"]),
            &Run::new(),
        )
        .await
        .unwrap_err();
    assert_refused(&error, &["pg_dump 16", "PostgreSQL 14"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_read_everything_is_told_so_early() {
    let folder = StoryFolder::new("sources-privileges");
    let server = with_bulk(&folder);
    server.sql("postgres", "CREATE ROLE backup LOGIN; CREATE ROLE somebody");
    let source = source_with(&format!(
        "host = '{}'\nport = {}\nuser = 'backup'\nprograms = ['{}']\ndatabases = ['orders']",
        server.socket().display(),
        server.port(),
        server.programs().display()
    ));
    let problem = |words: &'static [&'static str]| {
        let source = &source;
        async move {
            let error = fails(&**source, &Run::new()).await;
            assert_eq!(error.class(), FailureClass::Permanent);
            let described = source.describe().await.problem.unwrap();
            for word in words {
                let text = format!("{error} {}", error.hint());
                assert!(
                    text.contains(word) && described.contains(word),
                    "{word}: {text} / {described}"
                );
            }
        }
    };
    problem(&["bulk", "GRANT pg_read_all_data TO backup"]).await;
    server.sql("postgres", "GRANT pg_read_all_data TO backup");
    server.sql("orders", "ALTER TABLE small ENABLE ROW LEVEL SECURITY");
    problem(&["row-level security", "small", "BYPASSRLS"]).await;
    server.sql("postgres", "ALTER ROLE backup BYPASSRLS");
    server.sql(
        "orders",
        "SELECT lo_from_bytea(7, 'x'); ALTER LARGE OBJECT 7 OWNER TO somebody",
    );
    problem(&["large objects such as 7", "superuser"]).await;
    server.sql("orders", "SELECT lo_unlink(7)");
    assert_eq!(source.describe().await.problem, None);

    // Now it may, and what it cannot bring back is told.
    server.sql("postgres", "REVOKE pg_read_all_data FROM backup");
    server.sql("orders", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO backup; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO backup");
    let vault = Vault::new().await;
    let (_, outcome) = vault.backup(&*source, &Run::new()).await.unwrap();
    assert!(
        outcome
            .warnings
            .iter()
            .any(|warning| warning.contains("no passwords of roles")),
        "{:?}",
        outcome.warnings
    );
    assert!(!support::manifest(&outcome).role_passwords);
}

#[tokio::test(flavor = "multi_thread")]
async fn describe_says_what_is_there_and_never_fails() {
    let folder = StoryFolder::new("sources-describe");
    let server = with_bulk(&folder);
    let described = source(&server, "exclude = ['postgres']").describe().await;
    assert_eq!(described.problem, None);
    let fact = |name: &str| described.facts[name].as_str();
    assert!(
        fact("server_version").starts_with("15.") && fact("client_versions").starts_with("15.")
    );
    assert_eq!(
        (fact("databases"), fact("role"), fact("user")),
        ("orders", "superuser", "postgres")
    );
    assert_eq!(fact("skipped"), "postgres, template0, template1");
    assert!(fact("size_bytes").parse::<u64>().unwrap() > 10_000_000);
    let gone = source_with("host = '/nowhere'\nuser = 'x'")
        .describe()
        .await;
    assert!(gone.problem.unwrap().contains("/nowhere"));
}

//! Out of a real server and back into it: everything comes back, on every version.

#![allow(clippy::unwrap_used)]

mod support;

use holdfast_sources::RestoreRequest;
use holdfast_tests::checksum;
use holdfast_tests::data;
use holdfast_tests::folder::StoryFolder;
use holdfast_tests::postgres::Postgres;
use holdfast_tests::{process, wait};

use support::{Run, Vault, manifest, names, source};

/// Backup; disaster, roles included; restore with globals; everything is equal.
async fn comes_back_after_a_disaster(major: u32) {
    let folder = StoryFolder::new("sources-disaster");
    let server = Postgres::start(&folder, "server", major);
    data::fill(&server);
    let before = checksum::server(&server);
    let vault = Vault::new().await;
    let source = source(&server, "");
    let (id, outcome) = vault.backup(&*source, &Run::new()).await.unwrap();
    assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);

    data::drop_all(&server);
    // The roles go, too; they come back with other oids.
    server.sql(
        "postgres",
        "DROP ROLE app_owner; DROP ROLE reporter; DROP ROLE \"Odd Role\"",
    );
    let run = Run::new();
    let request = RestoreRequest {
        globals: true,
        ..support::of(&[data::AWKWARD, data::QUOTED, data::EMPTY])
    };
    let restored = vault.restore(&*source, &id, &request, &run).await.unwrap();
    assert!(restored.warnings.is_empty(), "{:?}", restored.warnings);

    let after = checksum::server(&server);
    assert_eq!(
        before.keys().collect::<Vec<_>>(),
        after.keys().collect::<Vec<_>>()
    );
    for (name, print) in &before {
        checksum::assert_equal(name, print, &after[name]);
    }
    let settings = server.sql(
        "postgres",
        "SELECT rolconfig FROM pg_roles WHERE rolname = 'app_owner'",
    );
    assert_eq!(settings, "{statement_timeout=5min}");
    assert_eq!(
        server.sql(
            "postgres",
            "SELECT rolpassword FROM pg_authid WHERE rolname = 'app_owner'"
        ),
        "md5aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
    );
    assert!(
        restored
            .databases
            .iter()
            .all(|database| database.previous_as.is_none())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn comes_back_on_14() {
    comes_back_after_a_disaster(14).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comes_back_on_15() {
    comes_back_after_a_disaster(15).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comes_back_on_16() {
    comes_back_after_a_disaster(16).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comes_back_on_17() {
    comes_back_after_a_disaster(17).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn comes_back_on_18() {
    comes_back_after_a_disaster(18).await;
}

/// The manifest says what a person and a restore need.
#[tokio::test(flavor = "multi_thread")]
async fn the_manifest_tells_what_is_in_the_snapshot() {
    let folder = StoryFolder::new("sources-manifest");
    let server = Postgres::start(&folder, "server", 15);
    data::fill(&server);
    server.sql(
        "postgres",
        "CREATE DATABASE closed ALLOW_CONNECTIONS false; CREATE DATABASE scratch_1",
    );
    let vault = Vault::new().await;
    let source = source(&server, "exclude = ['scratch_*']");
    let run = Run::new();
    let (_, outcome) = vault.backup(&*source, &run).await.unwrap();
    let manifest = manifest(&outcome);

    assert_eq!(
        (
            manifest.format,
            manifest.kind.as_str(),
            manifest.method.as_str()
        ),
        (1, "postgres", "dump")
    );
    assert_eq!(
        (manifest.source.as_str(), manifest.run_id.as_str()),
        ("db", run.id.as_str())
    );
    assert_eq!(manifest.server.major, 15);
    assert_eq!(manifest.pg_dump_major(), 15);
    assert!(manifest.roles.contains(&"Odd Role".to_owned()) && manifest.role_passwords);
    let skipped: Vec<&str> = manifest
        .skipped
        .iter()
        .map(|skipped| skipped.name.as_str())
        .collect();
    assert_eq!(skipped, ["closed", "scratch_1", "template0", "template1"]);
    assert_eq!(outcome.warnings.len(), 1, "{:?}", outcome.warnings);
    assert!(outcome.warnings[0].contains("closed") && outcome.warnings[0].contains("datallowconn"));

    // Whoever shows a manifest finds settings by these names.
    let json: serde_json::Value = serde_json::from_str(&outcome.manifest_json).unwrap();
    let mut databases = json["databases"].as_array().unwrap().iter();
    let settings = databases.find_map(|database| database["settings"].as_array()?.first());
    assert!(settings.unwrap()["name"].is_string() && settings.unwrap()["value"].is_string());

    let orders = manifest.database(data::AWKWARD).unwrap();
    let properties = &orders.properties;
    assert_eq!(
        (
            properties.encoding.as_str(),
            properties.locale_provider.as_str()
        ),
        ("UTF8", "libc")
    );
    assert_eq!(
        (properties.collate.as_str(), properties.ctype.as_str()),
        ("C", "C.UTF-8")
    );
    assert_eq!(
        (properties.owner.as_str(), properties.connection_limit),
        ("app_owner", 40)
    );
    assert_eq!(
        properties.comment.as_deref(),
        Some("orders; ours since 2019 -- don't lose")
    );
    assert_eq!(properties.settings.len(), 3);
    assert_eq!(properties.acl.as_ref().unwrap().len(), 5);
    assert!(orders.roles.iter().any(|role| role == "reporter"));
    assert!(
        orders
            .extensions
            .iter()
            .any(|extension| extension.name == "hstore")
    );
    assert!(orders.snapshot_lsn.as_ref().unwrap().contains('/'));
    assert_eq!(orders.large_objects, 2);
    let rows = |schema: &str, name: &str| {
        let table = orders
            .tables
            .iter()
            .find(|table| (table.schema.as_str(), table.name.as_str()) == (schema, name));
        table.map(|table| table.rows)
    };
    assert_eq!(rows("public", "customers"), Some(3000));
    assert_eq!(rows("Sales Dept", "Straße | \"quoted\""), Some(5));
    assert_eq!(
        rows("public", "lines"),
        None,
        "a parent has no rows of its own"
    );
    assert_eq!(
        rows("public", "lines_2024").unwrap() + rows("public", "lines_2025").unwrap(),
        40_000
    );
    assert_eq!(rows("public", "secured"), Some(200));
    assert_eq!(rows("public", "unique_nulls"), Some(0));
    assert!(manifest.database(data::EMPTY).unwrap().tables.is_empty());
    assert_eq!(
        manifest.database(data::QUOTED).unwrap().file,
        "databases/Gr%C3%B6%C3%9Fe%20d%27%C3%A9t%C3%A9%20%222%22.dump"
    );
    assert!(
        !names(&server)
            .iter()
            .any(|name| name.contains("_restoring_"))
    );
}

/// A dump of an older version goes into a newer server.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_dump_goes_into_a_newer_server_and_not_back() {
    let folder = StoryFolder::new("sources-upgrade");
    let (old, new) = (
        Postgres::start(&folder, "old", 15),
        Postgres::start(&folder, "new", 18),
    );
    data::fill(&old);
    let vault = Vault::new().await;
    let (from_old, _) = vault.backup(&*source(&old, ""), &Run::new()).await.unwrap();
    let request = RestoreRequest {
        globals: true,
        ..support::of(&[data::AWKWARD])
    };
    let target = source(&new, "");
    let restored = vault
        .restore(&*target, &from_old, &request, &Run::new())
        .await
        .unwrap();
    assert!(
        restored
            .warnings
            .iter()
            .any(|warning| warning.contains("comes from PostgreSQL 15")),
        "{:?}",
        restored.warnings
    );
    checksum::assert_equal(
        "orders",
        &checksum::rows(&old, data::AWKWARD),
        &checksum::rows(&new, data::AWKWARD),
    );

    let (from_new, _) = vault.backup(&*target, &Run::new()).await.unwrap();
    let run = Run::new();
    let error = vault
        .restore(
            &*source(&old, ""),
            &from_new,
            &support::of(&[data::AWKWARD]),
            &run,
        )
        .await
        .unwrap_err();
    support::assert_refused(&error, &["pg_dump 18", "PostgreSQL 15", "18 or later"]);
}

/// A standby is backed up as it stands, without its unlogged tables, and nothing is restored into it.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_backed_up() {
    let folder = StoryFolder::new("sources-standby");
    let primary = Postgres::start(&folder, "primary", 15);
    data::fill(&primary);
    let home = folder.path("standby");
    let copied = primary
        .client("pg_basebackup")
        .args(["-R", "-c", "fast", "-X", "stream", "-D"])
        .arg(&home)
        .output()
        .unwrap();
    assert!(copied.status.success(), "{copied:?}");
    let owner = std::process::Command::new("chown")
        .args(["-R", "postgres:"])
        .arg(&home)
        .status();
    assert!(owner.unwrap().success());
    let port = holdfast_tests::ports::free();
    let mut command = process::command(&primary.programs().join("postgres"), Some("postgres"));
    command.arg("-D").arg(&home).args([
        "-c",
        &format!("port={port}"),
        "-c",
        &format!("unix_socket_directories={}", home.display()),
    ]);
    let _standby = process::Process::start(
        "standby",
        command,
        &folder.path("standby.log"),
        folder.transcript(),
    );
    let source = support::source_with(&format!(
        "host = '{}'\nport = {port}\nuser = 'postgres'\nprograms = ['{}']",
        home.display(),
        primary.programs().display()
    ));
    let end = wait::seconds(60);
    let started = std::time::Instant::now();
    while source.describe().await.problem.is_some() {
        assert!(started.elapsed() < end, "{:?}", source.describe().await);
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(source.describe().await.facts["standby"], "yes");
    let vault = Vault::new().await;
    let (id, outcome) = vault.backup(&*source, &Run::new()).await.unwrap();
    let manifest = manifest(&outcome);
    assert!(manifest.server.in_recovery);
    let orders = manifest.database(data::AWKWARD).unwrap();
    assert!(orders.snapshot_lsn.is_some());
    let error = vault
        .restore(&*source, &id, &support::of(&[data::AWKWARD]), &Run::new())
        .await
        .unwrap_err();
    support::assert_refused(&error, &["is a standby", "primary"]);
    let target = support::source(&primary, "");
    let restored = vault
        .restore(&*target, &id, &support::of(&[data::AWKWARD]), &Run::new())
        .await
        .unwrap();
    assert_eq!(
        restored.databases[0].rows,
        orders.tables.iter().map(|table| table.rows).sum::<u64>()
    );
    assert_eq!(
        primary.sql(data::AWKWARD, "SELECT count(*) FROM cache"),
        "0",
        "unlogged: a standby has no rows of it"
    );
    assert_eq!(
        primary.sql(data::AWKWARD, "SELECT count(*) FROM customers"),
        "3000"
    );
}

/// The owner of a database with CREATEDB, and no superuser, restores it.
#[tokio::test(flavor = "multi_thread")]
async fn an_owner_who_may_create_databases_restores() {
    let folder = StoryFolder::new("sources-owner");
    let server = Postgres::start(&folder, "server", 15);
    server.sql("postgres", "CREATE ROLE owner LOGIN CREATEDB");
    server.sql("postgres", "CREATE DATABASE app OWNER owner");
    server.sql("app", "SET ROLE owner; CREATE TABLE public.t (id serial PRIMARY KEY); INSERT INTO t SELECT FROM generate_series(1, 7); COMMENT ON TABLE t IS 'x'");
    let source = support::source_with(&format!(
        "host = '{}'\nport = {}\nuser = 'owner'\nprograms = ['{}']\ndatabases = ['app']",
        server.socket().display(),
        server.port(),
        server.programs().display()
    ));
    assert_eq!(source.describe().await.problem, None);
    let vault = Vault::new().await;
    let (id, outcome) = vault.backup(&*source, &Run::new()).await.unwrap();
    assert!(!manifest(&outcome).role_passwords);
    let before = checksum::database(&server, "app");
    server.sql("app", "DELETE FROM t");
    let run = Run::new();
    let restored = vault
        .restore(&*source, &id, &support::of(&["app"]), &run)
        .await
        .unwrap();
    checksum::assert_equal("app", &before, &checksum::database(&server, "app"));
    let copy = restored.databases[0].previous_as.clone().unwrap();
    source
        .drop_copy(&copy, &Run::new().context())
        .await
        .unwrap();
    assert_eq!(names(&server), ["app", "postgres"]);
}

/// A database that goes away while others are dumped is told, and stops nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_dropped_meanwhile_is_told() {
    let folder = StoryFolder::new("sources-gone");
    let server = std::sync::Arc::new(Postgres::start(&folder, "server", 15));
    server.sql("postgres", "CREATE DATABASE a");
    server.sql("postgres", "CREATE DATABASE z");
    let run = Run::new();
    let (recorder, other) = (run.recorder.clone(), server.clone());
    let dropper = std::thread::spawn(move || {
        while !recorder
            .phases
            .lock()
            .unwrap()
            .iter()
            .any(|phase| phase == "dumping globals")
        {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        other.sql("postgres", "DROP DATABASE z");
    });
    let (_, outcome) = Vault::new()
        .await
        .backup(&*support::source(&server, ""), &run)
        .await
        .unwrap();
    dropper.join().unwrap();
    let manifest = manifest(&outcome);
    assert!(manifest.database("a").is_some() && manifest.database("z").is_none());
    assert!(
        outcome.warnings[0].contains("z is not backed up: it was dropped"),
        "{:?}",
        outcome.warnings
    );
}

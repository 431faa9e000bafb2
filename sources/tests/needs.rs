//! What a restore needs on its server: found before the work, brought by `globals`, or refused with what to do.

#![allow(clippy::unwrap_used)]

mod support;

use holdfast_sources::RestoreRequest;
use holdfast_tests::folder::StoryFolder;
use holdfast_tests::postgres::Postgres;
use holdfast_tests::{checksum, data};

use support::{Run, Vault, assert_refused, manifest, names, of, source};

#[tokio::test(flavor = "multi_thread")]
async fn missing_roles_are_refused_and_globals_bring_them() {
    let folder = StoryFolder::new("needs-roles");
    let (here, there) = (
        Postgres::start(&folder, "here", 15),
        Postgres::start(&folder, "there", 15),
    );
    data::fill(&here);
    here.sql("postgres", "ALTER ROLE postgres CONNECTION LIMIT 7");
    there.sql("postgres", "CREATE ROLE reporter LOGIN CONNECTION LIMIT 3");
    let vault = Vault::new().await;
    let (id, _) = vault
        .backup(&*source(&here, ""), &Run::new())
        .await
        .unwrap();
    let target = source(&there, "");
    let error = vault
        .restore(&*target, &id, &of(&[data::AWKWARD]), &Run::new())
        .await
        .unwrap_err();
    assert_refused(
        &error,
        &[
            "orders needs roles that the server lacks: app_owner",
            "--globals",
        ],
    );
    assert!(!error.to_string().contains("reporter"), "{error}");
    assert_eq!(names(&there), ["postgres"]);

    let request = RestoreRequest {
        globals: true,
        ..of(&[data::AWKWARD])
    };
    let outcome = vault
        .restore(&*target, &id, &request, &Run::new())
        .await
        .unwrap();
    assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
    checksum::assert_equal(
        "orders",
        &checksum::database(&here, data::AWKWARD),
        &checksum::database(&there, data::AWKWARD),
    );
    let role = |name: &str| {
        there.sql(
            "postgres",
            &format!(
                "SELECT rolcanlogin || ' ' || rolconnlimit FROM pg_roles WHERE rolname = '{name}'"
            ),
        )
    };
    assert_eq!(
        role("reporter"),
        "false 3",
        "an existing role is altered by what the snapshot says of it"
    );
    assert_eq!(role("postgres"), "true -1", "our own role stays as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_tablespaces_and_extensions_are_refused() {
    let folder = StoryFolder::new("needs-tablespaces");
    let (here, there) = (
        Postgres::start(&folder, "here", 15),
        Postgres::start(&folder, "there", 15),
    );
    for (server, names) in [(&here, ["one", "two"].as_slice()), (&there, [].as_slice())] {
        for name in names {
            tablespace(server, name);
        }
    }
    here.sql("postgres", "CREATE DATABASE app TABLESPACE one");
    here.sql(
        "app",
        "CREATE TABLE t TABLESPACE two AS SELECT 1 AS a; CREATE TABLE u AS SELECT 2 AS b",
    );
    let vault = Vault::new().await;
    let (id, outcome) = vault
        .backup(&*source(&here, ""), &Run::new())
        .await
        .unwrap();
    let stored = manifest(&outcome);
    assert_eq!(stored.tablespaces.len(), 2);
    assert_eq!(stored.database("app").unwrap().properties.tablespace, "one");
    let target = source(&there, "");
    let error = vault
        .restore(&*target, &id, &of(&["app"]), &Run::new())
        .await
        .unwrap_err();
    assert_refused(
        &error,
        &["needs tablespaces that the server lacks: two, one"],
    );
    tablespace(&there, "one");
    tablespace(&there, "two");
    vault
        .restore(&*target, &id, &of(&["app"]), &Run::new())
        .await
        .unwrap();
    assert_eq!(there.sql("app", "SELECT spcname FROM pg_class c JOIN pg_tablespace t ON t.oid = reltablespace WHERE relname = 't'"), "two");
    checksum::assert_equal(
        "app",
        &checksum::database(&here, "app"),
        &checksum::database(&there, "app"),
    );

    // In place on the same server, too, over what is there.
    vault
        .restore(&*source(&here, ""), &id, &of(&["app"]), &Run::new())
        .await
        .unwrap();
    assert_eq!(here.sql("postgres", "SELECT spcname FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = 'app'"), "one");
}

/// A tablespace in a folder beside the server's own.
fn tablespace(server: &Postgres, name: &str) {
    let place = server.socket().join(format!("space-{name}"));
    server.sql(
        "postgres",
        &format!(
            "COPY (SELECT 1) TO PROGRAM 'cat >/dev/null; mkdir {}'",
            place.display()
        ),
    );
    server.sql(
        "postgres",
        &format!("CREATE TABLESPACE {name} LOCATION '{}'", place.display()),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_that_is_not_installed_is_refused() {
    let folder = StoryFolder::new("needs-extension");
    let server = Postgres::start(&folder, "server", 18);
    let extensions = server.programs().join("../share/extension");
    let there = |name: &str| extensions.join(format!("{name}.control")).exists();
    assert!(
        there("hstore") && there("pg_logicalinspect"),
        "{}",
        extensions.display()
    );
    // 15 knows no pg_logicalinspect; a dump of 18 does not go there, so the manifest of a 15 is made to ask for it.
    let old = Postgres::start(&folder, "old", 15);
    old.sql("postgres", "CREATE DATABASE app");
    old.sql(
        "app",
        "CREATE EXTENSION hstore; CREATE TABLE t AS SELECT 'a=>1'::hstore AS h",
    );
    let vault = Vault::new().await;
    let (id, outcome) = vault.backup(&*source(&old, ""), &Run::new()).await.unwrap();
    assert_eq!(
        manifest(&outcome).database("app").unwrap().extensions[0].name,
        "hstore"
    );
    let other = with_extension(&vault, &id, "hstore", "no_such_extension").await;
    let error = vault
        .restore(&*source(&old, ""), &other, &of(&["app"]), &Run::new())
        .await
        .unwrap_err();
    assert_refused(
        &error,
        &[
            "app needs extensions that the server lacks: no_such_extension",
            "install",
        ],
    );
    vault
        .restore(&*source(&server, ""), &id, &of(&["app"]), &Run::new())
        .await
        .unwrap();
    assert_eq!(server.sql("app", "SELECT h -> 'a' FROM t"), "1");
}

/// The same snapshot, whose manifest names another extension.
async fn with_extension(
    vault: &Vault,
    id: &holdfast_vault::SnapshotId,
    from: &str,
    to: &str,
) -> holdfast_vault::SnapshotId {
    let reader = vault.repository.open_snapshot(id).await.unwrap();
    let run = Run::new();
    let writer = vault
        .repository
        .begin_backup(Vault::options(&run))
        .await
        .unwrap();
    let text = reader
        .read_bytes("/db/manifest.json", 1 << 20)
        .await
        .unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap().replace(
        &format!("\"name\":\"{from}\""),
        &format!("\"name\":\"{to}\""),
    );
    writer
        .write_bytes("/db/manifest.json", Default::default(), text.into())
        .await
        .unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    writer
        .finish()
        .await
        .unwrap()
        .commit(deadline, None)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn locales_of_every_provider_come_back() {
    let folder = StoryFolder::new("needs-locales");
    let icu = Postgres::start(&folder, "icu", 15);
    icu.sql("postgres", "CREATE DATABASE app TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'sv-SE' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'");
    let builtin = Postgres::start(&folder, "builtin", 18);
    builtin.sql("postgres", "CREATE DATABASE app TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'PG_UNICODE_FAST' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'");
    let latin = Postgres::start(&folder, "latin", 16);
    latin.sql(
        "postgres",
        "CREATE DATABASE app TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'",
    );
    let words = "SET client_encoding = 'UTF8'; CREATE TABLE \"wörter\" AS SELECT unnest(ARRAY['zebra', 'ärlig', 'öl', 'apa']) AS wort";
    for (server, columns) in [
        (&icu, "datlocprovider, daticulocale"),
        (&builtin, "datlocprovider, datlocale"),
        (&latin, "datlocprovider, pg_encoding_to_char(encoding)"),
    ] {
        server.sql("app", words);
        let look = || {
            let properties = server.sql(
                "postgres",
                &format!(
                    "SELECT {columns}, datcollate, datctype FROM pg_database WHERE datname = 'app'"
                ),
            );
            let order = server.sql("app", "SET client_encoding = 'UTF8'; SELECT string_agg(wort, ' ' ORDER BY wort) FROM \"wörter\"");
            (properties, order)
        };
        let before = look();
        let vault = Vault::new().await;
        let source = source(server, "");
        let (id, outcome) = vault.backup(&*source, &Run::new()).await.unwrap();
        let stored = manifest(&outcome);
        let table = &stored.database("app").unwrap().tables[0];
        assert_eq!((table.name.as_str(), table.rows), ("wörter", 4));
        server.sql("postgres", "DROP DATABASE app");
        vault
            .restore(&*source, &id, &of(&["app"]), &Run::new())
            .await
            .unwrap();
        assert_eq!(look(), before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_little_disk_is_refused_before_the_work() {
    let folder = StoryFolder::new("needs-disk");
    let server = Postgres::start(&folder, "server", 15);
    server.sql("postgres", "CREATE DATABASE app");
    server.sql("app", "CREATE TABLE t AS SELECT 1 AS a");
    let vault = Vault::new().await;
    let source = source(&server, "");
    let (id, _) = vault.backup(&*source, &Run::new()).await.unwrap();
    let huge = with_sizes(&vault, &id).await;
    let error = vault
        .restore(&*source, &huge, &of(&["app"]), &Run::new())
        .await
        .unwrap_err();
    assert_refused(&error, &["free, and the copies need at least", "make room"]);
    assert_eq!(names(&server), ["app", "postgres"]);
}

/// The same snapshot, whose manifest speaks of a petabyte.
async fn with_sizes(vault: &Vault, id: &holdfast_vault::SnapshotId) -> holdfast_vault::SnapshotId {
    let reader = vault.repository.open_snapshot(id).await.unwrap();
    let run = Run::new();
    let writer = vault
        .repository
        .begin_backup(Vault::options(&run))
        .await
        .unwrap();
    let bytes = reader
        .read_bytes("/db/manifest.json", 1 << 20)
        .await
        .unwrap();
    let mut stored = holdfast_sources::postgres::manifest::Manifest::from_json(&bytes).unwrap();
    for database in &mut stored.databases {
        database.size_bytes = 1 << 50;
        database.dump_bytes = 1 << 50;
    }
    writer
        .write_bytes(
            "/db/manifest.json",
            Default::default(),
            stored.to_json().unwrap().into(),
        )
        .await
        .unwrap();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    writer
        .finish()
        .await
        .unwrap()
        .commit(deadline, None)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_tables_of_extensions_may_have_more_rows() {
    let folder = StoryFolder::new("needs-configuration");
    let server = Postgres::start(&folder, "server", 15);
    server.sql("postgres", "CREATE DATABASE app");
    // A table that an extension owns and marks as configuration, as PostGIS does with spatial_ref_sys.
    server.sql("app", "CREATE EXTENSION hstore; CREATE TABLE settings (k text); INSERT INTO settings VALUES ('a'), ('b'); \
        UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass::oid], extcondition = ARRAY['']");
    let vault = Vault::new().await;
    let (_, outcome) = vault
        .backup(&*source(&server, ""), &Run::new())
        .await
        .unwrap();
    let stored = manifest(&outcome);
    let table = stored
        .database("app")
        .unwrap()
        .tables
        .iter()
        .find(|table| table.name == "settings")
        .unwrap();
    assert_eq!((table.rows, table.at_least), (2, true));
}

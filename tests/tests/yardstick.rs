//! The stories' own measure: what `data` makes survives PostgreSQL's own dump and restore unchanged by `checksum`, on
//! every version, and `checksum` sees what it has to see. A yardstick that always says "equal" measures nothing.

use std::process::Stdio;

use holdfast_tests::{Postgres, StoryFolder, checksum, data, restic::Restic, seaweed::SeaweedFs};

/// `pg_dump | pg_restore` within one server.
fn copy(postgres: &Postgres, from: &str, to: &str) {
    postgres.sql("postgres", &format!("CREATE DATABASE {to} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"));
    let mut dump = postgres
        .client("pg_dump")
        .args(["-Fc", "-Z0", "-d", from])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut restore = postgres.client("pg_restore");
    restore
        .args(["--exit-on-error", "-d", to])
        .stdin(dump.stdout.take().unwrap());
    let output = restore.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(dump.wait().unwrap().success());
}

fn measures(major: u32) {
    let folder = StoryFolder::new("yardstick");
    let postgres = Postgres::start(&folder, "postgres", major);
    data::fill(&postgres);
    let before = checksum::rows(&postgres, data::AWKWARD);
    assert!(before.len() > 8, "{before:?}");
    copy(&postgres, data::AWKWARD, "copy");
    checksum::assert_equal(
        "a copy by PostgreSQL's own means",
        &before,
        &checksum::rows(&postgres, "copy"),
    );

    let all = checksum::database(&postgres, data::AWKWARD);
    for change in [
        "UPDATE customers SET n = n + 1 WHERE id = 7",
        "DROP INDEX lines_at",
        "ALTER TABLE secured NO FORCE ROW LEVEL SECURITY; DROP POLICY own ON secured",
        "SELECT lo_put(90001, 5, 'x')",
        "ALTER DATABASE orders RESET work_mem",
        "ALTER ROLE app_owner IN DATABASE orders RESET lock_timeout",
        "REVOKE CONNECT ON DATABASE orders FROM reporter",
        "SELECT nextval('odd_numbers')",
    ] {
        let before = checksum::database(&postgres, data::AWKWARD);
        postgres.sql(data::AWKWARD, change);
        assert_ne!(
            before,
            checksum::database(&postgres, data::AWKWARD),
            "not seen: {change}"
        );
    }
    assert_ne!(all, checksum::database(&postgres, data::AWKWARD));
    assert_eq!(
        checksum::server(&postgres).len(),
        4,
        "all databases but postgres are read"
    );
}

#[test]
fn the_yardstick_measures_on_14() {
    measures(14);
}

#[test]
fn the_yardstick_measures_on_15() {
    measures(15);
}

#[test]
fn the_yardstick_measures_on_16() {
    measures(16);
}

#[test]
fn the_yardstick_measures_on_17() {
    measures(17);
}

#[test]
fn the_yardstick_measures_on_18() {
    measures(18);
}

#[test]
fn the_s3_server_takes_what_restic_writes() {
    let folder = StoryFolder::new("yardstick-s3");
    let server = SeaweedFs::shared(folder.transcript());
    let bucket = server.new_bucket();
    let restic = Restic {
        repository: format!("s3:http://127.0.0.1:{}/{bucket}/there", server.port()),
        password: folder.transcript().new_secret("the password"),
        keys: Some((server.access_key.clone(), server.secret_key.clone())),
        cache: folder.path("cache"),
    };
    let said = restic.run(&["init"]);
    folder.transcript().add_text("restic init", &said);
    assert_eq!(restic.snapshots(), Vec::<String>::new());
    let keys: Vec<String> = server
        .objects(&bucket, "there")
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert!(keys.contains(&"there/config".to_owned()), "{keys:?}");
    assert!(
        keys.iter().any(|key| key.starts_with("there/keys/")),
        "{keys:?}"
    );
}

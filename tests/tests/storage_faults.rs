//! The store misbehaves: overloaded, resetting, cutting answers off, silent, full, or not there.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use holdfast_tests::agent::SOURCE;
use holdfast_tests::{Fault, House, Plan, Store, checksum, data, wait};

const LONG: Duration = Duration::from_secs(180);

/// A backup meets `trouble` while it uploads, and succeeds once that is over.
fn backup_survives(story: &'static str, trouble: impl FnOnce(&House)) {
    let house = Plan::new(story).start(|postgres| data::fill_bulk(postgres, 100_000));
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house.s3.limit(600_000);
    let begun = house.begin(&["backup", SOURCE]);
    house.wait_until_reading(&begun.run);
    trouble(&house);
    house.s3.set(Fault::None);
    house.s3.let_go();
    house.s3.limit(0);
    begun.answer().expect(0);
    house.assert_whole(&live);
    assert_eq!(house.snapshots(true).len(), 1);
}

/// Holds the fault for a while and sees that somebody met it.
fn met(house: &House, fault: Fault, time: Duration) {
    let before = house.s3.met();
    house.s3.limit(0);
    house.s3.set(fault);
    wait::let_pass(time);
    assert!(house.s3.met() > before, "nobody met {fault:?}");
}

#[test]
fn unavailable_for_twenty_seconds() {
    backup_survives("s3-503", |house| {
        met(house, Fault::Unavailable, wait::seconds(20))
    });
}

#[test]
fn connections_are_reset() {
    backup_survives("s3-reset", |house| {
        met(house, Fault::Reset, wait::seconds(5))
    });
}

#[test]
fn answers_are_cut_off() {
    backup_survives("s3-truncate", |house| {
        met(house, Fault::Truncate(120), wait::seconds(5))
    });
}

#[test]
fn the_store_hangs() {
    backup_survives("s3-hang", |house| {
        house.s3.hold();
        wait::let_pass(wait::seconds(20));
    });
}

#[test]
fn a_restore_survives_what_a_store_does() {
    let house = Plan::new("s3-restore").start(|postgres| data::fill_bulk(postgres, 100_000));
    let before = checksum::rows(&house.postgres, data::AWKWARD);
    house.backup();
    house.postgres.sql(data::AWKWARD, "DELETE FROM small");
    house.s3.limit(600_000);
    let begun = house.begin(&["restore", SOURCE, "--yes", "--database", data::AWKWARD]);
    house.wait_until_reading(&begun.run);
    for fault in [Fault::Truncate(5000), Fault::Reset, Fault::Unavailable] {
        met(&house, fault, wait::seconds(3));
    }
    house.s3.set(Fault::None);
    begun.answer().expect(0);
    house.assert_whole(&before);
}

/// A tmpfs of a size, gone when dropped.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(path: &Path, size: &str) -> Self {
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(path)
            .output()
            .unwrap();
        assert!(
            mounted.status.success(),
            "a tmpfs needs root and CAP_SYS_ADMIN: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        Self(path.to_owned())
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(
            Command::new("mount")
                .args(["-o", &options])
                .arg(&self.0)
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: at this point the agent may still have it open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn the_disk_of_a_folder_is_full() {
    let place = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(place.path(), "8m");
    let mut plan = Plan::new("disk-full").store(Store::Folder(Some(place.path().to_owned())));
    plan.timing.attempts = 2;
    let house = plan.start(|postgres| data::fill_bulk(postgres, 150_000));
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    house
        .ctl
        .run(&["backup", SOURCE])
        .expect(1)
        .expect_says(&["space"]);
    assert!(house.snapshots(true).is_empty());
    checksum::assert_equal(
        "the live database",
        &live,
        &checksum::rows(&house.postgres, data::AWKWARD),
    );

    disk.resize("256m");
    house.backup();
    house.assert_whole(&live);
}

#[test]
fn a_wrong_secret_is_told_when_the_vault_is_added() {
    let house = Plan::new("s3-secret")
        .store(Store::Folder(None))
        .start(|_| {});
    let server = holdfast_tests::seaweed::SeaweedFs::shared(house.folder().transcript());
    let bucket = server.new_bucket();
    let ctl = house
        .ctl
        .with("AWS_ACCESS_KEY_ID", &server.access_key)
        .with("AWS_SECRET_ACCESS_KEY", "not-the-secret-at-all");
    let endpoint = format!("http://127.0.0.1:{}", server.port());
    let address = format!("s3://{bucket}/backups");
    let answer = ctl.run(&["vault", "add", "wrong", &address, "--endpoint", &endpoint]);
    assert!([1, 3].contains(&answer.code), "{answer:?}");
    let text = answer.stderr.to_lowercase();
    assert!(
        ["credential", "secret", "signature", "denied"]
            .iter()
            .any(|word| text.contains(word)),
        "{}",
        answer.stderr
    );
    assert!(
        !house
            .ctl
            .json(&["vault", "list"])
            .to_string()
            .contains("wrong"),
        "what does not work is not kept"
    );
    assert!(server.objects(&bucket, "").is_empty());
}

#[test]
fn a_missing_bucket_is_told_when_the_vault_is_added() {
    let house = Plan::new("s3-bucket")
        .store(Store::Folder(None))
        .start(|_| {});
    let server = holdfast_tests::seaweed::SeaweedFs::shared(house.folder().transcript());
    let ctl = house
        .ctl
        .with("AWS_ACCESS_KEY_ID", &server.access_key)
        .with("AWS_SECRET_ACCESS_KEY", &server.secret_key);
    let endpoint = format!("http://127.0.0.1:{}", server.port());
    let answer = ctl.run(&[
        "vault",
        "add",
        "lost",
        "s3://nobody-made-this/backups",
        "--endpoint",
        &endpoint,
    ]);
    answer
        .expect(3)
        .expect_says(&["nobody-made-this", "bucket"]);
}

#[test]
fn a_bucket_that_is_gone_fails_the_backup() {
    let mut plan = Plan::new("s3-gone");
    plan.timing.attempts = 2;
    let house = plan.start(|postgres| data::fill_bulk(postgres, 1000));
    let (server, bucket) = house.bucket();
    server.remove_bucket(bucket);
    let begun = house.begin(&["backup", SOURCE]);
    let run = house.ctl.wait_for_end(&begun.run, LONG);
    assert_eq!(run["state"], "failed", "{run:#}");
    begun.answer().expect(1).expect_says(&["bucket"]);
    assert!(house.snapshots(true).is_empty());
    house.assert_no_active_runs();
}

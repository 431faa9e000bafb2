//! Stock restic and we read each other's repositories.
#![allow(clippy::expect_used, reason = "what fails here fails the test")]
mod common;

use std::io::Write;
use std::process::Stdio;

use common::{
    Folder, PASSWORD, back_up, noise, options, password, read, repository, soon, succeeded, text,
};
use holdfast_vault::{ChunkerKind, FileKind, FileMeta, Repository, VaultError};

#[tokio::test(flavor = "multi_thread")]
async fn restic_reads_what_we_wrote() {
    let folder = Folder::new();
    let repository = repository(&folder.storage()).await;
    let dump = text(1, 20 << 20);
    let photographs = noise(2, 9 << 20);
    let zeros = vec![0; 12 << 20];
    let files: [(&str, &[u8]); 6] = [
        ("databases/app.dump", &dump),
        ("databases/we\"ird\\ näme\n<&>.dump", b"weird"),
        ("empty", b""),
        ("photographs.tar", &photographs),
        ("zeros", &zeros),
        ("zeros.again", &zeros),
    ];
    let id = back_up(&repository, &files).await.expect("backed up");

    folder.restic_ok(&["check", "--read-data"]);
    let listed: serde_json::Value =
        serde_json::from_slice(&folder.restic_ok(&["snapshots", "--json"])).expect("json");
    assert_eq!(listed[0]["id"], id.to_hex());
    assert_eq!(listed[0]["paths"][0], "/orders-db");
    assert_eq!(listed[0]["hostname"], "test-host");
    assert_eq!(listed[0]["tags"][0], "run:1");

    for (path, content) in files {
        let path = format!("/orders-db/{path}");
        assert!(
            folder.restic_ok(&["dump", "latest", &path]) == content,
            "{path}"
        );
    }
    let target = tempfile::tempdir().expect("folder");
    let target_path = target.path().to_str().expect("utf-8");
    folder.restic_ok(&["restore", "latest", "--target", target_path]);
    for (path, content) in files {
        let restored = std::fs::read(target.path().join("orders-db").join(path)).expect(path);
        assert!(restored == content, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fixed_chunks_and_a_second_backup_are_whole_for_restic_too() {
    let folder = Folder::new();
    let repository = repository(&folder.storage()).await;
    let mut relation = text(3, 6 << 20);
    for round in 0..2 {
        let writer = repository.begin_backup(options()).await.expect("begun");
        let summary = writer
            .write_stream(
                "base/1/16384",
                FileMeta::default(),
                ChunkerKind::Fixed(128 << 10),
                &relation[..],
            )
            .await
            .expect("written");
        assert_eq!(summary.chunks, 48);
        assert_eq!(summary.read_bytes, 6 << 20);
        if round == 1 {
            assert_eq!(summary.new_bytes, 128 << 10, "one page was changed");
        }
        let prepared = writer.finish().await.expect("finished");
        prepared.commit(soon(), None).await.expect("committed");
        relation[1_000_000] ^= 1;
    }
    folder.restic_ok(&["check", "--read-data"]);
    relation[1_000_000] ^= 1;
    let dumped = folder.restic_ok(&["dump", "latest", "/orders-db/base/1/16384"]);
    assert!(dumped == relation);
}

#[tokio::test(flavor = "multi_thread")]
async fn we_read_what_restic_wrote() {
    for version in ["1", "2"] {
        let folder = Folder::new();
        folder.restic_ok(&["init", "--repository-version", version]);
        let data = tempfile::tempdir().expect("folder");
        let dump = text(4, 5 << 20);
        std::fs::create_dir_all(data.path().join("sub/ünder")).expect("folder");
        std::fs::write(data.path().join("sub/ünder/dump"), &dump).expect("file");
        std::fs::write(data.path().join("empty"), b"").expect("file");
        std::fs::write(data.path().join("we\"ird\\\n"), b"weird").expect("file");
        std::os::unix::fs::symlink("nowhere", data.path().join("link")).expect("link");
        let root = data.path().to_str().expect("utf-8");
        folder.restic_ok(&["backup", "--tag", "kind:files", root]);

        let repository = Repository::open(folder.storage(), &password())
            .await
            .expect("opened");
        let snapshots = repository.snapshots().await.expect("listed");
        assert_eq!(snapshots.len(), 1);
        assert_eq!(snapshots[0].snapshot.tag("kind"), Some("files"));
        let reader = repository
            .open_snapshot(&snapshots[0].id)
            .await
            .expect("opened");
        assert_eq!(read(&reader, "sub/ünder/dump").await.expect("read"), dump);
        assert_eq!(
            read(&reader, &format!("{root}/empty")).await.expect("read"),
            b""
        );
        assert_eq!(read(&reader, "we\"ird\\\n").await.expect("read"), b"weird");
        let entries = reader.files().await.expect("listed");
        let of = |name: &str| {
            let path = format!("{root}/{name}");
            entries
                .iter()
                .find(|entry| entry.path == path)
                .expect("listed")
                .kind
                .clone()
        };
        assert_eq!(of("link"), FileKind::Symlink);
        assert_eq!(of("sub"), FileKind::Directory);
        assert_eq!(of("sub/ünder/dump"), FileKind::File);
        reader.close().await;

        let begun = repository.begin_backup(options()).await;
        match version {
            "1" => assert!(
                matches!(begun, Err(VaultError::Unsupported { .. })),
                "{begun:?}"
            ),
            _ => begun.expect("version 2 is written").abort().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_write_side_by_side() {
    let folder = Folder::new();
    let repository = repository(&folder.storage()).await;
    let ours = text(5, 3 << 20);
    let theirs = text(6, 3 << 20);
    back_up(&repository, &[("ours", &ours)])
        .await
        .expect("backed up");

    let mut child = folder
        .restic_command()
        .args([
            "backup",
            "--stdin",
            "--stdin-filename",
            "theirs",
            "--tag",
            "theirs",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("restic runs");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(&theirs)
        .expect("written");
    succeeded(child.wait_with_output().expect("ended"));

    back_up(&repository, &[("ours", &ours)])
        .await
        .expect("backed up again");
    folder.restic_ok(&["check", "--read-data"]);
    let snapshots = repository.snapshots().await.expect("listed");
    let tagged = snapshots
        .iter()
        .find(|info| info.snapshot.tags().contains(&"theirs".to_owned()));
    let reader = repository
        .open_snapshot(&tagged.expect("theirs").id)
        .await
        .expect("opened");
    assert_eq!(read(&reader, "/theirs").await.expect("read"), theirs);
    reader.close().await;

    // Nothing of us keeps restic's own housekeeping out once we are done.
    folder.restic_ok(&[
        "forget",
        "--keep-last",
        "1",
        "--group-by",
        "host",
        "--prune",
    ]);
    folder.restic_ok(&["check", "--read-data"]);
    assert!(repository.snapshots().await.expect("listed").len() < snapshots.len());
    back_up(&repository, &[("ours", &ours)])
        .await
        .expect("backed up after the prune");
    folder.restic_ok(&["check", "--read-data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_added_by_restic_opens_for_us() {
    let folder = Folder::new();
    back_up(&repository(&folder.storage()).await, &[("a", b"b")])
        .await
        .expect("backed up");
    let other = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(other.path(), "another password\n").expect("written");
    let path = other.path().to_str().expect("utf-8");
    folder.restic_ok(&["key", "add", "--new-password-file", path]);
    for good in ["another password", PASSWORD] {
        let repository = Repository::open(folder.storage(), &good.into())
            .await
            .expect(good);
        assert_eq!(repository.snapshots().await.expect("listed").len(), 1);
    }
    let wrong = Repository::open(folder.storage(), &"wrong".into()).await;
    assert!(
        matches!(wrong, Err(VaultError::WrongPassword { keys: 2, .. })),
        "{wrong:?}"
    );
}

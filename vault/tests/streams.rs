//! Streams of every length and manner of arrival come back as they were, within the memory that
//! was allowed.
#![allow(clippy::expect_used, reason = "what fails here fails the test")]
mod common;

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use common::{Folder, back_up, noise, options, read, repository, soon, text};
use holdfast_vault::{ChunkerKind, FileMeta, Storage, VaultError};
use tokio::io::{AsyncRead, ReadBuf};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

#[tokio::test(flavor = "multi_thread")]
async fn every_length_comes_back() {
    let storage = Storage::memory();
    let repository = repository(&storage).await;
    let data = noise(1, 9 * MIB);
    // Around the limits of chunks, of buffers, of readings; zeros find no boundary, or all of them.
    let around = |at: usize| [at - 1, at, at + 1];
    let mut lengths = vec![0, 1];
    for at in [128 * KIB, 512 * KIB, 1536 * KIB, 3072 * KIB, 8 * MIB] {
        lengths.extend(around(at));
    }
    let kinds = [
        ChunkerKind::ContentDefined,
        ChunkerKind::Fixed(128 * KIB),
        ChunkerKind::Fixed(1536 * KIB),
        ChunkerKind::Fixed(8 * MIB),
    ];
    let zeros = vec![0; 9 * MIB];
    let writer = repository.begin_backup(options()).await.expect("begun");
    let mut written = Vec::new();
    for (number, kind) in kinds.into_iter().enumerate() {
        for &length in &lengths {
            for (what, content) in [("noise", &data), ("zeros", &zeros)] {
                let path = format!("{number}/{what}/{length}");
                let content = &content[..length];
                let summary = writer
                    .write_stream(&path, FileMeta::default(), kind, content)
                    .await
                    .expect("written");
                assert_eq!(summary.read_bytes, length as u64);
                if let ChunkerKind::Fixed(chunk) = kind {
                    assert_eq!(summary.chunks, length.div_ceil(chunk) as u64, "{path}");
                }
                written.push((path, content));
            }
        }
    }
    let prepared = writer.finish().await.expect("finished");
    assert_eq!(prepared.summary().files, written.len() as u64);
    let id = prepared.commit(soon(), None).await.expect("committed");
    let reader = repository.open_snapshot(&id).await.expect("opened");
    for (path, content) in written {
        assert!(
            read(&reader, &path).await.expect("read") == content,
            "{path}"
        );
    }
}

/// Gives one byte, then many, then none for a moment, and so on.
struct Hesitant<'a> {
    left: &'a [u8],
    turn: usize,
}

impl AsyncRead for Hesitant<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.turn += 1;
        if self.turn.is_multiple_of(3) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = if self.turn % 3 == 1 { 1 } else { 40_000 };
        let length = self.left.len().min(most).min(buf.remaining());
        let (now, later) = self.left.split_at(length);
        buf.put_slice(now);
        self.left = later;
        Poll::Ready(Ok(()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_streams_at_once_share_one_backup() {
    let folder = Folder::new();
    let repository = repository(&folder.storage()).await;
    let contents: Vec<Vec<u8>> = (0..6)
        .map(|seed| text(seed, 5 * MIB + seed as usize * 77_777))
        .collect();
    let mut options = options();
    options.threads = 3;
    // The least that is possible: everybody waits for everybody's memory.
    options.memory_budget_bytes = (3 * 4 + 6) * MIB as u64;
    let stats = options.stats.clone();
    let writer = repository.begin_backup(options).await.expect("begun");
    let streams = contents.iter().enumerate().map(|(number, content)| {
        let (path, writer) = (format!("{number}.dump"), &writer);
        async move {
            let reader = Hesitant {
                left: content,
                turn: 0,
            };
            writer
                .write_stream(
                    &path,
                    FileMeta::default(),
                    ChunkerKind::ContentDefined,
                    reader,
                )
                .await
        }
    });
    let summaries = futures::future::join_all(streams).await;
    let total: usize = contents.iter().map(Vec::len).sum();
    let prepared = writer.finish().await.expect("finished");
    let read_bytes: u64 = summaries
        .iter()
        .map(|summary| summary.as_ref().expect("written").read_bytes)
        .sum();
    assert_eq!(read_bytes, total as u64);
    assert_eq!(stats.read_bytes.load(Ordering::Relaxed), total as u64);
    assert!(stats.stored_bytes.load(Ordering::Relaxed) < total as u64 / 2);
    assert!(
        stats.uploaded_bytes.load(Ordering::Relaxed) > stats.stored_bytes.load(Ordering::Relaxed)
    );
    for stage in [
        &stats.read_wait_ns,
        &stats.chunk_ns,
        &stats.hash_ns,
        &stats.compress_ns,
        &stats.seal_ns,
        &stats.upload_ns,
    ] {
        assert!(stage.load(Ordering::Relaxed) > 0);
    }
    let id = prepared.commit(soon(), None).await.expect("committed");
    let reader = repository.open_snapshot(&id).await.expect("opened");
    for (number, content) in contents.iter().enumerate() {
        assert!(
            read(&reader, &format!("{number}.dump"))
                .await
                .expect("read")
                == *content
        );
    }
    reader.close().await;
    folder.restic_ok(&["check", "--read-data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_already_is_not_stored_again() {
    let storage = Storage::memory();
    let repository = repository(&storage).await;
    let dump = text(1, 8 * MIB);
    // Twice within one backup, then once more by another process.
    back_up(&repository, &[("one", &dump), ("two", &dump)])
        .await
        .expect("backed up");
    let packs = storage.list("data/").await.expect("listed");
    let stored: u64 = packs.iter().map(|pack| pack.size_bytes).sum();
    assert!(stored < dump.len() as u64 / 2, "{stored}");

    let fresh = common::repository(&storage).await;
    let writer = fresh.begin_backup(options()).await.expect("begun");
    let mut changed = dump.clone();
    changed.splice(4_000_000..4_000_000, *b"a row more\n");
    let summary = writer
        .write_stream(
            "one",
            FileMeta::default(),
            ChunkerKind::ContentDefined,
            &changed[..],
        )
        .await
        .expect("written");
    assert!(
        summary.new_bytes > 0 && summary.new_bytes < 5 * MIB as u64,
        "{summary:?}"
    );
    let id = writer
        .finish()
        .await
        .expect("finished")
        .commit(soon(), None)
        .await
        .expect("committed");
    let reader = fresh.open_snapshot(&id).await.expect("opened");
    assert!(read(&reader, "one").await.expect("read") == changed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_compress_is_stored_as_it_is() {
    let repository = repository(&Storage::memory()).await;
    let data = noise(1, 10 * MIB);
    let writer = repository.begin_backup(options()).await.expect("begun");
    let summary = writer
        .write_stream(
            "a",
            FileMeta::default(),
            ChunkerKind::ContentDefined,
            &data[..],
        )
        .await
        .expect("written");
    assert_eq!(
        summary.stored_bytes,
        data.len() as u64 + summary.chunks * 32
    );
    writer.abort().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_cannot_be_are_refused_with_what_would_do() {
    let repository = repository(&Storage::memory()).await;
    let mut small = options();
    small.memory_budget_bytes = 10 << 20;
    let error = repository.begin_backup(small).await.expect_err("too small");
    assert!(
        error.to_string().contains("at least 18 MiB are needed"),
        "{error}"
    );
    let mut packs = options();
    packs.pack_size = 1 << 20;
    let error = repository.begin_backup(packs).await.expect_err("too small");
    assert!(error.to_string().contains("4 to 128 MiB"), "{error}");
    let mut path = options();
    path.path = "relative".to_owned();
    assert!(matches!(
        repository.begin_backup(path).await,
        Err(VaultError::Refused(_))
    ));
    let cancelled = options();
    cancelled.cancel.cancel();
    assert!(matches!(
        repository.begin_backup(cancelled).await,
        Err(VaultError::Cancelled)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn restic_keeps_its_hands_off_while_we_work() {
    let folder = Folder::new();
    let repository = repository(&folder.storage()).await;
    back_up(&repository, &[("a", b"x")])
        .await
        .expect("backed up");
    let writer = repository.begin_backup(options()).await.expect("begun");
    let refused = folder.restic(&["prune"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("already locked") && said.contains("test-host"),
        "{said}"
    );
    folder.restic_ok(&["snapshots"]);
    writer.abort().await;
    folder.restic_ok(&["prune"]);
}

//! Faults while a backup is written: readers that fail, cancellation, storage that dies at every
//! operation, permission that comes too late. Never a snapshot that does not restore.
#![allow(clippy::expect_used, reason = "what fails here fails the test")]
mod common;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use common::{back_up, noise, options, password, prepare, read, repository, soon, text};
use holdfast_vault::storage::faulty::{Fault, FaultPlan, FaultyBackend, Operation};
use holdfast_vault::storage::retry::RetryPolicy;
use holdfast_vault::storage::{Backend, MemoryBackend};
use holdfast_vault::{ChunkerKind, FileMeta, Repository, Storage, StorageError, VaultError};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::Instant;

/// Gives some bytes, then what its kind of trouble is.
struct Troubled {
    left: usize,
    then: Option<io::ErrorKind>,
}

impl AsyncRead for Troubled {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return match self.then {
                Some(kind) => Poll::Ready(Err(io::Error::new(kind, "pg_dump was killed"))),
                None => Poll::Pending,
            };
        }
        let length = self.left.min(buf.remaining());
        let seed = self.left as u64;
        buf.put_slice(&noise(seed, length));
        self.left -= length;
        Poll::Ready(Ok(()))
    }
}

async fn nothing_is_left(storage: &Storage, repository: &Repository) {
    assert!(repository.snapshots().await.expect("listed").is_empty());
    for _ in 0..100 {
        if storage.list("locks/").await.expect("listed").is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the lock stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_fails_leaves_no_snapshot() {
    for left in [0, 100, 700_000, 6 << 20] {
        let storage = Storage::memory();
        let repository = repository(&storage).await;
        let writer = repository.begin_backup(options()).await.expect("begun");
        writer
            .write_bytes("good", FileMeta::default(), b"good".as_slice().into())
            .await
            .expect("good");
        let reader = Troubled {
            left,
            then: Some(io::ErrorKind::BrokenPipe),
        };
        let error = writer
            .write_stream(
                "bad",
                FileMeta::default(),
                ChunkerKind::ContentDefined,
                reader,
            )
            .await
            .expect_err("fails");
        assert!(matches!(error, VaultError::SourceFailed(_)), "{error:?}");
        assert!(error.to_string().contains("pg_dump was killed"), "{error}");
        let later = writer
            .write_bytes("later", FileMeta::default(), b"x".as_slice().into())
            .await;
        assert!(
            matches!(later, Err(VaultError::Aborted { .. })),
            "{later:?}"
        );
        match writer.finish().await {
            Err(VaultError::Aborted { why }) => {
                assert!(why.contains("pg_dump was killed"), "{why}")
            }
            other => panic!("{other:?}"),
        }
        nothing_is_left(&storage, &repository).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_dropped_half_way_leaves_no_snapshot() {
    let storage = Storage::memory();
    let repository = repository(&storage).await;
    let writer = repository.begin_backup(options()).await.expect("begun");
    let reader = Troubled {
        left: 3 << 20,
        then: None,
    };
    let written = writer.write_stream(
        "a",
        FileMeta::default(),
        ChunkerKind::ContentDefined,
        reader,
    );
    tokio::time::timeout(Duration::from_millis(300), written)
        .await
        .expect_err("hangs");
    let finished = writer.finish().await;
    assert!(
        matches!(finished, Err(VaultError::Aborted { .. })),
        "{finished:?}"
    );
    nothing_is_left(&storage, &repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_name_ends_the_backup_too() {
    let repository = repository(&Storage::memory()).await;
    let writer = repository.begin_backup(options()).await.expect("begun");
    let refused = writer
        .write_bytes("../a", FileMeta::default(), b"x".as_slice().into())
        .await;
    assert!(
        matches!(refused, Err(VaultError::Refused(_))),
        "{refused:?}"
    );
    assert!(matches!(
        writer.finish().await,
        Err(VaultError::Aborted { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_everything_at_once() {
    let storage = Storage::memory();
    let repository = repository(&storage).await;
    let options = options();
    let cancel = options.cancel.clone();
    let writer = repository.begin_backup(options).await.expect("begun");
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel.cancel();
    });
    let began = Instant::now();
    let reader = Troubled {
        left: 3 << 20,
        then: None,
    };
    let written = writer
        .write_stream(
            "a",
            FileMeta::default(),
            ChunkerKind::ContentDefined,
            reader,
        )
        .await;
    assert!(matches!(written, Err(VaultError::Cancelled)), "{written:?}");
    assert!(matches!(writer.finish().await, Err(VaultError::Cancelled)));
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    nothing_is_left(&storage, &repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_between_finish_and_commit_writes_nothing() {
    let storage = Storage::memory();
    let repository = repository(&storage).await;
    let options = options();
    let cancel = options.cancel.clone();
    let writer = repository.begin_backup(options).await.expect("begun");
    writer
        .write_bytes("a", FileMeta::default(), b"x".as_slice().into())
        .await
        .expect("written");
    let prepared = writer.finish().await.expect("finished");
    cancel.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let committed = prepared.commit(soon(), None).await;
    assert!(
        matches!(committed, Err(VaultError::Cancelled)),
        "{committed:?}"
    );
    nothing_is_left(&storage, &repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_while_the_vault_hangs_ends_at_once() {
    let (plan, storage) = faulty(Arc::new(MemoryBackend::default()), RetryPolicy::default());
    let repository = repository(&storage).await;
    let options = options();
    let cancel = options.cancel.clone();
    let writer = repository.begin_backup(options).await.expect("begun");
    plan.arm(Operation::Put, "data/", Fault::Hang, usize::MAX);
    let data = noise(1, 60 << 20);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cancel.cancel();
    });
    let began = Instant::now();
    // More than fits into the budget: the reader is held back, in vain.
    let written = writer
        .write_stream(
            "a",
            FileMeta::default(),
            ChunkerKind::ContentDefined,
            &data[..],
        )
        .await;
    assert!(matches!(written, Err(VaultError::Cancelled)), "{written:?}");
    writer.abort().await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    nothing_is_left(&storage, &repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_and_abandon_give_the_lock_back_at_once() {
    let storage = Storage::memory();
    let repository = repository(&storage).await;
    let writer = repository.begin_backup(options()).await.expect("begun");
    assert_eq!(storage.list("locks/").await.expect("listed").len(), 1);
    writer.abort().await;
    assert!(storage.list("locks/").await.expect("listed").is_empty());
    let prepared = prepare(&repository, &[("a", b"x")])
        .await
        .expect("prepared");
    prepared.abandon().await;
    assert!(storage.list("locks/").await.expect("listed").is_empty());
    assert!(repository.snapshots().await.expect("listed").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_after_the_deadline_writes_nothing() {
    let storage = Storage::memory();
    let repository = repository(&storage).await;
    let prepared = prepare(&repository, &[("a", b"x")])
        .await
        .expect("prepared");
    let deadline = Instant::now() + Duration::from_millis(50);
    tokio::time::sleep(Duration::from_millis(120)).await;
    match prepared.commit(deadline, None).await {
        Err(VaultError::CommitTooLate { late }) => {
            assert!(late >= Duration::from_millis(60), "{late:?}")
        }
        other => panic!("{other:?}"),
    }
    nothing_is_left(&storage, &repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attempt_to_commit_begins_after_the_deadline() {
    let (plan, storage) = faulty(Arc::new(MemoryBackend::default()), RetryPolicy::default());
    let repository = repository(&storage).await;
    let prepared = prepare(&repository, &[("a", b"x")])
        .await
        .expect("prepared");
    plan.arm(Operation::Put, "snapshots/", Fault::Error(unavailable()), 4);
    let began = Instant::now();
    let committed = prepared
        .commit(began + Duration::from_millis(500), None)
        .await;
    assert!(
        matches!(
            committed,
            Err(VaultError::Storage(StorageError::Unavailable { .. }))
        ),
        "{committed:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(2));
    nothing_is_left(&storage, &repository).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_gets_through_passing_faults_and_lost_answers() {
    let (plan, storage) = faulty(Arc::new(MemoryBackend::default()), RetryPolicy::default());
    let repository = repository(&storage).await;
    for fault in [Fault::Error(unavailable()), Fault::LostAcknowledgement] {
        let prepared = prepare(&repository, &[("a", b"x")])
            .await
            .expect("prepared");
        plan.arm(Operation::Put, "snapshots/", fault, 1);
        let id = prepared.commit(soon(), None).await.expect("committed");
        assert!(repository.snapshot(&id).await.is_ok());
    }
    assert_eq!(repository.snapshots().await.expect("listed").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_gets_through_passing_faults_of_the_vault() {
    let (plan, storage) = faulty(
        Arc::new(MemoryBackend::default()),
        RetryPolicy {
            first_pause: Duration::from_millis(5),
            ..RetryPolicy::default()
        },
    );
    let repository = repository(&storage).await;
    for operation in [Operation::Put, Operation::Get, Operation::List] {
        plan.arm(operation, "", Fault::Error(unavailable()), 3);
    }
    plan.arm(Operation::Put, "data/", Fault::LostAcknowledgement, 2);
    plan.arm(Operation::Put, "data/", Fault::TornWrite(1000), 2);
    let dump = noise(8, 20 << 20);
    let id = back_up(&repository, &[("dump", &dump)])
        .await
        .expect("backed up");
    plan.arm(Operation::Get, "data/", Fault::Error(unavailable()), 3);
    let reader = repository.open_snapshot(&id).await.expect("opened");
    assert!(read(&reader, "dump").await.expect("read") == dump);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_refuses_fails_the_backup_with_its_reason() {
    let (plan, storage) = faulty(Arc::new(MemoryBackend::default()), RetryPolicy::default());
    let repository = repository(&storage).await;
    for place in ["data/", "index/"] {
        let writer = repository.begin_backup(options()).await.expect("begun");
        let full = StorageError::Full {
            object: place.to_owned(),
            why: "quota".to_owned(),
        };
        plan.arm(Operation::Put, place, Fault::Error(full), usize::MAX);
        let data = noise(2, 12 << 20);
        let written = writer
            .write_stream(
                "a",
                FileMeta::default(),
                ChunkerKind::ContentDefined,
                &data[..],
            )
            .await;
        let error = match written {
            Err(error) => error,
            Ok(_) => writer.finish().await.expect_err("the vault is full"),
        };
        assert!(
            matches!(error, VaultError::Storage(StorageError::Full { .. })),
            "{error:?}"
        );
        plan.clear();
    }
    nothing_is_left(&storage, &repository).await;
}

/// Dies at the first operation, at the second, and so on until a whole backup gets through; then
/// looks at what is there with other eyes.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_operation_is_the_last_every_snapshot_restores() {
    let patient = RetryPolicy {
        deadline: Duration::ZERO,
        ..RetryPolicy::default()
    };
    let first = text(1, 1 << 20);
    let second = [&first[..], &noise(7, 5 << 20)].concat();
    let before = Storage::memory();
    back_up(&repository(&before).await, &[("dump", &first)])
        .await
        .expect("first backup");
    for last in 0.. {
        assert!(
            last < 100,
            "a backup of so few packs takes fewer operations"
        );
        let memory: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        let whole = Storage::from_backend(Arc::clone(&memory));
        for object in before.list("").await.expect("listed") {
            let bytes = before.get(&object.name).await.expect("read");
            whole.put(&object.name, bytes).await.expect("copied");
        }

        let (plan, dying) = faulty(Arc::clone(&memory), patient.clone());
        let opened = Repository::open(dying, &password()).await.expect("opened");
        plan.die_after(last);
        let outcome = match prepare(&opened, &[("dump", &second)]).await {
            Ok(prepared) => {
                let deadline = Instant::now() + Duration::from_millis(300);
                prepared.commit(deadline, None).await
            }
            Err(error) => Err(error),
        };

        let after = repository(&whole).await;
        let snapshots = after.snapshots().await.expect("listed");
        assert!((1..=2).contains(&snapshots.len()));
        for (info, expected) in snapshots.iter().zip([&first, &second]) {
            let reader = after.open_snapshot(&info.id).await.expect("opened");
            assert!(
                read(&reader, "dump").await.expect("read") == *expected,
                "dead after {last}"
            );
        }
        back_up(&after, &[("dump", &second)])
            .await
            .expect("the next backup");
        if let Ok(id) = outcome {
            assert!(
                snapshots.iter().any(|info| info.id == id),
                "said to be done after {last}"
            );
            if !plan.has_died() {
                return;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_backup_leaves_what_it_uploaded_to_the_next() {
    let storage = Storage::memory();
    let repository = repository(&storage).await;
    let dump = noise(3, 40 << 20);
    let mut options = options();
    options.index_interval = Duration::ZERO;
    let cancel = options.cancel.clone();
    let writer = repository.begin_backup(options).await.expect("begun");
    let reader = (&dump[..]).chain(Troubled {
        left: 0,
        then: None,
    });
    let stats_cancel = async {
        while storage.list("index/").await.expect("listed").len() < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cancel.cancel();
    };
    let write = writer.write_stream(
        "dump",
        FileMeta::default(),
        ChunkerKind::ContentDefined,
        reader,
    );
    let (written, ()) = tokio::join!(write, stats_cancel);
    written.expect_err("cancelled");
    drop(writer);

    let fresh = Repository::open(storage.clone(), &password())
        .await
        .expect("opened");
    let writer = fresh.begin_backup(common::options()).await.expect("begun");
    let summary = writer
        .write_stream(
            "dump",
            FileMeta::default(),
            ChunkerKind::ContentDefined,
            &dump[..],
        )
        .await
        .expect("written");
    // Five packs of 4 MiB at least were there.
    assert!(summary.new_bytes <= (22 << 20), "{summary:?}");
    let id = writer
        .finish()
        .await
        .expect("finished")
        .commit(soon(), None)
        .await
        .expect("committed");
    let reader = fresh.open_snapshot(&id).await.expect("opened");
    assert!(read(&reader, "dump").await.expect("read") == dump);
}

fn faulty(inner: Arc<dyn Backend>, policy: RetryPolicy) -> (FaultPlan, Storage) {
    let plan = FaultPlan::default();
    let backend = FaultyBackend::new(inner, plan.clone());
    (plan, Storage::with_policy(Arc::new(backend), policy))
}

fn unavailable() -> StorageError {
    StorageError::Unavailable {
        object: "it".to_owned(),
        why: "503 SlowDown".to_owned(),
    }
}

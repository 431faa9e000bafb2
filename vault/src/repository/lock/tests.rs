//! Locks among themselves: who is refused, what goes stale, when one is lost.

use super::super::seal::KeyMaterial;
use super::*;
use crate::storage::faulty::{Fault, FaultPlan, FaultyBackend, Operation};
use crate::storage::retry::RetryPolicy;
use crate::storage::{MemoryBackend, StorageError};
use bytes::Bytes;

const MINUTE: jiff::SignedDuration = jiff::SignedDuration::from_mins(1);

fn key() -> Arc<SealingKey> {
    Arc::new(SealingKey::new(&KeyMaterial::from_bytes(&[5; 64])).expect("valid"))
}

fn quick() -> LockTimes {
    LockTimes {
        refresh: Duration::from_millis(40),
        retry: Duration::from_millis(20),
        lost_after: Duration::from_millis(400),
    }
}

fn faulty() -> (FaultPlan, Storage) {
    let plan = FaultPlan::default();
    let backend = FaultyBackend::new(Arc::new(MemoryBackend::default()), plan.clone());
    let policy = RetryPolicy {
        deadline: Duration::ZERO,
        ..RetryPolicy::default()
    };
    (plan, Storage::with_policy(Arc::new(backend), policy))
}

async fn place(storage: &Storage, minutes_ago: i32, exclusive: bool, host: &str) -> String {
    let lock = LockFile {
        time: jiff::Timestamp::now() - MINUTE * minutes_ago,
        exclusive,
        ..LockFile::ours(host)
    };
    let (id, sealed) = unpacked::encode(&key(), &lock).expect("sealed");
    let name = object_name(&id);
    storage.put(&name, sealed).await.expect("put");
    name
}

async fn names(storage: &Storage) -> Vec<String> {
    let listed = storage.list(FOLDER).await.expect("listed");
    listed.into_iter().map(|object| object.name).collect()
}

async fn acquire(storage: &Storage, times: LockTimes) -> Result<HeldLock> {
    HeldLock::acquire(storage, &key(), "agent-1", times).await
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within 4 s");
}

#[tokio::test]
async fn others_that_are_not_exclusive_do_not_matter() {
    let storage = Storage::memory();
    let other = place(&storage, 1, false, "elsewhere").await;
    let lock = acquire(&storage, quick()).await.expect("acquired");
    let second = acquire(&storage, quick()).await.expect("acquired twice");
    assert_eq!(names(&storage).await.len(), 3);
    lock.release().await;
    second.release().await;
    assert_eq!(names(&storage).await, [other]);
}

#[tokio::test]
async fn an_exclusive_lock_refuses_and_names_its_holder() {
    let storage = Storage::memory();
    let exclusive = place(&storage, 29, true, "elsewhere").await;
    let error = acquire(&storage, quick()).await.expect_err("refused");
    assert!(error.to_string().contains("holdfast@elsewhere"), "{error}");
    assert!(error.is_retryable());
    assert_eq!(
        names(&storage).await,
        [exclusive],
        "ours is not left behind"
    );
}

#[tokio::test]
async fn an_exclusive_lock_that_appears_meanwhile_refuses_too() {
    let (plan, storage) = faulty();
    // The first look finds nothing; the other one writes its lock while we write ours.
    plan.arm(
        Operation::Put,
        FOLDER,
        Fault::Delay(Duration::from_millis(100)),
        1,
    );
    let ours = acquire(&storage, quick());
    let theirs = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        place(&storage, 0, true, "elsewhere").await
    };
    let (ours, theirs) = tokio::join!(ours, theirs);
    assert!(matches!(ours, Err(VaultError::Locked { .. })), "{ours:?}");
    assert_eq!(names(&storage).await, [theirs]);
}

#[tokio::test]
async fn stale_locks_are_passed_over_and_ours_are_taken_away() {
    let storage = Storage::memory();
    let foreign = place(&storage, 31, true, "elsewhere").await;
    let ours = place(&storage, 31, false, "agent-1").await;
    let lock = acquire(&storage, quick()).await.expect("acquired");
    let left = names(&storage).await;
    assert!(left.contains(&foreign) && !left.contains(&ours), "{left:?}");
    lock.release().await;
}

#[tokio::test]
async fn a_spoilt_lock_is_passed_over() {
    let storage = Storage::memory();
    for name in [object_name(&Id::of(b"x")), format!("{FOLDER}junk")] {
        storage
            .put(&name, Bytes::from_static(b"{}"))
            .await
            .expect("put");
    }
    acquire(&storage, quick())
        .await
        .expect("acquired")
        .release()
        .await;
    assert_eq!(names(&storage).await.len(), 2);
}

#[tokio::test]
async fn a_lock_is_written_anew_and_there_is_one_at_every_moment() {
    let storage = Storage::memory();
    let lock = acquire(&storage, quick()).await.expect("acquired");
    let first = names(&storage).await;
    until("another lock", async || {
        let now = names(&storage).await;
        assert!(!now.is_empty());
        now.iter().all(|name| !first.contains(name))
    })
    .await;
    assert!(!lock.lost().is_cancelled());
    lock.release().await;
    assert!(names(&storage).await.is_empty());
}

#[tokio::test]
async fn a_lock_that_somebody_removed_is_lost() {
    let storage = Storage::memory();
    let lock = acquire(&storage, quick()).await.expect("acquired");
    for name in names(&storage).await {
        storage.delete(&name).await.expect("deleted");
    }
    lock.lost().cancelled().await;
    let error = lock.check().expect_err("lost");
    assert!(error.to_string().contains("somebody removed it"), "{error}");
}

#[tokio::test]
async fn a_lock_that_cannot_be_refreshed_is_lost_in_time_and_a_passing_fault_is_not_enough() {
    let (plan, storage) = faulty();
    let down = || {
        Fault::Error(StorageError::Unavailable {
            object: "it".to_owned(),
            why: "503".to_owned(),
        })
    };
    let lock = acquire(&storage, quick()).await.expect("acquired");
    plan.arm(Operation::Put, FOLDER, down(), 3);
    tokio::time::sleep(Duration::from_millis(300)).await;
    lock.check().expect("three failures are not enough");
    plan.arm(Operation::Put, FOLDER, down(), usize::MAX);
    tokio::time::timeout(Duration::from_secs(4), lock.lost().cancelled())
        .await
        .expect("lost");

    plan.clear();
    let lock = acquire(&storage, quick()).await.expect("acquired");
    plan.arm(Operation::Get, FOLDER, Fault::Hang, usize::MAX);
    tokio::time::timeout(Duration::from_secs(4), lock.lost().cancelled())
        .await
        .expect("lost");
}

#[tokio::test]
async fn a_dropped_lock_is_removed_soon() {
    let storage = Storage::memory();
    drop(acquire(&storage, quick()).await.expect("acquired"));
    until("no lock", async || names(&storage).await.is_empty()).await;
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read_calmly(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let _ = serde_json::from_slice::<LockFile>(&bytes);
    }
}

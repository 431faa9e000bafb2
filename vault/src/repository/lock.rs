//! Locks, as restic writes them, so that an operator's own restic is safe beside us.
//!
//! Ours are not exclusive: any number of backups and restores work side by side. What needs the
//! repository for itself (restic's prune) writes an exclusive lock. Both sides write their lock
//! first and look for the other's afterwards, and a listing shows what was written before it began:
//! whatever the interleaving, at least one of two that exclude each other sees the other and steps
//! back.
//!
//! A lock whose time is more than 30 minutes ago is stale: nobody heeds it. So ours is written anew
//! every five minutes. When that has not succeeded for 22 minutes, or somebody has removed our
//! lock, it is lost, and the work under it is cancelled while the lock still protects it. Both the
//! monotonic and the wall clock count: the first does not run while a machine sleeps, the second
//! may be set back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::seal::SealingKey;
use super::unpacked;
use crate::error::{Result, VaultError};
use crate::id::Id;
use crate::storage::Storage;

const FOLDER: &str = "locks/";
const USERNAME: &str = "holdfast";
const STALE: Duration = Duration::from_secs(30 * 60);

/// When a lock is refreshed and given up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LockTimes {
    /// Between two refreshes.
    pub(crate) refresh: Duration,
    /// After an attempt that failed.
    pub(crate) retry: Duration,
    /// Without a refresh for so long it is lost.
    pub(crate) lost_after: Duration,
}

impl Default for LockTimes {
    fn default() -> LockTimes {
        LockTimes {
            refresh: Duration::from_secs(5 * 60),
            retry: Duration::from_secs(20),
            lost_after: Duration::from_secs(22 * 60),
        }
    }
}

/// A lock object.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LockFile {
    time: jiff::Timestamp,
    exclusive: bool,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    pid: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    uid: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    gid: u32,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

impl LockFile {
    fn ours(host: &str) -> LockFile {
        LockFile {
            time: jiff::Timestamp::now(),
            exclusive: false,
            hostname: host.to_owned(),
            username: USERNAME.to_owned(),
            pid: i64::from(std::process::id()),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }
    }

    fn is_stale(&self) -> bool {
        let age = jiff::Timestamp::now().duration_since(self.time);
        age > jiff::SignedDuration::try_from(STALE).unwrap_or(jiff::SignedDuration::MAX)
    }

    fn holder(&self) -> String {
        format!("{}@{} (process {})", self.username, self.hostname, self.pid)
    }
}

/// A lock that is held, and refreshed in the background. Dropping it releases it, a little later.
#[derive(Debug)]
pub(crate) struct HeldLock {
    shared: Arc<Shared>,
    refresher: tokio::task::JoinHandle<()>,
    released: bool,
}

#[derive(Debug)]
struct Shared {
    storage: Storage,
    key: Arc<SealingKey>,
    host: String,
    current: Mutex<Id>,
    /// Cancelled when the lock is lost.
    lost: CancellationToken,
    why: Mutex<String>,
    runtime: tokio::runtime::Handle,
}

impl HeldLock {
    /// Takes a lock that is not exclusive, or names the holder of an exclusive one.
    pub(crate) async fn acquire(
        storage: &Storage,
        key: &Arc<SealingKey>,
        host: &str,
        times: LockTimes,
    ) -> Result<HeldLock> {
        refuse_when_exclusive(storage, key, host, None).await?;
        let began = Written::now();
        let id = write(storage, key, host).await?;
        let shared = Arc::new(Shared {
            storage: storage.clone(),
            key: Arc::clone(key),
            host: host.to_owned(),
            current: Mutex::new(id),
            lost: CancellationToken::new(),
            why: Mutex::default(),
            runtime: tokio::runtime::Handle::current(),
        });
        let refresher = tokio::spawn(refresh(Arc::clone(&shared), times, began));
        let lock = HeldLock {
            shared,
            refresher,
            released: false,
        };
        match refuse_when_exclusive(storage, key, host, Some(id)).await {
            Ok(()) => Ok(lock),
            Err(error) => {
                lock.release().await;
                Err(error)
            }
        }
    }

    /// Cancelled when the lock is lost: what needs its protection must end.
    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.shared.lost
    }

    /// An error once the lock is lost.
    pub(crate) fn check(&self) -> Result<()> {
        if self.shared.lost.is_cancelled() {
            return Err(self.lost_error());
        }
        Ok(())
    }

    /// What to say about the loss.
    pub(crate) fn lost_error(&self) -> VaultError {
        VaultError::LockLost {
            why: self
                .shared
                .why
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// Removes the lock. That it failed is told to the log: it goes stale by itself.
    pub(crate) async fn release(mut self) {
        self.released = true;
        self.refresher.abort();
        // Wait for the refresher to be gone, so that it cannot write another lock behind us.
        let _ = (&mut self.refresher).await;
        self.shared.remove().await;
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.refresher.abort();
        if self.released {
            return;
        }
        let shared = Arc::clone(&self.shared);
        let runtime = shared.runtime.clone();
        runtime.spawn(async move { shared.remove().await });
    }
}

impl Shared {
    fn current(&self) -> Id {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn remove(&self) {
        let name = object_name(&self.current());
        if let Err(error) = self.storage.delete(&name).await {
            tracing::warn!(lock = %name, %error, "could not remove the repository lock; it goes stale in 30 minutes");
        }
    }

    /// Writes the lock anew, then takes the old one away: there is one at every moment.
    async fn renew(&self) -> std::result::Result<(), Renewal> {
        let old = self.current();
        match self.storage.stat(&object_name(&old)).await {
            Ok(_) => {}
            Err(error) if error.is_not_found() => return Err(Renewal::Removed),
            Err(error) => return Err(Renewal::Failed(error.to_string())),
        }
        let new = write(&self.storage, &self.key, &self.host)
            .await
            .map_err(|error| Renewal::Failed(error.to_string()))?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = new;
        if let Err(error) = self.storage.delete(&object_name(&old)).await {
            tracing::debug!(lock = %old, %error, "a former repository lock stays until it is stale");
        }
        Ok(())
    }

    fn lose(&self, why: String) {
        *self.why.lock().unwrap_or_else(PoisonError::into_inner) = why;
        self.lost.cancel();
    }
}

enum Renewal {
    Removed,
    Failed(String),
}

/// When the lock that lies there was written, by both clocks.
struct Written {
    monotonic: Instant,
    wall: SystemTime,
}

impl Written {
    fn now() -> Written {
        Written {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    fn age(&self) -> Duration {
        let wall = self.wall.elapsed().unwrap_or_default();
        self.monotonic.elapsed().max(wall)
    }
}

async fn refresh(shared: Arc<Shared>, times: LockTimes, mut written: Written) {
    let mut pause = times.refresh;
    loop {
        tokio::time::sleep(pause).await;
        let left = times.lost_after.saturating_sub(written.age());
        if left.is_zero() {
            return shared.lose(format!("it was last written {:?} ago", written.age()));
        }
        let now = Written::now();
        match tokio::time::timeout(left, shared.renew()).await {
            Ok(Ok(())) => {
                written = now;
                pause = times.refresh;
            }
            Ok(Err(Renewal::Removed)) => {
                return shared.lose("somebody removed it (restic unlock --remove-all?)".to_owned());
            }
            Ok(Err(Renewal::Failed(why))) => {
                tracing::warn!(
                    why,
                    "the repository lock could not be refreshed; trying again"
                );
                if written.age() >= times.lost_after {
                    return shared.lose(why);
                }
                pause = times
                    .retry
                    .min(times.lost_after.saturating_sub(written.age()));
            }
            Err(_) => return shared.lose("storage did not answer in time".to_owned()),
        }
    }
}

fn object_name(id: &Id) -> String {
    format!("{FOLDER}{id}")
}

async fn write(storage: &Storage, key: &SealingKey, host: &str) -> Result<Id> {
    let (id, sealed) = unpacked::encode(key, &LockFile::ours(host))?;
    storage.put_hashed(&object_name(&id), sealed, &id).await?;
    Ok(id)
}

/// Looks at all locks. Stale ones of this host are dead runs of ours: they are taken away, because
/// they would keep restic's prune out for ever.
async fn refuse_when_exclusive(
    storage: &Storage,
    key: &SealingKey,
    host: &str,
    own: Option<Id>,
) -> Result<()> {
    let own = own.map(|id| object_name(&id));
    for object in storage.list(FOLDER).await? {
        if Some(&object.name) == own.as_ref() {
            continue;
        }
        let Some(lock) = read(storage, key, &object.name).await? else {
            continue;
        };
        match (lock.is_stale(), lock.exclusive) {
            (true, _) if lock.hostname == host && lock.username == USERNAME => {
                remove_stale(storage, &object.name).await;
            }
            (false, true) => {
                return Err(VaultError::Locked {
                    holder: lock.holder(),
                    since: lock.time,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

async fn remove_stale(storage: &Storage, name: &str) {
    if let Err(error) = storage.delete(name).await {
        tracing::warn!(lock = name, %error, "could not remove a stale lock of this host");
    }
}

/// A lock that is gone meanwhile holds nothing; one that cannot be read is reported and passed over,
/// as restic does: a spoilt lock must not keep everybody out for ever.
async fn read(storage: &Storage, key: &SealingKey, name: &str) -> Result<Option<LockFile>> {
    let sealed = match storage.get(name).await {
        Ok(sealed) => sealed,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Ok(id) = name.trim_start_matches(FOLDER).parse() else {
        tracing::warn!(lock = name, "not a lock: its name is not an id");
        return Ok(None);
    };
    match unpacked::decode(key, name, &id, &sealed) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) => {
            tracing::warn!(lock = name, %error, "a lock cannot be read; it is passed over");
            Ok(None)
        }
    }
}

#[cfg(test)]
mod tests {
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
}

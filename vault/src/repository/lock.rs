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
mod tests;

//! The last step: one object that makes everything before it count.
//!
//! The snapshot is sealed before anybody is asked for permission, so its id is part of the question
//! and the permission is for exactly these bytes. **No attempt to write begins after the deadline**,
//! which is a moment of the monotonic clock: it is looked at right before each attempt, whatever has
//! happened in between (a process that was stopped for an hour finds the deadline passed). An
//! attempt that has begun may end a little later; whoever gives permissions adds the time of one
//! request before he gives the next.
//!
//! The write creates and never replaces. The name is the hash of bytes that hold a random IV, so an
//! object that is there already is ours, from an attempt whose answer was lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::super::lock::HeldLock;
use super::super::options::BackupSummary;
use super::super::snapshot::Snapshot;
use super::super::{SNAPSHOTS, unpacked};
use super::run::Run;
use crate::error::{Result, VaultError};
use crate::id::SnapshotId;
use crate::storage::s3::PresignedPut;
use crate::storage::{Storage, StorageError};

const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// A snapshot that only has to be written. Dropping it leaves no snapshot.
#[derive(Debug)]
pub struct PreparedSnapshot {
    id: SnapshotId,
    sealed: Bytes,
    summary: BackupSummary,
    run: Arc<Run>,
    lock: Arc<HeldLock>,
}

impl PreparedSnapshot {
    pub(super) fn seal(
        run: &Arc<Run>,
        lock: Arc<HeldLock>,
        snapshot: &Snapshot,
        summary: BackupSummary,
    ) -> Result<PreparedSnapshot> {
        let (id, sealed) = unpacked::encode(&run.repository.key, snapshot)?;
        run.chunk_maps.close();
        run.pack_maps.close();
        Ok(PreparedSnapshot {
            id: SnapshotId::new(id),
            sealed,
            summary,
            run: Arc::clone(run),
            lock,
        })
    }

    /// The name it will have.
    pub fn id(&self) -> &SnapshotId {
        &self.id
    }

    /// The object's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.sealed
    }

    /// What the backup came to.
    pub fn summary(&self) -> &BackupSummary {
        &self.summary
    }

    /// Writes the snapshot before `deadline` or not at all: by `put` when somebody signed one, else with the
    /// repository's own credentials. Gives the lock back either way.
    ///
    /// # Errors
    ///
    /// [`VaultError::CommitTooLate`] when nothing was tried because the deadline had passed;
    /// `LockLost` and `Cancelled` when nothing was tried because of them; a storage error when it
    /// could not be written, or when it cannot be told whether it was.
    pub async fn commit(self, deadline: Instant, put: Option<PresignedPut>) -> Result<SnapshotId> {
        let written = self.write(deadline, put).await;
        let id = self.id;
        self.abandon().await;
        written.map(|()| id)
    }

    async fn write(&self, deadline: Instant, put: Option<PresignedPut>) -> Result<()> {
        self.run.check()?;
        self.lock.check()?;
        in_time(deadline)?;
        match put {
            Some(put) => Ok(put.send(self.sealed.clone(), deadline).await?),
            None => {
                let name = format!("{SNAPSHOTS}{}", self.id);
                let storage = self.run.repository.storage.without_retries();
                create_before(&storage, &name, &self.sealed, deadline).await
            }
        }
    }

    /// Gives the lock back without writing the snapshot.
    pub async fn abandon(self) {
        let PreparedSnapshot { run, lock, .. } = self;
        run.fail_because(&VaultError::Cancelled);
        drop(run);
        // The watcher upgrades its reference for an instant only; if it is just then, dropping does.
        if let Some(lock) = Arc::into_inner(lock) {
            lock.release().await;
        }
    }
}

fn in_time(deadline: Instant) -> Result<()> {
    let now = Instant::now();
    if now < deadline {
        return Ok(());
    }
    Err(VaultError::CommitTooLate {
        late: now - deadline,
    })
}

/// Tries until it is done, refused, or too late. Only the first look at the deadline makes it
/// `CommitTooLate`: after an attempt the last failure says more.
async fn create_before(
    storage: &Storage,
    name: &str,
    bytes: &Bytes,
    deadline: Instant,
) -> Result<()> {
    let mut pause = PAUSE;
    loop {
        let error = match storage.put_if_absent(name, bytes.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) if error.is_already_exists() => return is_ours(storage, name, bytes).await,
            Err(error) => error,
        };
        if !error.is_retryable() {
            return Err(error.into());
        }
        tracing::debug!(name, %error, "writing the snapshot will be tried again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        if in_time(deadline).is_err() {
            return was_it_written(storage, name, bytes, error).await;
        }
    }
}

async fn is_ours(storage: &Storage, name: &str, bytes: &Bytes) -> Result<()> {
    if storage.get(name).await? == bytes {
        return Ok(());
    }
    Err(VaultError::damaged(
        name,
        "another object has the snapshot's name",
    ))
}

/// An answer that was lost may have been "done".
async fn was_it_written(
    storage: &Storage,
    name: &str,
    bytes: &Bytes,
    last: StorageError,
) -> Result<()> {
    match storage.get(name).await {
        Ok(there) if there == bytes => Ok(()),
        _ => Err(last.into()),
    }
}

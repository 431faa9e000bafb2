//! Faults on purpose: a wrapper that fails as stores fail, for tests.
//!
//! Each fault is armed for the next operation of a kind on names that contain a text, a number of
//! times; everything else passes through.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use super::{Backend, ObjectInfo, Page, StorageError};
use crate::id::Id;

/// Which operations a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `put` and `put_if_absent`.
    Put,
    /// `get`, `get_range` and `stat`.
    Get,
    /// `list_page` and `list_folders`.
    List,
    /// `delete`.
    Delete,
}

/// What happens instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This error; nothing is done.
    Error(StorageError),
    /// The operation, so much later.
    Delay(Duration),
    /// It never returns.
    Hang,
    /// It is done, but reported as failed.
    LostAcknowledgement,
    /// Only the first bytes are stored, and it is reported as failed.
    TornWrite(usize),
    /// One bit of what is read is flipped.
    CorruptRead,
}

#[derive(Debug)]
struct Armed {
    operation: Operation,
    contains: String,
    fault: Fault,
    times: usize,
}

/// The faults in store, shared with the test that arms them.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    armed: Arc<Mutex<Vec<Armed>>>,
    /// Operations until everything stops, if it is to.
    left: Arc<Mutex<Option<usize>>>,
}

impl FaultPlan {
    /// Arms `fault` for the next `times` operations on names containing `contains`.
    pub fn arm(&self, operation: Operation, contains: &str, fault: Fault, times: usize) {
        let armed = Armed {
            operation,
            contains: contains.to_owned(),
            fault,
            times,
        };
        self.armed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(armed);
    }

    /// After `operations` more, none is done any more: the machine has died. The last of them fails
    /// too, though a write may have been done.
    pub fn die_after(&self, operations: usize) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(operations);
    }

    /// Counts an operation; `true` when it and all after it are dead.
    fn is_dead(&self) -> bool {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *left {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    /// Whether the last operation that [`FaultPlan::die_after`] allowed is over.
    pub fn has_died(&self) -> bool {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) == Some(0)
    }

    /// Disarms everything.
    pub fn clear(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.armed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn strike(&self, operation: Operation, name: &str) -> Option<Fault> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let at = armed.iter().position(|armed| {
            armed.operation == operation && armed.times > 0 && name.contains(&armed.contains)
        })?;
        armed[at].times -= 1;
        Some(armed[at].fault.clone())
    }
}

/// A backend that fails as its plan says.
#[derive(Debug)]
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    plan: FaultPlan,
}

impl FaultyBackend {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Backend>, plan: FaultPlan) -> FaultyBackend {
        FaultyBackend { inner, plan }
    }

    /// Plays what comes before the operation; gives back what is to come with or after it.
    async fn before(
        &self,
        operation: Operation,
        name: &str,
    ) -> Result<Option<Fault>, StorageError> {
        if self.plan.is_dead() {
            return Err(self.lost(name));
        }
        match self.plan.strike(operation, name) {
            Some(Fault::Error(error)) => Err(error),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Delay(pause)) => {
                tokio::time::sleep(pause).await;
                Ok(None)
            }
            other => Ok(other),
        }
    }

    fn lost(&self, name: &str) -> StorageError {
        StorageError::Unreachable {
            endpoint: self.inner.location(),
            why: format!("the answer about {name} was lost"),
        }
    }

    async fn write(
        &self,
        name: &str,
        bytes: Bytes,
        sha256: &Id,
        create: bool,
    ) -> Result<(), StorageError> {
        let fault = self.before(Operation::Put, name).await?;
        if let Some(Fault::TornWrite(length)) = fault {
            self.inner
                .put(name, bytes.slice(..length.min(bytes.len())), sha256)
                .await?;
            return Err(self.lost(name));
        }
        if create {
            self.inner.put_if_absent(name, bytes, sha256).await?;
        } else {
            self.inner.put(name, bytes, sha256).await?;
        }
        match fault {
            Some(Fault::LostAcknowledgement) => Err(self.lost(name)),
            _ if self.plan.has_died() => Err(self.lost(name)),
            _ => Ok(()),
        }
    }
}

fn spoil(bytes: Bytes, fault: Option<Fault>) -> Bytes {
    if fault != Some(Fault::CorruptRead) || bytes.is_empty() {
        return bytes;
    }
    let mut spoilt = BytesMut::from(&bytes[..]);
    let middle = spoilt.len() / 2;
    spoilt[middle] ^= 1;
    spoilt.freeze()
}

#[async_trait]
impl Backend for FaultyBackend {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn put(&self, name: &str, bytes: Bytes, sha256: &Id) -> Result<(), StorageError> {
        self.write(name, bytes, sha256, false).await
    }

    async fn put_if_absent(
        &self,
        name: &str,
        bytes: Bytes,
        sha256: &Id,
    ) -> Result<(), StorageError> {
        self.write(name, bytes, sha256, true).await
    }

    async fn get(&self, name: &str) -> Result<Bytes, StorageError> {
        let fault = self.before(Operation::Get, name).await?;
        Ok(spoil(self.inner.get(name).await?, fault))
    }

    async fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        let fault = self.before(Operation::Get, name).await?;
        Ok(spoil(
            self.inner.get_range(name, offset, length).await?,
            fault,
        ))
    }

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        self.before(Operation::List, prefix).await?;
        self.inner.list_page(prefix, after).await
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.before(Operation::List, prefix).await?;
        self.inner.list_folders(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        self.before(Operation::Delete, name).await?;
        self.inner.delete(name).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StorageError> {
        self.before(Operation::Get, name).await?;
        self.inner.stat(name).await
    }

    async fn versioning(&self) -> Result<Option<bool>, StorageError> {
        self.inner.versioning().await
    }
}

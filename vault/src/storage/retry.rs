//! Retries as a wrapper: callers never see a passing fault, and no permanent one is repeated.
//!
//! An operation is tried again after 503, 429, 5xx, time-outs, broken connections and short
//! answers, with exponential back-off and full jitter, until a deadline counted from its first
//! attempt. Refusals are handed on at once. All operations of one store share a budget of
//! retries, so that a dead server is not hammered by everything at once for ever.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;
use tracing::Instrument;

use super::{Backend, ObjectInfo, Page, StorageError};
use crate::id::Id;

/// How patiently.
#[derive(Debug, Clone)]
pub struct RetryPolicy {
    /// No further attempt begins later than this after the first one began.
    pub deadline: Duration,
    /// Upper bound of the first pause.
    pub first_pause: Duration,
    /// Upper bound of any pause.
    pub longest_pause: Duration,
    /// Retries that may be outstanding before successes refill the budget.
    pub budget: i64,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            deadline: Duration::from_secs(75),
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
            budget: 500,
        }
    }
}

/// A backend whose passing faults are tried again.
#[derive(Debug)]
pub struct Retrying {
    inner: Arc<dyn Backend>,
    policy: RetryPolicy,
    budget: AtomicI64,
}

impl Retrying {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Backend>, policy: RetryPolicy) -> Retrying {
        let budget = AtomicI64::new(policy.budget);
        Retrying {
            inner,
            policy,
            budget,
        }
    }

    /// One operation on the store is one span of the trace, however many attempts it takes.
    async fn run<T, F, Fut>(
        &self,
        operation: &'static str,
        name: &str,
        attempt: F,
    ) -> Result<T, StorageError>
    where
        F: Fn(u32) -> Fut,
        Fut: Future<Output = Result<T, StorageError>>,
    {
        let span = tracing::debug_span!("storage", operation, object = name);
        self.tries(operation, name, attempt).instrument(span).await
    }

    async fn tries<T, F, Fut>(
        &self,
        operation: &'static str,
        name: &str,
        attempt: F,
    ) -> Result<T, StorageError>
    where
        F: Fn(u32) -> Fut,
        Fut: Future<Output = Result<T, StorageError>>,
    {
        let start = Instant::now();
        let mut tries = 0;
        loop {
            let error = match attempt(tries).await {
                Ok(value) => {
                    self.refill();
                    return Ok(value);
                }
                Err(error) => error,
            };
            tries += 1;
            if !self.may_retry(&error, tries, start) {
                return Err(error);
            }
            let pause = self.pause(tries);
            tracing::debug!(operation, name, tries, %error, ?pause, "storage operation will be tried again");
            tokio::time::sleep(pause).await;
        }
    }

    fn may_retry(&self, error: &StorageError, tries: u32, start: Instant) -> bool {
        // Requests are signed by the server's time once one answer has told it: worth one more try.
        if matches!(error, StorageError::ClockSkew { .. }) {
            return tries == 1;
        }
        error.is_retryable()
            && start.elapsed() < self.policy.deadline
            && self.budget.fetch_sub(1, Ordering::Relaxed) > 0
    }

    fn refill(&self) {
        let full = self.policy.budget;
        let more = |left: i64| (left < full).then(|| left.max(0) + 1);
        // An error means that the budget is full, which is what was wanted.
        let _ = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn pause(&self, tries: u32) -> Duration {
        let bound = self
            .policy
            .first_pause
            .saturating_mul(1 << (tries - 1).min(16));
        let bound = bound.min(self.policy.longest_pause);
        bound.mul_f64(rand::random_range(0.3..=1.0))
    }

    /// A create that was done but reported as failed finds itself: same bytes mean it was ours.
    async fn create(
        &self,
        name: &str,
        bytes: Bytes,
        sha256: &Id,
        tries: u32,
    ) -> Result<(), StorageError> {
        match self.inner.put_if_absent(name, bytes.clone(), sha256).await {
            Err(error) if tries > 0 && error.is_already_exists() => {
                if self.inner.get(name).await? == bytes {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            result => result,
        }
    }
}

#[async_trait]
impl Backend for Retrying {
    fn location(&self) -> String {
        self.inner.location()
    }

    async fn put(&self, name: &str, bytes: Bytes, sha256: &Id) -> Result<(), StorageError> {
        self.run("put", name, |_| self.inner.put(name, bytes.clone(), sha256))
            .await
    }

    async fn put_if_absent(
        &self,
        name: &str,
        bytes: Bytes,
        sha256: &Id,
    ) -> Result<(), StorageError> {
        self.run("put", name, |tries| {
            self.create(name, bytes.clone(), sha256, tries)
        })
        .await
    }

    async fn get(&self, name: &str) -> Result<Bytes, StorageError> {
        self.run("get", name, |_| self.inner.get(name)).await
    }

    async fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        self.run("get", name, |_| self.inner.get_range(name, offset, length))
            .await
    }

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        self.run("list", prefix, |_| self.inner.list_page(prefix, after))
            .await
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.run("list", prefix, |_| self.inner.list_folders(prefix))
            .await
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        self.run("delete", name, |_| self.inner.delete(name)).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StorageError> {
        self.run("stat", name, |_| self.inner.stat(name)).await
    }

    async fn versioning(&self) -> Result<Option<bool>, StorageError> {
        self.run("get", "versioning", |_| self.inner.versioning())
            .await
    }
}

//! Objects in a bucket.
use super::{Backend, ObjectInfo, Page, StorageError};
use crate::address::S3Endpoint;
use crate::credentials::CredentialsCell;
use crate::id::Id;
use async_trait::async_trait;
use bytes::Bytes;

/// A folder of a bucket.
#[derive(Debug)]
pub struct S3Backend;

#[allow(unused_variables, clippy::todo)]
impl S3Backend {
    /// The store below `prefix` of `bucket`.
    pub fn new(
        bucket: &str,
        prefix: &str,
        endpoint: &S3Endpoint,
        credentials: CredentialsCell,
    ) -> Result<S3Backend, StorageError> {
        Err(StorageError::Misconfigured {
            why: "not there yet".to_owned(),
        })
    }
}

mod presigned;
pub use presigned::{PresignedPut, presign_put};

#[allow(unused_variables, clippy::todo)]
#[async_trait]
impl Backend for S3Backend {
    fn location(&self) -> String {
        todo!()
    }
    async fn put(&self, name: &str, bytes: Bytes, sha256: &Id) -> Result<(), StorageError> {
        todo!()
    }
    async fn put_if_absent(
        &self,
        name: &str,
        bytes: Bytes,
        sha256: &Id,
    ) -> Result<(), StorageError> {
        todo!()
    }
    async fn get(&self, name: &str) -> Result<Bytes, StorageError> {
        todo!()
    }
    async fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        todo!()
    }
    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        todo!()
    }
    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        todo!()
    }
    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        todo!()
    }
    async fn stat(&self, name: &str) -> Result<ObjectInfo, StorageError> {
        todo!()
    }
}

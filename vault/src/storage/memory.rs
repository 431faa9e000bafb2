//! Objects in memory: the contract at its simplest, for tests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Backend, ObjectInfo, Page, StorageError};
use crate::id::Id;

/// Small on purpose, so that tests with few objects cross page boundaries.
const PAGE: usize = 100;

/// A store that is gone with the process.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl MemoryBackend {
    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, name: &str) -> Result<Bytes, StorageError> {
        let found = self.objects().get(name).cloned();
        found.ok_or_else(|| StorageError::NotFound {
            object: self.named(name),
        })
    }

    fn named(&self, name: &str) -> String {
        format!("{}{name}", self.location())
    }
}

#[async_trait]
impl Backend for MemoryBackend {
    fn location(&self) -> String {
        "memory:".to_owned()
    }

    async fn put(&self, name: &str, bytes: Bytes, _sha256: &Id) -> Result<(), StorageError> {
        let copy = Bytes::copy_from_slice(&bytes);
        self.objects().insert(name.to_owned(), copy);
        Ok(())
    }

    async fn put_if_absent(
        &self,
        name: &str,
        bytes: Bytes,
        _sha256: &Id,
    ) -> Result<(), StorageError> {
        let mut objects = self.objects();
        if objects.contains_key(name) {
            return Err(StorageError::AlreadyExists {
                object: self.named(name),
            });
        }
        objects.insert(name.to_owned(), Bytes::copy_from_slice(&bytes));
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Bytes, StorageError> {
        self.find(name)
    }

    async fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        let bytes = self.find(name)?;
        let end = offset
            .checked_add(length)
            .filter(|end| *end <= bytes.len() as u64);
        match end {
            Some(end) => Ok(bytes.slice(offset as usize..end as usize)),
            None => Err(StorageError::TooShort {
                object: self.named(name),
                why: format!(
                    "{length} bytes from {offset} asked for, it has {}",
                    bytes.len()
                ),
            }),
        }
    }

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let objects = self.objects();
        let mut matching = objects
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, bytes)| ObjectInfo {
                name: name.clone(),
                size_bytes: bytes.len() as u64,
            });
        let page: Vec<_> = matching.by_ref().take(PAGE).collect();
        Ok(Page {
            objects: page,
            more: matching.next().is_some(),
        })
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let objects = self.objects();
        let mut folders: Vec<String> = objects
            .keys()
            .filter_map(|name| name.strip_prefix(prefix)?.split_once('/'))
            .map(|(folder, _)| folder.to_owned())
            .collect();
        folders.dedup();
        Ok(folders)
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        self.objects().remove(name);
        Ok(())
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StorageError> {
        let size_bytes = self.find(name)?.len() as u64;
        Ok(ObjectInfo {
            name: name.to_owned(),
            size_bytes,
        })
    }
}

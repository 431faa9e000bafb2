//! Bringing the index up to date with the `index/` objects that are there.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::PoisonError;

use futures::{Stream, StreamExt};

use super::blob::PackedBlob;
use super::index::{Index, IndexFile};
use super::{Inner, unpacked};
use crate::error::{Result, VaultError};
use crate::id::Id;

const FOLDER: &str = "index/";
/// Index files read at once; each is some megabytes while it is taken in.
const PARALLEL: usize = 3;

/// The index objects that are in memory.
#[derive(Debug, Default)]
pub(crate) struct LoadedIndexes(BTreeSet<Id>);

/// The packs of one index file with their blobs.
pub(super) type Packs = Vec<(Id, Vec<PackedBlob>)>;

/// The name of index object `id`.
pub(super) fn object_name(id: &Id) -> String {
    format!("{FOLDER}{id}")
}

impl Inner {
    /// Reads what others have written since. When something has been taken away (a prune), all is
    /// read again.
    pub(super) async fn refresh_index(&self) -> Result<()> {
        let mut loaded = self.loaded.lock().await;
        // A prune on the other side may replace files between our listing and our reading.
        for _ in 0..3 {
            if self.try_refresh(&mut loaded).await? {
                return Ok(());
            }
        }
        Err(VaultError::Refused(format!(
            "the index of {} changes all the time: is a prune running without a lock?",
            self.storage.location()
        )))
    }

    /// `false` when a listed file was gone before it was read. An error leaves the index as it was, or
    /// with whole files more.
    async fn try_refresh(&self, loaded: &mut LoadedIndexes) -> Result<bool> {
        let present = self.list_indexes().await?;
        if loaded.0.is_empty() || !loaded.0.is_subset(&present) {
            return self.reload(loaded, &present).await;
        }
        let new: Vec<Id> = present.difference(&loaded.0).copied().collect();
        let mut reads = pin!(self.read_indexes(&new));
        let mut whole = true;
        while let Some(read) = reads.next().await {
            match read? {
                Some((id, packs)) => {
                    self.write_index(|index| index.add(&packs));
                    loaded.0.insert(id);
                }
                None => whole = false,
            }
        }
        Ok(whole)
    }

    /// Reads everything anew, and sorts once.
    async fn reload(&self, loaded: &mut LoadedIndexes, present: &BTreeSet<Id>) -> Result<bool> {
        let all: Vec<Id> = present.iter().copied().collect();
        let mut reads = pin!(self.read_indexes(&all));
        let (mut fresh, mut names) = (Index::default(), BTreeSet::new());
        while let Some(read) = reads.next().await {
            if let Some((id, packs)) = read? {
                fresh.append(&packs);
                names.insert(id);
            }
        }
        fresh.sort();
        self.write_index(|index| *index = fresh);
        loaded.0 = names;
        Ok(loaded.0.len() == present.len())
    }

    fn read_indexes(&self, ids: &[Id]) -> impl Stream<Item = Result<Option<(Id, Packs)>>> {
        futures::stream::iter(ids.to_vec())
            .map(|id| self.read_index(id))
            .buffer_unordered(PARALLEL)
    }

    async fn list_indexes(&self) -> Result<BTreeSet<Id>> {
        let mut present = BTreeSet::new();
        for object in self.storage.list(FOLDER).await? {
            match object.name.trim_start_matches(FOLDER).parse() {
                Ok(id) => {
                    present.insert(id);
                }
                Err(_) => {
                    tracing::warn!(object = %object.name, "not an index: its name is not an id");
                }
            }
        }
        Ok(present)
    }

    /// `None` when it is gone meanwhile.
    async fn read_index(&self, id: Id) -> Result<Option<(Id, Packs)>> {
        let name = object_name(&id);
        let sealed = match self.storage.get(&name).await {
            Err(error) if error.is_not_found() => return Ok(None),
            result => result?,
        };
        let (key, object) = (self.key.clone(), self.named(&name));
        let parsed = tokio::task::spawn_blocking(move || {
            unpacked::decode::<IndexFile>(&key, &object, &id, &sealed).map(IndexFile::into_packs)
        });
        let packs = parsed
            .await
            .map_err(|error| VaultError::Internal(error.to_string()))??;
        Ok(Some((id, packs)))
    }

    /// Takes in an index file that we have just written ourselves.
    pub(super) async fn adopt_index(&self, id: Id, packs: &Packs) {
        let mut loaded = self.loaded.lock().await;
        loaded.0.insert(id);
        self.write_index(|index| index.add(packs));
    }

    fn write_index(&self, change: impl FnOnce(&mut Index)) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut index);
    }
}

//! The files of a backup, and the directories they make.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::blob::BlobKind;
use super::super::hash::sha256;
use super::super::tree::{Node, Tree};
use super::compress::Press;
use super::run::Run;
use super::worker::{Halt, store_blob};
use crate::error::{Result, VaultError};
use crate::id::Id;

/// An absolute path within a snapshot, in parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FilePath(Vec<String>);

impl FilePath {
    /// Reads `/a/b`. Parts are neither empty nor relative.
    pub(super) fn parse(path: &str) -> Result<FilePath> {
        let parts = path
            .strip_prefix('/')
            .ok_or_else(|| VaultError::Refused(format!("{path:?} is not an absolute path")))?;
        FilePath(Vec::new()).join(parts)
    }

    fn join(&self, relative: &str) -> Result<FilePath> {
        let mut parts = self.0.clone();
        for part in relative.split('/') {
            if matches!(part, "" | "." | "..") || part.contains('\0') {
                return Err(VaultError::Refused(format!(
                    "{relative:?} cannot be a path in a snapshot: its parts must be neither empty nor relative"
                )));
            }
            parts.push(part.to_owned());
        }
        Ok(FilePath(parts))
    }

    /// The last part.
    pub(super) fn name(&self) -> &str {
        self.0.last().map_or("", String::as_str)
    }
}

impl std::fmt::Display for FilePath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}", self.0.join("/"))
    }
}

/// The files written so far.
#[derive(Debug)]
pub(super) struct Files {
    root: FilePath,
    /// `None` while the file is being written.
    files: Mutex<BTreeMap<FilePath, Option<Node>>>,
}

impl Files {
    pub(super) fn below(root: FilePath) -> Files {
        Files {
            root,
            files: Mutex::default(),
        }
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<FilePath, Option<Node>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name for a file that is about to be written.
    pub(super) fn reserve(&self, path: &str) -> Result<FilePath> {
        let place = if path.starts_with('/') {
            FilePath::parse(path)?
        } else {
            self.root.join(path)?
        };
        if !place.0.starts_with(&self.root.0) || place == self.root {
            return Err(VaultError::Refused(format!(
                "{place} is not below {}",
                self.root
            )));
        }
        let mut files = self.files();
        let clash = files
            .keys()
            .find(|other| other.0.starts_with(&place.0) || place.0.starts_with(&other.0));
        if let Some(other) = clash {
            return Err(VaultError::Refused(format!(
                "{place} cannot be written: this backup has {other} already"
            )));
        }
        match files.entry(place.clone()) {
            Entry::Vacant(entry) => entry.insert(None),
            Entry::Occupied(entry) => entry.into_mut(),
        };
        Ok(place)
    }

    /// The file is whole.
    pub(super) fn fill(&self, place: &FilePath, node: Node) {
        self.files().insert(place.clone(), Some(node));
    }

    pub(super) fn count(&self) -> u64 {
        self.files().len() as u64
    }

    /// Stores all directories; gives back the root's id.
    pub(super) async fn store_trees(self, run: &Arc<Run>, time: jiff::Timestamp) -> Result<Id> {
        let mut root = Directory::default();
        let own = root.descend(&self.root.0);
        let files = self
            .files
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        for (path, node) in files {
            let node = node.ok_or_else(|| VaultError::Aborted {
                why: format!("{path} was not written to its end"),
            })?;
            let below = &path.0[self.root.0.len()..];
            let (name, folders) = below
                .split_last()
                .ok_or_else(|| VaultError::Internal("a file without a name".to_owned()))?;
            own.descend(folders).files.insert(name.clone(), node);
        }
        let task_run = Arc::clone(run);
        let stored = tokio::task::spawn_blocking(move || {
            let mut press = Press::new()?;
            root.store(&task_run, &mut press, time)
        });
        let stored = stored
            .await
            .map_err(|error| VaultError::Internal(error.to_string()))?;
        stored.map_err(|halt| match halt {
            Halt::Failed(error) => error,
            Halt::Ended => run.error(),
        })
    }
}

#[derive(Debug, Default)]
struct Directory {
    files: BTreeMap<String, Node>,
    folders: BTreeMap<String, Directory>,
}

impl Directory {
    fn descend(&mut self, path: &[String]) -> &mut Directory {
        let mut at = self;
        for part in path {
            at = at.folders.entry(part.clone()).or_default();
        }
        at
    }

    /// Stores what lies below, then itself: an id is known only when its content is.
    fn store(
        self,
        run: &Arc<Run>,
        press: &mut Press,
        time: jiff::Timestamp,
    ) -> std::result::Result<Id, Halt> {
        let mut nodes = self.files;
        for (name, folder) in self.folders {
            let subtree = folder.store(run, press, time)?;
            nodes.insert(name.clone(), Node::directory(&name, time, subtree));
        }
        let tree = Tree {
            nodes: nodes.into_values().collect(),
        };
        let json = tree.to_json()?;
        drop(tree);
        let id = sha256(&json);
        if run.claim(BlobKind::Tree, &id) {
            store_blob(run, press, BlobKind::Tree, &id, &json, 0)?;
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files::below(FilePath::parse("/orders-db").expect("valid"))
    }

    #[test]
    fn a_path_is_relative_to_the_source_or_begins_with_it() {
        let files = files();
        let one = files.reserve("databases/app.dump").expect("relative");
        assert_eq!(one.to_string(), "/orders-db/databases/app.dump");
        let two = files.reserve("/orders-db/manifest.json").expect("absolute");
        assert_eq!(two.name(), "manifest.json");
    }

    #[test]
    fn paths_that_cannot_be_are_refused() {
        let files = files();
        files.reserve("databases/app.dump").expect("first");
        for path in [
            "",
            "a//b",
            "../a",
            "a/./b",
            "/elsewhere/a",
            "/orders-db",
            "/orders-dbx/a",
            "nul\0",
        ] {
            assert!(files.reserve(path).is_err(), "{path:?}");
        }
        for path in ["databases/app.dump", "databases", "databases/app.dump/part"] {
            let error = files.reserve(path).expect_err(path);
            assert!(
                error
                    .to_string()
                    .contains("has /orders-db/databases/app.dump already"),
                "{error}"
            );
        }
    }
}

//! The snapshot object: who, when, and the root of the tree.
//!
//! Written by restic as JSON and read by it again; fields that we do not know are ignored, so that
//! snapshots of newer programs stay readable.

use serde::{Deserialize, Serialize};

use crate::id::{Id, SnapshotId};

/// One point that a source can be restored to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When it was taken. restic writes its local offset; we write UTC.
    pub time: jiff::Timestamp,
    /// The snapshot it was compared with, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// Root of the tree.
    pub tree: Id,
    /// What was backed up; `/<source>` for ours.
    #[serde(default)]
    pub paths: Vec<String>,
    /// Where.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// By whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// The program that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_version: Option<String>,
}

impl Snapshot {
    /// The value of the first tag `<key>:<value>`.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags()
            .iter()
            .find_map(|tag| tag.strip_prefix(key)?.strip_prefix(':'))
    }

    /// All tags.
    pub fn tags(&self) -> &[String] {
        self.tags.as_deref().unwrap_or_default()
    }
}

/// A snapshot with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotInfo {
    /// SHA-256 of its sealed bytes.
    pub id: SnapshotId,
    /// What it says.
    pub snapshot: Snapshot,
}

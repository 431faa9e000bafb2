//! One source's data in one vault.
mod options;
mod snapshot;
mod stub;

pub use options::{
    BackupOptions, BackupStats, BackupSummary, ChunkerKind, FileMeta, StreamSummary,
};
pub use snapshot::{Snapshot, SnapshotInfo};
pub use stub::*;

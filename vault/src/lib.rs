//! The repository engine: restic format v2 over S3 and local disk.
//!
//! What we store, and how it comes back. The crate knows no service and no network protocol of
//! ours: a source hands it streams of bytes, it hands back the same bytes or an error, never
//! something in between.
//!
//! - [`Storage`] is where objects live: an S3 bucket, a local folder, memory. Retries and fault
//!   injection are wrappers over one narrow trait ([`storage::Backend`]).
//! - [`Repository`] is one source's data in one vault, in restic's repository format v2, so that
//!   the stock `restic` binary reads everything written here.
//! - [`RecoveryKit`] and [`password`] hold what opens a repository when nothing else is left.
//!
//! The order of writing is the crate's central argument: blobs go into packs, packs are durable
//! before an index names them, indexes are durable before a snapshot refers to them, and the
//! snapshot is one atomic object. Whoever dies on the way leaves objects nobody refers to, never a
//! snapshot with a hole.

pub mod address;
pub mod credentials;
mod error;
mod id;
pub mod kit;
pub mod password;
pub mod policy;
pub mod probe;
pub mod repository;
pub mod storage;
pub mod sts;

pub use address::{S3Endpoint, VaultAddress};
pub use credentials::{CredentialsCell, S3Credentials};
pub use error::VaultError;
pub use id::{Id, SnapshotId};
pub use kit::RecoveryKit;
pub use password::{new_vault_secret, repository_password};
pub use policy::{backup_policy, restore_policy};
pub use probe::{ConditionalWrite, ProbeReport, probe};
pub use repository::{
    BackupOptions, BackupStats, BackupSummary, BackupWriter, ChunkerKind, FileEntry, FileKind,
    FileMeta, FileReader, PreparedSnapshot, Repository, Snapshot, SnapshotInfo, SnapshotReader,
    StreamSummary,
};
pub use storage::s3::{PresignedPut, presign_put};
pub use storage::{ObjectInfo, Storage, StorageError};
pub use sts::assume_role;

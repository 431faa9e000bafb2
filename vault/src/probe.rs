//! What a place for objects can really do, found out by doing it once.
//!
//! Everything happens below `probe-<random>/`, a folder that no repository uses, and is removed
//! again. A refusal of the basics (write, read back, list, delete) is an error; what some servers
//! lack (conditional writes, checksums) is reported, so that nothing is promised that they do not
//! enforce.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::id::Id;
use crate::password::random;
use crate::storage::{Storage, StorageError};

/// Whether the server keeps two writers from creating the same object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionalWrite {
    /// The second create was refused and changed nothing.
    Enforced,
    /// The second create was accepted as if the first were not there.
    Ignored,
    /// The server does not know conditional writes.
    Unsupported,
}

/// What the probe found, one line each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// An object was written.
    pub write: bool,
    /// It came back byte for byte, whole and in part.
    pub read_back: bool,
    /// Create-if-absent.
    pub conditional_write: ConditionalWrite,
    /// Names are listed in ascending order.
    pub list_ordered: bool,
    /// What was deleted is gone.
    pub delete: bool,
    /// An upload whose checksum does not fit its bytes was refused.
    pub checksum_verified: bool,
    /// Old versions are kept; `None` when it cannot be told.
    pub versioning: Option<bool>,
    /// Mean time of one small request.
    pub latency: Duration,
}

/// Tries out `storage`. The place is left as it was found.
pub async fn probe(storage: &Storage) -> Result<ProbeReport, StorageError> {
    let mut suffix = [0; 8];
    random(&mut suffix);
    let folder = storage.subfolder(&format!("probe-{}", hex::encode(suffix)));
    let report = try_out(&folder).await;
    let swept = sweep(&folder).await;
    let report = report?;
    swept?;
    Ok(report)
}

async fn try_out(folder: &Storage) -> Result<ProbeReport, StorageError> {
    let start = Instant::now();
    let body = Bytes::from_static(b"holdfast probes this place");
    folder.put("b", body.clone()).await?;
    let whole = folder.get("b").await?;
    let part = folder.get_range("b", 9, 6).await?;
    let latency = start.elapsed() / 3;

    let conditional_write = conditional_write(folder).await?;
    let checksum_verified = checksum_verified(folder).await?;
    folder.put("c", body.clone()).await?;
    let names: Vec<String> = folder
        .list("")
        .await?
        .into_iter()
        .map(|object| object.name)
        .collect();
    folder.delete("b").await?;
    let gone = folder
        .get("b")
        .await
        .is_err_and(|error| error.is_not_found());

    Ok(ProbeReport {
        write: true,
        read_back: whole == body && part == body.slice(9..15),
        conditional_write,
        list_ordered: names.is_sorted() && names.len() >= 3,
        delete: gone,
        checksum_verified,
        versioning: folder.versioning().await.unwrap_or(None),
        latency,
    })
}

async fn conditional_write(folder: &Storage) -> Result<ConditionalWrite, StorageError> {
    match folder
        .put_if_absent("a", Bytes::from_static(b"first"))
        .await
    {
        Ok(()) => {}
        Err(StorageError::Other { .. }) => {
            folder.put("a", Bytes::from_static(b"first")).await?;
            return Ok(ConditionalWrite::Unsupported);
        }
        Err(error) => return Err(error),
    }
    let second = folder
        .put_if_absent("a", Bytes::from_static(b"second"))
        .await;
    let kept = folder.get("a").await? == b"first"[..];
    match second {
        Err(error) if error.is_already_exists() && kept => Ok(ConditionalWrite::Enforced),
        Ok(()) | Err(StorageError::AlreadyExists { .. }) => Ok(ConditionalWrite::Ignored),
        Err(error) => Err(error),
    }
}

/// Sends bytes under a wrong checksum: a server that verifies refuses them.
async fn checksum_verified(folder: &Storage) -> Result<bool, StorageError> {
    let wrong = Id::of(b"something else");
    let sent = folder
        .without_retries()
        .put_hashed("d", Bytes::from_static(b"these bytes"), &wrong)
        .await;
    match sent {
        Ok(()) => Ok(false),
        Err(StorageError::Unreachable { .. } | StorageError::Timeout { .. }) => Ok(false),
        Err(_) => Ok(folder
            .get("d")
            .await
            .is_err_and(|error| error.is_not_found())),
    }
}

async fn sweep(folder: &Storage) -> Result<(), StorageError> {
    for name in ["a", "b", "c", "d"] {
        folder.delete(name).await?;
    }
    Ok(())
}

impl std::fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let yes = |good: bool| if good { "yes" } else { "NO" };
        writeln!(f, "write               {}", yes(self.write))?;
        writeln!(f, "read back           {}", yes(self.read_back))?;
        writeln!(
            f,
            "conditional write   {}",
            match self.conditional_write {
                ConditionalWrite::Enforced => "enforced",
                ConditionalWrite::Ignored => "IGNORED: two creators could overwrite each other",
                ConditionalWrite::Unsupported => "NOT SUPPORTED",
            }
        )?;
        writeln!(f, "listing in order    {}", yes(self.list_ordered))?;
        writeln!(f, "delete              {}", yes(self.delete))?;
        writeln!(f, "checksum verified   {}", yes(self.checksum_verified))?;
        writeln!(
            f,
            "versions kept       {}",
            self.versioning.map_or("not known", yes)
        )?;
        write!(
            f,
            "latency             {:.1} ms",
            self.latency.as_secs_f64() * 1000.0
        )
    }
}

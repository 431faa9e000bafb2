//! Fills the catalog from what a vault holds.
//!
//! Every source's repository is listed and its snapshots are put beside the catalog: new ones are added, those that are
//! back lose the mark "missing", and only when a repository was read to its end are those that are not there marked as
//! missing. What could not be read is a problem in the answer, never a silence, and then the scan does not count as one.
//!
//! The order: the catalog is read before the vault is listed. What a backup commits in between is then in the listing and
//! not yet in what the listing is held against, and never the other way round, where it would be called missing.

use std::collections::HashSet;

use holdfast_proto::ids::{Epoch, RunId, SnapshotId};
use holdfast_proto::{manifest, v1};
use holdfast_vault::{Repository, SnapshotInfo, Storage, VaultError};
use sqlx::AnyConnection;

use super::OpenVault;
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::model::snapshot::{SnapshotStanding, Writer, standing_of_found};
use crate::store::snapshots::{self, Filter, SnapshotRecord};
use crate::store::{audit, runs, vaults};

/// Longest manifest read for the catalog, in bytes.
const MAX_MANIFEST_BYTES: usize = 8 * 1024 * 1024;

/// Reads the vault called `name` for `operator`.
pub async fn scan(
    coordinator: &Coordinator,
    name: &str,
    operator: &str,
) -> Result<v1::ScanVaultResponse> {
    let vault = OpenVault::named(coordinator, name).await?;
    let storage = vault.storage()?;
    let mut answer = v1::ScanVaultResponse::default();
    let recorded = present(catalog(coordinator, name, "").await?);
    let folders = storage.list_folders("").await?;
    for source in &folders {
        if let Err(why) = scan_source(coordinator, &vault, &storage, source, &mut answer).await? {
            answer.problems.push(format!("{source}: {why}"));
        }
    }
    if answer.repositories == 0 && answer.problems.is_empty() && !recorded.is_empty() {
        // An unmounted disk looks like this, and so does a folder of another host.
        answer.problems.push(format!(
            "{} holds no repository as seen from the coordinator, though {} snapshots are recorded there; nothing was marked \
             as missing (is its disk mounted, and is it this host's folder?)",
            vault.address,
            recorded.len()
        ));
    } else {
        forget_vanished(coordinator, recorded, &folders, &mut answer).await?;
    }

    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    if answer.problems.is_empty() {
        vaults::scanned(&mut tx, name, now).await?;
    }
    let detail = format!(
        "{} repositories, {} snapshots, {} added, {} missing, {} problems",
        answer.repositories,
        answer.snapshots,
        answer.added,
        answer.missing,
        answer.problems.len()
    );
    let actor = format!("operator {operator}");
    audit::add(&mut tx, now, &actor, "vault.scan", name, &detail).await?;
    tx.commit().await?;
    Ok(answer)
}

/// One repository. The inner error is a problem of the vault; the outer one is ours.
async fn scan_source(
    coordinator: &Coordinator,
    vault: &OpenVault,
    storage: &Storage,
    source: &str,
    answer: &mut v1::ScanVaultResponse,
) -> Result<std::result::Result<(), VaultError>> {
    let password = vault.password(source);
    let repository = match Repository::open(storage.subfolder(source), &password).await {
        Ok(repository) => repository,
        // A folder that holds something else.
        Err(VaultError::NoRepository { .. }) => return Ok(Ok(())),
        Err(error) => return Ok(Err(error)),
    };
    answer.repositories += 1;
    let mut known = catalog(coordinator, &vault.record.name, source).await?;
    let listed = match repository.snapshots().await {
        Ok(listed) => listed,
        Err(error) => return Ok(Err(error)),
    };
    answer.snapshots += listed.len() as u64;
    let mut problem = Ok(());
    for info in listed {
        let Ok(id) = info.id.to_hex().parse::<SnapshotId>() else {
            continue;
        };
        let before = known.iter().position(|snapshot| snapshot.id == id);
        let before = before.map(|at| known.swap_remove(at));
        let mut manifest = String::new();
        if before
            .as_ref()
            .is_none_or(|snapshot| snapshot.manifest.is_empty())
        {
            match read_manifest(&repository, &info, source).await {
                Ok(text) => manifest = text,
                Err(error) => problem = Err(error),
            }
        }
        let found = record_of(&vault.record.name, source, id, &info, manifest);
        take_in(coordinator, found, before, answer).await?;
    }
    if problem.is_ok() {
        mark_missing(coordinator, &known, answer).await?;
    }
    let mut tx = coordinator.store.begin().await?;
    vaults::repository_opened(&mut tx, vault.record.id, source, now_micros()).await?;
    tx.commit().await?;
    Ok(problem)
}

async fn catalog(
    coordinator: &Coordinator,
    vault: &str,
    source: &str,
) -> Result<Vec<SnapshotRecord>> {
    let filter = Filter {
        source: source.into(),
        vault: vault.into(),
        include_orphans: true,
        until_micros: 0,
        limit: i64::MAX,
    };
    let mut connection = coordinator.store.read().await?;
    Ok(snapshots::list(&mut connection, &filter).await?)
}

/// The manifest inside the snapshot, as it may be shown; empty when the snapshot has none (a stranger's restic made it).
async fn read_manifest(
    repository: &Repository,
    info: &SnapshotInfo,
    source: &str,
) -> std::result::Result<String, VaultError> {
    let reader = repository.open_snapshot(&info.id).await?;
    let path = format!("/{source}/manifest.json");
    match reader.read_bytes(&path, MAX_MANIFEST_BYTES).await {
        Ok(bytes) => Ok(manifest::shown(&String::from_utf8_lossy(&bytes))),
        Err(VaultError::NotFound { .. }) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn record_of(
    vault: &str,
    source: &str,
    id: SnapshotId,
    info: &SnapshotInfo,
    manifest: String,
) -> SnapshotRecord {
    let snapshot = &info.snapshot;
    let tag = |key| snapshot.tag(key).unwrap_or_default().to_owned();
    SnapshotRecord {
        vault: vault.into(),
        source: source.into(),
        id,
        kind: tag("kind"),
        method: tag("method"),
        time_micros: snapshot.time.as_microsecond(),
        host: snapshot.hostname.clone(),
        run_id: tag("run"),
        epoch: Epoch(tag("epoch").parse().unwrap_or_default()),
        standing: SnapshotStanding::Found,
        read_bytes: 0,
        new_bytes: 0,
        stored_bytes: 0,
        tags: snapshot.tags().to_vec(),
        manifest,
    }
}

async fn take_in(
    coordinator: &Coordinator,
    mut found: SnapshotRecord,
    before: Option<SnapshotRecord>,
    answer: &mut v1::ScanVaultResponse,
) -> Result<()> {
    let mut tx = coordinator.store.begin().await?;
    let writer = writer_of(&mut tx, &found.run_id).await?;
    let standing = standing_of_found(&found.id, writer.as_ref());
    match (&before, standing) {
        // Its run is under way and will report it.
        (None, None) => return Ok(()),
        (None, Some(standing)) => {
            found.standing = standing;
            answer.added += 1;
        }
        (Some(before), standing) if before.standing == SnapshotStanding::Missing => {
            found.standing = standing.unwrap_or(SnapshotStanding::Found);
            snapshots::set_standing(&mut tx, before, found.standing).await?;
        }
        (Some(before), _) => found.standing = before.standing,
    }
    if found.standing == SnapshotStanding::Orphan {
        answer.orphans += 1;
    }
    snapshots::put(&mut tx, &found).await?;
    Ok(tx.commit().await?)
}

async fn writer_of(connection: &mut AnyConnection, run_id: &str) -> Result<Option<Writer>> {
    let Ok(id) = run_id.parse::<RunId>() else {
        return Ok(None);
    };
    let Some(run) = runs::get(connection, id).await? else {
        return Ok(None);
    };
    let result = match run
        .result
        .as_ref()
        .and_then(|result| result.result.as_ref())
    {
        Some(v1::run_result::Result::Backup(backup)) => backup.snapshot_id.parse().ok(),
        _ => None,
    };
    Ok(Some(Writer {
        ended: run.state.is_final(),
        result,
        permitted: run.permitted_snapshot,
    }))
}

async fn mark_missing(
    coordinator: &Coordinator,
    gone: &[SnapshotRecord],
    answer: &mut v1::ScanVaultResponse,
) -> Result<()> {
    let mut tx = coordinator.store.begin().await?;
    for snapshot in gone {
        answer.missing += 1;
        if snapshot.standing != SnapshotStanding::Missing {
            tracing::warn!(vault = %snapshot.vault, source = %snapshot.source, snapshot = snapshot.id.short(), "a snapshot is not in the vault any more");
            snapshots::set_standing(&mut tx, snapshot, SnapshotStanding::Missing).await?;
        }
    }
    Ok(tx.commit().await?)
}

/// Those that were there when somebody looked last, without their manifests: all of a vault's are held at once.
fn present(mut recorded: Vec<SnapshotRecord>) -> Vec<SnapshotRecord> {
    recorded.retain_mut(|snapshot| {
        snapshot.manifest = String::new();
        snapshot.standing != SnapshotStanding::Missing
    });
    recorded
}

/// Marks what was recorded of sources whose whole folder is gone. The list of folders was complete, or the scan had
/// failed before.
async fn forget_vanished(
    coordinator: &Coordinator,
    mut recorded: Vec<SnapshotRecord>,
    folders: &[String],
    answer: &mut v1::ScanVaultResponse,
) -> Result<()> {
    let folders: HashSet<&str> = folders.iter().map(String::as_str).collect();
    recorded.retain(|snapshot| !folders.contains(snapshot.source.as_str()));
    mark_missing(coordinator, &recorded, answer).await
}

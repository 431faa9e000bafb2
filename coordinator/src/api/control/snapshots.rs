//! Snapshots, as operators ask for them.

use holdfast_proto::v1;

use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::model::snapshot::SnapshotStanding;
use crate::runs::grant::{Purpose, issue_for};
use crate::runs::resolve;
use crate::store::snapshots::{Filter, list as rows};
use crate::store::{audit, grants};
use crate::vaults::OpenVault;

/// Snapshots listed where the request says nothing.
const DEFAULT_LIMIT: u32 = 100;
/// Snapshots listed at most.
const MAX_LIMIT: u32 = 10_000;

pub async fn list(
    coordinator: &Coordinator,
    request: v1::ListSnapshotsRequest,
) -> Result<v1::ListSnapshotsResponse> {
    let limit = if request.limit == 0 {
        DEFAULT_LIMIT
    } else {
        request.limit
    };
    let filter = Filter {
        source: request.source,
        vault: request.vault,
        include_orphans: request.include_orphans,
        until_micros: 0,
        limit: limit.min(MAX_LIMIT).into(),
    };
    let mut connection = coordinator.store.read().await?;
    let mut snapshots: Vec<v1::Snapshot> = rows(&mut connection, &filter)
        .await?
        .into_iter()
        .map(v1::Snapshot::from)
        .collect();
    // Manifests may be large; one snapshot asked for alone has its own.
    for snapshot in &mut snapshots {
        snapshot.manifest_json.clear();
    }
    Ok(v1::ListSnapshotsResponse { snapshots })
}

pub async fn get(coordinator: &Coordinator, id: &str) -> Result<v1::Snapshot> {
    let mut connection = coordinator.store.read().await?;
    Ok(resolve::snapshot(&mut connection, id, "").await?.into())
}

/// Leave to read one repository from where the operator is. The audit row is written before the grant leaves.
pub async fn grant_read(
    coordinator: &Coordinator,
    request: &v1::GrantReadRequest,
    operator: &str,
) -> Result<v1::GrantReadResponse> {
    let snapshot = {
        let mut connection = coordinator.store.read().await?;
        resolve::snapshot(&mut connection, &request.snapshot_id, "").await?
    };
    if snapshot.standing == SnapshotStanding::Missing {
        return Err(Fault::Refused(format!(
            "snapshot {} is not in vault {} any more",
            snapshot.id.short(),
            snapshot.vault
        )));
    }
    let vault = OpenVault::named(coordinator, &snapshot.vault).await?;
    let session = format!("read-{}", snapshot.id.short());
    let mut issued = issue_for(&vault, &snapshot.source, Purpose::Read, &session).await?;
    issued.record.operator = operator.into();
    let mut tx = coordinator.store.begin().await?;
    grants::add(&mut tx, &issued.record).await?;
    let actor = format!("operator {operator}");
    let subject = format!("{} in vault {}", snapshot.source, snapshot.vault);
    let detail = format!("snapshot {}: {}", snapshot.id, request.purpose);
    audit::add(
        &mut tx,
        now_micros(),
        &actor,
        "snapshot.read",
        &subject,
        &detail,
    )
    .await?;
    tx.commit().await?;
    Ok(v1::GrantReadResponse {
        snapshot: Some(snapshot.into()),
        grant: Some(issued.grant),
    })
}

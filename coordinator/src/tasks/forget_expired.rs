//! Forgets invitations, certificates and sessions of storage that ran out long ago.

use std::time::Duration;

use crate::clock::{micros, now_micros};
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::store::{certificates, grants, invites};

/// Kept so long after its end: a late user still hears what is wrong.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

pub async fn pass(coordinator: &Coordinator) -> Result<()> {
    let before = now_micros().saturating_sub(micros(KEPT));
    let mut tx = coordinator.store.begin().await?;
    invites::forget_expired(&mut tx, before).await?;
    certificates::forget_expired(&mut tx, before).await?;
    grants::forget_expired(&mut tx, before).await?;
    Ok(tx.commit().await?)
}

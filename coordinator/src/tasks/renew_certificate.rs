//! Renews the coordinator's own certificate at two thirds of its life.

use std::time::Duration;

use jiff::Timestamp;

use crate::coordinator::Coordinator;
use crate::fault::Result;

/// Often enough to come in time for the shortest lifetime that is configured.
pub fn interval(coordinator: &Coordinator) -> Duration {
    let lifetime = coordinator.config.certificates.coordinator;
    (lifetime / 20).clamp(Duration::from_secs(1), Duration::from_secs(3600))
}

pub fn pass(coordinator: &Coordinator) -> Result<()> {
    if coordinator.pki.renew_own(Timestamp::now())? {
        tracing::info!("renewed the coordinator's certificate");
    }
    Ok(())
}

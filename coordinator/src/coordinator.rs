//! Everything a coordinator works with, in one place that operations, tasks and the API share.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use holdfast_proto::ids::RunId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::now_micros;
use crate::config::Config;
use crate::leases::LeaseBook;
use crate::pki::{MasterKey, Pki};
use crate::pulses::Pulses;
use crate::sessions::Sessions;
use crate::store::Store;

/// The coordinator's parts.
#[derive(Debug)]
pub struct Coordinator {
    /// How it was told to be.
    pub config: Config,
    /// What it knows.
    pub store: Store,
    /// Whom it trusts.
    pub pki: Pki,
    /// Opens the vaults' secrets.
    pub master_key: MasterKey,
    /// Who is connected.
    pub sessions: Sessions,
    /// Who holds what until when.
    pub leases: LeaseBook,
    /// Wakes watchers of runs.
    pub pulses: Pulses,
    /// Wakes the tasks.
    pub nudge: Notify,
    /// Ends everything.
    pub shutdown: CancellationToken,
    /// When this process started; leases of before count from here.
    pub started: Instant,
    /// The same by the wall clock.
    pub started_micros: i64,
    /// Runs that are being handed out right now.
    handing_out: Mutex<HashSet<RunId>>,
}

impl Coordinator {
    /// Puts the parts together.
    #[must_use]
    pub fn new(config: Config, store: Store, pki: Pki, master_key: MasterKey) -> Self {
        Self {
            config,
            store,
            pki,
            master_key,
            sessions: Sessions::default(),
            leases: LeaseBook::default(),
            pulses: Pulses::default(),
            nudge: Notify::new(),
            shutdown: CancellationToken::new(),
            started: Instant::now(),
            started_micros: now_micros(),
            handing_out: Mutex::default(),
        }
    }

    /// Runs that are being handed out right now.
    pub fn handing_out(&self) -> MutexGuard<'_, HashSet<RunId>> {
        self.handing_out
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

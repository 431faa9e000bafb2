//! Who is refused although their certificate is good. In memory, because the TLS handshake asks.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use holdfast_identity::{AdmitPeer, PeerIdentity};

/// Serials of certificates, and ids of agents, that are refused. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Revocations {
    refused: Arc<RwLock<Refused>>,
}

#[derive(Debug, Default)]
struct Refused {
    serials: HashSet<String>,
    holders: HashSet<String>,
}

impl Revocations {
    /// Refuses these certificates from now on.
    pub fn refuse_serials(&self, serials: impl IntoIterator<Item = String>) {
        self.write(|refused| refused.serials.extend(serials));
    }

    /// Refuses every certificate of this holder from now on.
    pub fn refuse_holder(&self, id: String) {
        self.write(|refused| {
            refused.holders.insert(id);
        });
    }

    /// Lets a holder in again with certificates that are not refused themselves.
    pub fn readmit_holder(&self, id: &str) {
        self.write(|refused| {
            refused.holders.remove(id);
        });
    }

    /// Whether this peer may come in.
    #[must_use]
    pub fn admits(&self, peer: &PeerIdentity) -> bool {
        // Sets are whole between two statements, so a poisoned lock still holds good ones.
        let refused = self.refused.read().unwrap_or_else(PoisonError::into_inner);
        !refused.serials.contains(peer.serial())
            && !refused.holders.contains(&peer.id().to_string())
    }

    /// The same as the question that TLS asks.
    #[must_use]
    pub fn admit_peer(&self) -> AdmitPeer {
        let revocations = self.clone();
        Arc::new(move |peer| revocations.admits(peer))
    }

    fn write(&self, change: impl FnOnce(&mut Refused)) {
        change(&mut self.refused.write().unwrap_or_else(PoisonError::into_inner));
    }
}

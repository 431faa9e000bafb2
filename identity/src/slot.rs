//! The identity in use, exchangeable while connections run.
//!
//! A connection takes the identity at its handshake and keeps it; what comes after an exchange uses the new
//! one. Nothing is dropped, and nothing waits: the lock is held for the copy of one pointer.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, sign};

use crate::identity::Identity;

/// Holds the current identity of a process; cheap to share, since clones see the same slot.
#[derive(Debug, Clone)]
pub struct IdentitySlot {
    current: Arc<RwLock<Arc<Identity>>>,
}

impl IdentitySlot {
    /// A slot that holds `identity`.
    pub fn new(identity: Identity) -> Self {
        Self {
            current: Arc::new(RwLock::new(Arc::new(identity))),
        }
    }

    /// The identity new connections use.
    pub fn current(&self) -> Arc<Identity> {
        // A pointer is never half-written, so a poisoned lock still holds a good one.
        let guard = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&guard)
    }

    /// Exchanges the identity: connections from now on use it, existing ones keep theirs.
    pub fn replace(&self, identity: Identity) {
        let mut guard = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *guard = Arc::new(identity);
    }

    fn certified(&self, offered: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let certified: Arc<sign::CertifiedKey> = self.current().certified_key();
        certified.key.choose_scheme(offered).map(|_| certified)
    }
}

impl ResolvesServerCert for IdentitySlot {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified(hello.signature_schemes())
    }
}

impl ResolvesClientCert for IdentitySlot {
    /// The certificate goes out whatever authorities the server hints at: another installation's server is
    /// to refuse it by name rather than to see nobody.
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        self.certified(schemes)
    }

    fn has_certs(&self) -> bool {
        true
    }
}

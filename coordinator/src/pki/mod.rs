//! The coordinator as an authority: its keys on disk, what it issues, whom it refuses.
//!
//! Keys are files of their own beside the state and never in it. Renewals replace the identity in its slot: the next
//! connection uses the new certificate, and none is dropped.

mod master_key;
mod revocations;

use std::path::{Path, PathBuf};

use holdfast_identity::{
    CertificateAuthority, CertificateRequest, CoordinatorAddress, Identity, IdentityError,
    IdentityFiles, IdentitySlot, Role, Subject, Validity,
};
use jiff::Timestamp;
use uuid::Uuid;

pub use master_key::{MasterKey, MasterKeyError};
pub use revocations::Revocations;

use crate::config::CertificatesConfig;

/// Where the keys of a coordinator lie.
#[derive(Debug, Clone)]
pub struct KeyFiles {
    folder: PathBuf,
}

impl KeyFiles {
    /// The keys in the state folder.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The authority's key and certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The coordinator's own identity.
    #[must_use]
    pub fn coordinator(&self) -> IdentityFiles {
        IdentityFiles::at(self.folder.join("coordinator.pem"))
    }

    /// The master key.
    #[must_use]
    pub fn master_key(&self) -> PathBuf {
        self.folder.join("master.key")
    }
}

/// Issues certificates, and serves with one.
#[derive(Debug)]
pub struct Pki {
    authority: CertificateAuthority,
    files: IdentityFiles,
    slot: IdentitySlot,
    address: CoordinatorAddress,
    lifetimes: CertificatesConfig,
    /// Who is refused.
    pub revocations: Revocations,
}

impl Pki {
    /// Reads the keys that `init` made.
    pub fn load(
        keys: &KeyFiles,
        address: CoordinatorAddress,
        lifetimes: CertificatesConfig,
    ) -> Result<Self, IdentityError> {
        let authority = CertificateAuthority::load(&keys.authority())?;
        let files = keys.coordinator();
        let identity = match files.load()? {
            Some(identity) if identity.ca() == authority.certificate() => identity,
            _ => issue_own(&authority, &files, &address, &lifetimes, None)?,
        };
        Ok(Self {
            authority,
            files,
            slot: IdentitySlot::new(identity),
            address,
            lifetimes,
            revocations: Revocations::default(),
        })
    }

    /// The authority that everybody trusts.
    #[must_use]
    pub fn authority(&self) -> &CertificateAuthority {
        &self.authority
    }

    /// The identity connections are served with.
    #[must_use]
    pub fn slot(&self) -> &IdentitySlot {
        &self.slot
    }

    /// Where agents and operators dial.
    #[must_use]
    pub fn address(&self) -> &CoordinatorAddress {
        &self.address
    }

    /// Signs the key in `csr` for `subject`, for as long as its role's certificates live.
    pub fn sign(
        &self,
        csr: &[u8],
        subject: &Subject,
    ) -> Result<holdfast_identity::Certificate, IdentityError> {
        let request = CertificateRequest::from_der(csr)?;
        let lifetime = match subject.role() {
            Role::Agent => self.lifetimes.agent,
            Role::Operator(_) => self.lifetimes.operator,
            Role::Coordinator => self.lifetimes.coordinator,
        };
        let validity = Validity::starting(Timestamp::now(), lifetime)?;
        self.authority.sign(&request, subject, validity)
    }

    /// Renews the own certificate when two thirds of its life are over; whether it did.
    pub fn renew_own(&self, now: Timestamp) -> Result<bool, IdentityError> {
        let current = self.slot.current();
        if !current.needs_renewal(now) {
            return Ok(false);
        }
        let id = current.peer().id();
        let renewed = issue_own(
            &self.authority,
            &self.files,
            &self.address,
            &self.lifetimes,
            Some(id),
        )?;
        self.slot.replace(renewed);
        Ok(true)
    }
}

/// A new certificate for the coordinator itself, written down before it is used.
pub(crate) fn issue_own(
    authority: &CertificateAuthority,
    files: &IdentityFiles,
    address: &CoordinatorAddress,
    lifetimes: &CertificatesConfig,
    id: Option<Uuid>,
) -> Result<Identity, IdentityError> {
    let id = id.unwrap_or_else(Uuid::now_v7);
    let subject = Subject::new(Role::Coordinator, id, "coordinator")?;
    let mut hosts = vec![address.host().to_owned()];
    // An operator on the same machine reaches it in spite of the name it is known by elsewhere.
    hosts.extend(
        ["localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .into_iter()
            .filter(|host| host != address.host()),
    );
    let validity = Validity::starting(Timestamp::now(), lifetimes.coordinator)?;
    let identity = authority.issue_coordinator(&subject, &hosts, validity)?;
    files.save(&identity)?;
    Ok(identity)
}

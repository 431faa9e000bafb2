//! Where an identity lies on disk: one file, `identity.pem`, mode 0600.
//!
//! Promise: what is loaded is a matching set. Key, certificate and the authority's certificate are replaced
//! together because they are one file, written beside and renamed; a crash in the middle of a renewal
//! leaves the old set, never a new key with an old certificate.

use std::path::{Path, PathBuf};

use holdfast_config::{create_private_folder, read_private, write_private};
use secrecy::ExposeSecret;

use crate::error::IdentityError;
use crate::identity::Identity;
use crate::pem;

/// Name of the file in its folder.
const FILE_NAME: &str = "identity.pem";

/// The place of an identity on disk.
#[derive(Debug, Clone)]
pub struct IdentityFiles {
    path: PathBuf,
}

impl IdentityFiles {
    /// The identity in `folder`, as `identity.pem`.
    pub fn in_folder(folder: &Path) -> Self {
        Self::at(folder.join(FILE_NAME))
    }

    /// The identity in the file `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True when there is a file, readable or not.
    pub fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Reads the identity; `None` when there is no file. A file open to others is refused.
    pub fn load(&self) -> Result<Option<Identity>, IdentityError> {
        match read_private(&self.path) {
            Ok(bytes) => Identity::from_pem(&pem::text(&bytes)?).map(Some),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the identity in one step, making its folder (0700) where it is missing.
    pub fn save(&self, identity: &Identity) -> Result<(), IdentityError> {
        if let Some(folder) = self.path.parent().filter(|p| !p.as_os_str().is_empty()) {
            create_private_folder(folder)?;
        }
        let text = identity.to_pem();
        Ok(write_private(&self.path, text.expose_secret().as_bytes())?)
    }
}

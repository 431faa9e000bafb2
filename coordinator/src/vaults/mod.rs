//! What the coordinator does with vaults: adds them, opens them, reads their catalogs, prints their kits.

pub mod add;
pub mod kit;
pub mod open;
pub mod scan;
pub mod view;

pub use open::OpenVault;

/// The column names that secrets are sealed for.
pub(crate) const SECRET_ACCESS_KEY: &str = "secret_access_key";
/// See [`SECRET_ACCESS_KEY`].
pub(crate) const VAULT_SECRET: &str = "vault_secret";

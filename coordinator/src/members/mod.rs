//! Who belongs to the installation: invitations, joining, renewals, revocation.

pub mod invite;
pub mod join;
pub mod renew;
pub mod revoke;

//! Random bytes from the operating system by way of aws-lc.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use crate::error::IdentityError;

/// `N` bytes nobody can guess.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(IdentityError::crypto("get random bytes"))?;
    Ok(bytes)
}

//! Sessions with less than their maker's rights, from the token service beside the store.
use crate::address::S3Endpoint;
use crate::credentials::S3Credentials;
use crate::storage::StorageError;
use std::time::Duration;

/// Asks the token service at `endpoint` for a session of `role_arn` cut to `policy_json`.
#[allow(unused_variables, clippy::todo)]
pub async fn assume_role(
    endpoint: &S3Endpoint,
    role_arn: &str,
    base: &S3Credentials,
    session_name: &str,
    policy_json: &str,
    duration: Duration,
) -> Result<S3Credentials, StorageError> {
    todo!()
}

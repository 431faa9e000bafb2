//! Sessions with less than their maker's rights, from the token service beside the store.
//!
//! A session can do what both its role and the policy given here allow, and ends by itself.

use std::time::Duration;

use aws_sdk_sts::config::{BehaviorVersion, Region, SharedCredentialsProvider};
use aws_sdk_sts::config::{retry::RetryConfig, timeout::TimeoutConfig};
use secrecy::SecretString;

use crate::address::S3Endpoint;
use crate::credentials::S3Credentials;
use crate::storage::StorageError;
use crate::storage::s3::{Attempt, ServerClock, credentials_of, http_client, server_of};

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// What may stand in a session's name, and how long it may be (AWS STS API reference, AssumeRole,
/// `RoleSessionName`).
const SESSION_NAME_MAX: usize = 64;

/// Asks the token service at `endpoint` for a session of `role_arn` cut to `policy_json`.
///
/// `session_name` shows up in the server's logs; characters that it may not have become `-`.
pub async fn assume_role(
    endpoint: &S3Endpoint,
    role_arn: &str,
    base: &S3Credentials,
    session_name: &str,
    policy_json: &str,
    duration: Duration,
) -> Result<S3Credentials, StorageError> {
    let server = server_of(endpoint)?;
    let clock = ServerClock::default();
    let attempt = Attempt {
        operation: "assume role",
        object: role_arn,
        bucket: "",
        endpoint: &server,
        clock: &clock,
    };
    let seconds = i32::try_from(duration.as_secs())
        .map_err(|_| attempt.other("the session's duration is out of range"))?;
    let answer = client(endpoint, base)
        .assume_role()
        .role_arn(role_arn)
        .role_session_name(allowed(session_name))
        .policy(policy_json)
        .duration_seconds(seconds)
        .send()
        .await
        .map_err(|error| attempt.failed(error))?;
    let session = answer
        .credentials()
        .ok_or_else(|| attempt.unavailable("the answer holds no credentials"))?;
    let expires_at = jiff::Timestamp::from_second(session.expiration().secs())
        .map_err(|error| attempt.other(format!("the session's end is no time: {error}")))?;
    Ok(S3Credentials {
        access_key_id: session.access_key_id().to_owned(),
        secret_access_key: SecretString::from(session.secret_access_key()),
        session_token: Some(SecretString::from(session.session_token())),
        expires_at: Some(expires_at),
    })
}

fn client(endpoint: &S3Endpoint, base: &S3Credentials) -> aws_sdk_sts::Client {
    let mut config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(endpoint.region.clone()))
        .credentials_provider(SharedCredentialsProvider::new(credentials_of(base)))
        .http_client(http_client())
        .timeout_config(
            TimeoutConfig::builder()
                .operation_timeout(ANSWER_LIMIT)
                .build(),
        )
        .retry_config(RetryConfig::standard());
    config.set_endpoint_url(endpoint.endpoint.clone());
    aws_sdk_sts::Client::from_conf(config.build())
}

fn allowed(session_name: &str) -> String {
    let fits =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '=' | ',' | '.' | '@' | '-');
    session_name
        .chars()
        .map(|c| if fits(c) { c } else { '-' })
        .take(SESSION_NAME_MAX)
        .collect()
}

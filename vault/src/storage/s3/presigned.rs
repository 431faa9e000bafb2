//! One signed request that writes one object: the right to put a snapshot, and nothing else, for a minute.
//!
//! It is the fence that the server enforces: the coordinator signs it when it confirms that a run still holds its
//! epoch, for that one snapshot's name, length and SHA-256. After its time the server refuses it, however late the
//! holder wakes up.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::presigning::PresigningConfig;
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::HttpConnector;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use backon::{BackoffBuilder, ExponentialBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout_at};

use super::progress::{Progress, ProgressBody};
use super::{Attempt, ServerClock, chain, client};
use crate::address::{S3Endpoint, VaultAddress};
use crate::credentials::CredentialsCell;
use crate::id::Id;
use crate::storage::StorageError;

/// How much of an error's text is read.
const ERROR_LIMIT: usize = 64 * 1024;

/// A PUT that somebody with more rights has signed. Whoever holds the URL may write this object.
#[derive(Debug, Clone)]
pub struct PresignedPut {
    /// Where, with the signature.
    pub url: SecretString,
    /// Headers that are part of the signature.
    pub headers: BTreeMap<String, String>,
}

/// Signs a PUT of `bytes` bytes with the SHA-256 `sha256` to `name` (below the vault's root), valid for `valid_for`.
pub async fn presign_put(
    address: &VaultAddress,
    endpoint: &S3Endpoint,
    credentials: &CredentialsCell,
    name: &str,
    sha256: &Id,
    bytes: u64,
    valid_for: Duration,
) -> Result<PresignedPut, StorageError> {
    let VaultAddress::S3 { bucket, prefix } = address else {
        return Err(StorageError::Misconfigured {
            why: format!("{address} is no S3 vault: nothing can be signed for it"),
        });
    };
    let key = match prefix.as_str() {
        "" => name.to_owned(),
        prefix => format!("{prefix}/{name}"),
    };
    let object = format!("s3://{bucket}/{key}");
    let failed = |why: String| StorageError::Other {
        operation: "sign",
        object: object.clone(),
        why,
    };
    let length = i64::try_from(bytes).map_err(|error| failed(chain(&error)))?;
    let validity = PresigningConfig::expires_in(valid_for).map_err(|e| failed(chain(&e)))?;
    let client = client::connect(endpoint, credentials.clone(), &ServerClock::default());
    let signed = client
        .put_object()
        .bucket(bucket)
        .key(&key)
        .content_length(length)
        .checksum_sha256(BASE64.encode(sha256.as_bytes()))
        .presigned(validity)
        .await
        .map_err(|error| failed(chain(&error)))?;
    let headers = signed.headers();
    Ok(PresignedPut {
        url: SecretString::from(signed.uri()),
        headers: headers.map(|(n, v)| (n.to_owned(), v.to_owned())).collect(),
    })
}

impl PresignedPut {
    /// Sends `bytes`, retrying passing faults until `deadline`; after it nothing is begun, and what is under way is
    /// given up.
    pub async fn send(&self, bytes: Bytes, deadline: Instant) -> Result<(), StorageError> {
        let target = Target::of(self.url.expose_secret())?;
        let connector = client::connector();
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times()
            .with_jitter()
            .build();
        let mut last = target.attempt().stalled();
        for pause in pauses {
            let sent = self.send_once(&connector, &target, bytes.clone());
            match timeout_at(deadline, sent).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if error.is_retryable() => last = error,
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(last),
            }
            if Instant::now() + pause >= deadline {
                return Err(last);
            }
            tokio::time::sleep(pause).await;
        }
        Err(last)
    }

    async fn send_once(
        &self,
        connector: &Connector,
        target: &Target,
        bytes: Bytes,
    ) -> Result<(), StorageError> {
        let attempt = target.attempt();
        let progress = Progress::begin();
        let length = bytes.len();
        let mut request =
            HttpRequest::new(SdkBody::from_body_1_x(ProgressBody::new(bytes, &progress)));
        let unusable = |error: &dyn std::error::Error| attempt.other(chain(error));
        request
            .set_method("PUT")
            .map_err(|error| unusable(&error))?;
        request
            .set_uri(self.url.expose_secret().to_owned())
            .map_err(|_| attempt.other("the signed address is not a URL"))?;
        for (name, value) in &self.headers {
            request.headers_mut().insert(name.clone(), value.clone());
        }
        request
            .headers_mut()
            .insert("content-length", length.to_string());
        let answer = progress
            .watch(connector.call(request))
            .await
            .ok_or_else(|| attempt.stalled())?;
        let answer = answer.map_err(|error| attempt.unreachable(&chain(&error)))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let (code, message) = explain(&answer);
        Err(attempt.answered(status.as_u16(), &code, Some(&message), &answer))
    }
}

/// Where a signed URL points, without its signature.
struct Target {
    bucket: String,
    object: String,
    endpoint: String,
    clock: ServerClock,
}

impl Target {
    fn of(url: &str) -> Result<Target, StorageError> {
        let url = url::Url::parse(url).map_err(|error| StorageError::Misconfigured {
            why: format!("the signed address is not a URL ({error})"),
        })?;
        let host = url.host_str().unwrap_or_default();
        let endpoint = match url.port() {
            Some(port) => format!("{}://{host}:{port}", url.scheme()),
            None => format!("{}://{host}", url.scheme()),
        };
        let path = url.path().trim_start_matches('/');
        Ok(Target {
            bucket: path.split('/').next().unwrap_or_default().to_owned(),
            object: format!("{endpoint}/{path}"),
            endpoint,
            clock: ServerClock::default(),
        })
    }

    fn attempt(&self) -> Attempt<'_> {
        Attempt {
            operation: "put",
            object: &self.object,
            bucket: &self.bucket,
            endpoint: &self.endpoint,
            clock: &self.clock,
        }
    }
}

/// Code and message out of an error's XML, as far as it came with the headers.
fn explain(answer: &aws_sdk_s3::config::http::HttpResponse) -> (String, String) {
    let text = answer.body().bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&text[..text.len().min(ERROR_LIMIT)]).into_owned();
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0.to_owned())
    };
    (
        between("Code").unwrap_or_default(),
        between("Message").unwrap_or_default(),
    )
}

//! Objects in a bucket.
//!
//! Each upload names its SHA-256, as the checksum the server verifies and as the payload's hash in the signature; an
//! upload that was damaged on its way is refused by the server. An object is one PUT: none of ours is larger than a
//! pack (at most 128 MiB), far below the 5 GiB that one PUT may carry, so there is no multipart upload to abort.
//! Create-if-absent is `If-None-Match: *`, which the probe tries out before it is relied on.

mod client;
mod error;
mod presigned;
mod progress;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_sdk_s3::types::BucketVersioningStatus;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use self::client::KnownPayload;
use self::progress::{Progress, ProgressBody, STALL_LIMIT};
use super::{Backend, ObjectInfo, Page, StorageError};
use crate::address::S3Endpoint;
use crate::credentials::CredentialsCell;
use crate::id::Id;

pub(crate) use self::client::{ServerClock, credentials_of, http_client};
pub(crate) use self::error::{Attempt, chain};
pub use self::presigned::{PresignedPut, presign_put};

/// A folder of a bucket.
#[derive(Debug)]
pub struct S3Backend {
    client: Client,
    clock: ServerClock,
    bucket: String,
    /// `""`, or a folder with its closing slash.
    root: String,
    /// The server, as people write it.
    endpoint: String,
}

impl S3Backend {
    /// The store below `prefix` of `bucket`.
    pub fn new(
        bucket: &str,
        prefix: &str,
        endpoint: &S3Endpoint,
        credentials: CredentialsCell,
    ) -> Result<S3Backend, StorageError> {
        let server = server_of(endpoint)?;
        let clock = ServerClock::default();
        let root = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(S3Backend {
            client: client::connect(endpoint, credentials, &clock),
            clock,
            bucket: bucket.to_owned(),
            root,
            endpoint: server,
        })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.root)
    }

    fn object(&self, name: &str) -> String {
        format!("s3://{}/{}{name}", self.bucket, self.root)
    }

    fn attempt<'a>(&'a self, operation: &'static str, object: &'a str) -> Attempt<'a> {
        Attempt {
            operation,
            object,
            bucket: &self.bucket,
            endpoint: &self.endpoint,
            clock: &self.clock,
        }
    }

    /// Waits for an answer without a body to speak of.
    async fn answer<T, E>(
        &self,
        operation: &'static str,
        name: &str,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, StorageError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let object = self.object(name);
        let attempt = self.attempt(operation, &object);
        match timeout(STALL_LIMIT, request).await {
            Ok(answer) => answer.map_err(|error| attempt.failed(error)),
            Err(_) => Err(attempt.stalled()),
        }
    }

    async fn write(
        &self,
        name: &str,
        bytes: Bytes,
        sha256: &Id,
        if_absent: bool,
    ) -> Result<(), StorageError> {
        let object = self.object(name);
        let attempt = self.attempt("put", &object);
        let length = i64::try_from(bytes.len()).map_err(|error| attempt.other(chain(&error)))?;
        let progress = Progress::begin();
        let body = SdkBody::from_body_1_x(ProgressBody::new(bytes, &progress));
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(name))
            .content_length(length)
            .checksum_sha256(BASE64.encode(sha256.as_bytes()))
            .set_if_none_match(if_absent.then(|| "*".to_owned()))
            .body(ByteStream::new(body))
            .customize()
            .interceptor(KnownPayload(*sha256));
        match progress.watch(request.send()).await {
            Some(answer) => answer.map(|_| ()).map_err(|error| attempt.failed(error)),
            None => Err(attempt.stalled()),
        }
    }

    /// Reads the body of an answer, which must be as long as `expected` or as the answer itself says.
    async fn body(
        &self,
        name: &str,
        answer: GetObjectOutput,
        expected: Option<u64>,
    ) -> Result<Bytes, StorageError> {
        let object = self.object(name);
        let attempt = self.attempt("get", &object);
        let said = answer.content_length().and_then(|n| u64::try_from(n).ok());
        let length = match (expected, said) {
            (Some(expected), Some(said)) if expected != said => {
                let why = format!("{said} bytes came for a range of {expected}");
                return Err(StorageError::TooShort { object, why });
            }
            (Some(length), _) | (None, Some(length)) => length,
            (None, None) => {
                return Err(attempt.unavailable("its answer does not say how long it is"));
            }
        };
        let mut stream = answer.body;
        let mut bytes = BytesMut::with_capacity(usize::try_from(length).unwrap_or(0));
        loop {
            match timeout(STALL_LIMIT, stream.next()).await {
                Err(_) => return Err(attempt.stalled()),
                Ok(None) => break,
                Ok(Some(Ok(piece))) => bytes.extend_from_slice(&piece),
                Ok(Some(Err(error))) => {
                    let why = format!("its answer broke off: {}", chain(&error));
                    return Err(attempt.unavailable(why));
                }
            }
        }
        if bytes.len() as u64 != length {
            let got = bytes.len();
            return Err(attempt.unavailable(format!("{got} of {length} bytes came")));
        }
        Ok(bytes.freeze())
    }
}

#[async_trait]
impl Backend for S3Backend {
    fn location(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.root.trim_end_matches('/'))
            .trim_end_matches('/')
            .to_owned()
    }

    async fn put(&self, name: &str, bytes: Bytes, sha256: &Id) -> Result<(), StorageError> {
        self.write(name, bytes, sha256, false).await
    }

    async fn put_if_absent(
        &self,
        name: &str,
        bytes: Bytes,
        sha256: &Id,
    ) -> Result<(), StorageError> {
        self.write(name, bytes, sha256, true).await
    }

    async fn get(&self, name: &str) -> Result<Bytes, StorageError> {
        let request = self.client.get_object().bucket(&self.bucket);
        let request = request.key(self.key(name)).send();
        let answer = self.answer("get", name, request).await?;
        self.body(name, answer, None).await
    }

    async fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Bytes, StorageError> {
        let Some(more) = length.checked_sub(1) else {
            return Ok(Bytes::new());
        };
        // A range that ends beyond what can be counted is answered as one beyond the object's end.
        let last = offset.saturating_add(more);
        let request = self.client.get_object().bucket(&self.bucket);
        let request = request
            .key(self.key(name))
            .range(format!("bytes={offset}-{last}"))
            .send();
        let answer = self.answer("get", name, request).await?;
        self.body(name, answer, Some(length)).await
    }

    async fn list_page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StorageError> {
        let request = self
            .client
            .list_objects_v2()
            .bucket(&self.bucket)
            .prefix(self.key(prefix))
            .set_start_after(after.map(|name| self.key(name)))
            .send();
        let answer = self.answer("list", prefix, request).await?;
        let mut objects = Vec::with_capacity(answer.contents().len());
        for object in answer.contents() {
            let name = object.key().and_then(|key| key.strip_prefix(&self.root));
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let (Some(name), Some(size_bytes)) = (name, size) else {
                let place = self.object(prefix);
                return Err(self
                    .attempt("list", &place)
                    .other("an entry has no name below the vault, or no size"));
            };
            // Some consoles make an object for each folder; it is nothing of ours.
            if !name.ends_with('/') {
                objects.push(ObjectInfo {
                    name: name.to_owned(),
                    size_bytes,
                });
            }
        }
        let names = after
            .into_iter()
            .chain(objects.iter().map(|o| o.name.as_str()));
        if !names.is_sorted_by(|a, b| a < b) {
            let place = self.object(prefix);
            return Err(self
                .attempt("list", &place)
                .other("the names do not come in ascending order"));
        }
        Ok(Page {
            more: answer.is_truncated().unwrap_or(false) && !objects.is_empty(),
            objects,
        })
    }

    async fn list_folders(&self, prefix: &str) -> Result<Vec<String>, StorageError> {
        let full = self.key(prefix);
        let mut folders = Vec::new();
        let mut token = None;
        loop {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(&full)
                .delimiter("/")
                .set_continuation_token(token)
                .send();
            let answer = self.answer("list", prefix, request).await?;
            let names = answer.common_prefixes().iter().filter_map(|p| p.prefix());
            folders.extend(
                names
                    .filter_map(|name| name.strip_prefix(&full))
                    .map(|name| name.trim_end_matches('/').to_owned()),
            );
            token = answer.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                folders.sort_unstable();
                folders.dedup();
                return Ok(folders);
            }
        }
    }

    async fn delete(&self, name: &str) -> Result<(), StorageError> {
        let request = self.client.delete_object().bucket(&self.bucket);
        let request = request.key(self.key(name)).send();
        match self.answer("delete", name, request).await {
            Err(error) if error.is_not_found() => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StorageError> {
        let request = self.client.head_object().bucket(&self.bucket);
        let request = request.key(self.key(name)).send();
        let answer = self.answer("stat", name, request).await?;
        let size = answer.content_length().and_then(|n| u64::try_from(n).ok());
        let object = self.object(name);
        let size_bytes = size.ok_or_else(|| {
            self.attempt("stat", &object)
                .unavailable("its answer does not say how long it is")
        })?;
        Ok(ObjectInfo {
            name: name.to_owned(),
            size_bytes,
        })
    }

    async fn versioning(&self) -> Result<Option<bool>, StorageError> {
        let request = self.client.get_bucket_versioning().bucket(&self.bucket);
        match self.answer("get", "?versioning", request.send()).await {
            Ok(answer) => Ok(Some(
                answer.status() == Some(&BucketVersioningStatus::Enabled),
            )),
            Err(StorageError::AccessDenied { .. } | StorageError::Other { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The server as people write it. An endpoint that is no URL is refused here, not at the first request.
pub(crate) fn server_of(endpoint: &S3Endpoint) -> Result<String, StorageError> {
    let Some(text) = &endpoint.endpoint else {
        return Ok(format!("Amazon S3 in {}", endpoint.region));
    };
    let misconfigured = |why: String| StorageError::Misconfigured { why };
    let url = url::Url::parse(text)
        .map_err(|error| misconfigured(format!("the endpoint {text:?} is not a URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(misconfigured(format!(
            "the endpoint {text:?} is not an http:// or https:// URL with a host"
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(misconfigured(
            "the endpoint must not carry credentials; give them from a file or the environment"
                .to_owned(),
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

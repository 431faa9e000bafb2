//! What a server's answer means for the caller.
//!
//! Codes are those of the S3 API reference, "Error responses"; where a server sends none (HEAD has no body) the
//! HTTP status decides. Refusals become errors that nobody retries, passing faults errors that the retry wrapper
//! tries again.

use std::error::Error;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use super::client::ServerClock;
use super::progress::STALL_LIMIT;
use crate::storage::StorageError;

/// What was being done when it failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub(crate) operation: &'static str,
    /// Full name of the object.
    pub(crate) object: &'a str,
    pub(crate) bucket: &'a str,
    /// The server, as people write it.
    pub(crate) endpoint: &'a str,
    pub(crate) clock: &'a ServerClock,
}

impl Attempt<'_> {
    /// The server answered, or did not.
    pub(crate) fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> StorageError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            SdkError::ServiceError(answer) => {
                let raw = answer.raw();
                let meta = answer.err().meta();
                let status = raw.status().as_u16();
                let code = meta.code().unwrap_or_default();
                self.answered(status, code, meta.message(), raw)
            }
            SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
                Some(error) => self.unreachable(&chain(error)),
                None => self.unreachable("the request could not be sent"),
            },
            SdkError::TimeoutError(_) => self.stalled(),
            SdkError::ResponseError(answer) => {
                let status = answer.raw().status().as_u16();
                self.unavailable(format!("its answer (HTTP {status}) cannot be read"))
            }
            error => self.other(chain(&error)),
        }
    }

    /// The server answered with an error of its own.
    pub(crate) fn answered(
        &self,
        status: u16,
        code: &str,
        message: Option<&str>,
        raw: &HttpResponse,
    ) -> StorageError {
        let object = self.object.to_owned();
        let why = match (code, message) {
            ("", None | Some("")) => format!("HTTP {status}"),
            ("", Some(message)) => format!("HTTP {status}: {message}"),
            (code, None | Some("")) => format!("{code}, HTTP {status}"),
            (code, Some(message)) => format!("{code}: {message}"),
        };
        match (status, code) {
            (_, "NoSuchBucket") => StorageError::BucketMissing {
                bucket: self.bucket.to_owned(),
            },
            (_, "RequestTimeTooSkewed") => StorageError::ClockSkew {
                endpoint: self.endpoint.to_owned(),
                skew_s: self.clock.learn(raw),
            },
            (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => {
                StorageError::CredentialsExpired { why }
            }
            (_, "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch")
            | (_, "XAmzContentChecksumMismatch" | "IncompleteBody") => {
                StorageError::Corrupt { object, why }
            }
            (_, "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage") | (507, _) => {
                StorageError::Full { object, why }
            }
            (_, "RequestTimeout" | "SlowDown" | "OperationAborted")
            | (_, "ConditionalRequestConflict")
            | (429 | 500 | 502 | 503 | 504, _) => StorageError::Unavailable { object, why },
            (412, _) => StorageError::AlreadyExists { object },
            (404, _) => StorageError::NotFound { object },
            (416, _) => StorageError::TooShort { object, why },
            (401 | 403, _) => StorageError::AccessDenied { object, why },
            _ => self.other(why),
        }
    }

    pub(crate) fn stalled(&self) -> StorageError {
        StorageError::Timeout {
            operation: self.operation,
            object: self.object.to_owned(),
            after: STALL_LIMIT,
        }
    }

    pub(crate) fn unavailable(&self, why: impl Into<String>) -> StorageError {
        StorageError::Unavailable {
            object: self.object.to_owned(),
            why: why.into(),
        }
    }

    pub(crate) fn unreachable(&self, why: &str) -> StorageError {
        StorageError::Unreachable {
            endpoint: self.endpoint.to_owned(),
            why: why.to_owned(),
        }
    }

    pub(crate) fn other(&self, why: impl Into<String>) -> StorageError {
        StorageError::Other {
            operation: self.operation,
            object: self.object.to_owned(),
            why: why.into(),
        }
    }
}

/// An error with its causes, each said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

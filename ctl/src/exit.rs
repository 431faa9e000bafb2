//! How a command ends: the exit code, and the error a person reads.
//!
//! Promise: the one place where gRPC status codes, connection failures and vault errors become exit codes. Scripts rely on
//! the codes; people on the message (what and where) and the hint (what to do).

use std::fmt;

use holdfast_config::{ConfigError, PrivateFileError, SecretError};
use holdfast_identity::{ClientError, ConnectError, IdentityError};
use holdfast_vault::{StorageError, VaultError};
use tonic::{Code, Status};

/// The part of every help text that names the exit codes.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  usage: arguments or configuration
  3  refused: a condition or a role forbids it
  4  not reachable: the coordinator, or the storage
  5  not found
  6  cancelled, or detached with ctrl-C";

/// Why a command did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It was tried and did not work.
    Failed,
    /// Arguments or configuration.
    Usage,
    /// A condition or a role forbids it.
    Refused,
    /// Nobody answered.
    NotReachable,
    /// There is no such thing.
    NotFound,
    /// Somebody ended it.
    Cancelled,
}

impl Class {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::NotReachable => 4,
            Self::NotFound => 5,
            Self::Cancelled => 6,
        }
    }

    /// The word for it in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Refused => "refused",
            Self::NotReachable => "not_reachable",
            Self::NotFound => "not_found",
            Self::Cancelled => "cancelled",
        }
    }
}

/// An error as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandError {
    /// Decides the exit code.
    pub class: Class,
    /// What is wrong, and where. Empty: everything has been said already.
    pub message: String,
    /// What to do next; may be empty.
    pub hint: String,
}

impl CommandError {
    /// An error without a hint.
    pub fn new(class: Class, message: impl fmt::Display) -> Self {
        Self {
            class,
            message: message.to_string(),
            hint: String::new(),
        }
    }

    /// The same with what to do next.
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = hint.to_string();
        self
    }

    /// An end that was explained to the operator before: only the exit code is left to give.
    pub fn silent(class: Class) -> Self {
        Self::new(class, "")
    }

    /// Wrong arguments or configuration.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Class::Usage, message)
    }

    /// It was tried and did not work.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::new(Class::Failed, message)
    }

    /// A condition forbids it.
    pub fn refused(message: impl fmt::Display) -> Self {
        Self::new(Class::Refused, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl fmt::Display) -> Self {
        Self::new(Class::NotFound, message)
    }

    /// What the coordinator at `address` answered instead of a result.
    pub fn from_status(address: &dyn fmt::Display, status: &Status) -> Self {
        if let Some(error) = ConnectError::find(status) {
            return error.into();
        }
        let (message, hint) = split_hint(status.message());
        let class = class_of(status.code());
        if is_transport(status) || class == Class::NotReachable {
            let text = format!("the coordinator at {address} does not answer: {message}");
            let hint = if hint.is_empty() {
                "check that the coordinator runs (systemctl status holdfast-coordinator) and that nothing blocks the way"
            } else {
                hint
            };
            return Self::new(Class::NotReachable, text).hint(hint);
        }
        let message = match status.code() {
            _ if message.is_empty() => {
                format!("the coordinator at {address} answered {}", status.code())
            }
            Code::Unimplemented => {
                format!("the coordinator at {address} does not know this command: {message}")
            }
            Code::Internal | Code::Unknown | Code::DataLoss => {
                format!("the coordinator at {address} failed: {message}")
            }
            _ => message.to_owned(),
        };
        Self::new(class, message).hint(hint)
    }
}

/// Whether the same call may work a little later without anybody doing anything.
pub fn is_worth_retrying(status: &Status) -> bool {
    if let Some(error) = ConnectError::find(status) {
        return error.is_worth_retrying();
    }
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) || is_transport(status)
}

/// The connection broke. A status that came over the wire has no source; one that tonic made of a failure has.
fn is_transport(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

fn class_of(code: Code) -> Class {
    match code {
        Code::InvalidArgument => Class::Usage,
        Code::NotFound => Class::NotFound,
        Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => Class::Refused,
        Code::Unavailable | Code::DeadlineExceeded => Class::NotReachable,
        _ => Class::Failed,
    }
}

/// A message carries its hint after "\nhint: ".
fn split_hint(message: &str) -> (&str, &str) {
    message.split_once("\nhint: ").unwrap_or((message, ""))
}

impl From<&ConnectError> for CommandError {
    fn from(error: &ConnectError) -> Self {
        let class = match error {
            ConnectError::Refused { .. } | ConnectError::Untrusted { .. } => Class::Refused,
            _ => Class::NotReachable,
        };
        let error = Self::new(class, error);
        match class {
            Class::NotReachable => error.hint(
                "on the coordinator's host: systemctl status holdfast-coordinator; the address is in ctl.toml",
            ),
            _ => error,
        }
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        match ConnectError::find(&error) {
            Some(found) => found.into(),
            None => Self::new(Class::NotReachable, error),
        }
    }
}

impl From<IdentityError> for CommandError {
    fn from(error: IdentityError) -> Self {
        Self::usage(error)
    }
}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::usage(error)
    }
}

impl From<SecretError> for CommandError {
    fn from(error: SecretError) -> Self {
        Self::usage(error)
    }
}

impl From<PrivateFileError> for CommandError {
    fn from(error: PrivateFileError) -> Self {
        Self::usage(error)
    }
}

impl From<StorageError> for CommandError {
    fn from(error: StorageError) -> Self {
        let class = match &error {
            StorageError::NotFound { .. } | StorageError::BucketMissing { .. } => Class::NotFound,
            StorageError::AccessDenied { .. }
            | StorageError::CredentialsExpired { .. }
            | StorageError::ClockSkew { .. } => Class::Refused,
            StorageError::Unreachable { .. }
            | StorageError::Timeout { .. }
            | StorageError::Unavailable { .. } => Class::NotReachable,
            StorageError::Misconfigured { .. } => Class::Usage,
            _ => Class::Failed,
        };
        Self::new(class, error)
    }
}

impl From<VaultError> for CommandError {
    fn from(error: VaultError) -> Self {
        let class = match error {
            VaultError::Storage(error) => return error.into(),
            VaultError::NoRepository { .. } | VaultError::NotFound { .. } => Class::NotFound,
            VaultError::Locked { .. } | VaultError::Refused(_) => Class::Refused,
            VaultError::Cancelled => Class::Cancelled,
            _ => Class::Failed,
        };
        Self::new(class, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_exit_code_that_the_help_promises() {
        let table = [
            (Code::InvalidArgument, 2),
            (Code::NotFound, 5),
            (Code::FailedPrecondition, 3),
            (Code::PermissionDenied, 3),
            (Code::Unauthenticated, 3),
            (Code::Unavailable, 4),
            (Code::DeadlineExceeded, 4),
            (Code::Internal, 1),
            (Code::Unknown, 1),
            (Code::AlreadyExists, 1),
            (Code::Unimplemented, 1),
        ];
        for (code, exit) in table {
            let error = CommandError::from_status(&"c:1", &Status::new(code, "x"));
            assert_eq!(error.class.code(), exit, "{code:?}");
            assert!(EXIT_CODES.contains(&format!("\n  {exit}  ")));
        }
    }

    #[test]
    fn the_hint_is_cut_off_the_message() {
        let status = Status::not_found("no source \"x\"\nhint: holdfastctl source list");
        let error = CommandError::from_status(&"c:1", &status);
        assert_eq!(error.message, "no source \"x\"");
        assert_eq!(error.hint, "holdfastctl source list");
    }

    #[test]
    fn an_empty_answer_still_says_where_it_came_from() {
        let error = CommandError::from_status(&"c:1", &Status::new(Code::Internal, ""));
        assert!(error.message.contains("c:1"), "{}", error.message);
    }
}

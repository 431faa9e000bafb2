//! What goes wrong in a run, in the words of the contract.

use holdfast_proto::v1;
use holdfast_sources::{FailureClass, SourceError};
use holdfast_vault::VaultError;

/// Longest message or hint sent, in bytes.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// The failure as the coordinator and the operator get it.
#[must_use]
pub fn failure(error: &SourceError) -> v1::Failure {
    let class = match error.class() {
        // Nothing was written, and the next attempt asks anew.
        _ if is_late(error) => v1::FailureClass::Retryable,
        // A run that was stopped is reported by its reason; without one it was not the run's fault.
        FailureClass::Retryable | FailureClass::Cancelled => v1::FailureClass::Retryable,
        FailureClass::Permanent => v1::FailureClass::Permanent,
        FailureClass::Refused => v1::FailureClass::Refused,
    };
    v1::Failure {
        class: class.into(),
        message: cut(&error.to_string()),
        hint: cut(error.hint()),
    }
}

/// A failure of an assignment that cannot be done here at all.
#[must_use]
pub fn permanent(message: impl Into<String>, hint: impl Into<String>) -> v1::Failure {
    failure(&SourceError::permanent(message, hint))
}

fn is_late(error: &SourceError) -> bool {
    matches!(error, SourceError::Vault(VaultError::CommitTooLate { .. }))
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn classes_and_hints_survive() {
        let refused = failure(&SourceError::refused("3 clients are connected", "end them"));
        assert_eq!(refused.class(), v1::FailureClass::Refused);
        assert_eq!(refused.hint, "end them");
        let locked = SourceError::from(VaultError::LockLost { why: "x".into() });
        assert_eq!(failure(&locked).class(), v1::FailureClass::Retryable);
        let late = SourceError::from(VaultError::CommitTooLate {
            late: Duration::from_secs(3),
        });
        assert_eq!(failure(&late).class(), v1::FailureClass::Retryable);
        let damaged = SourceError::from(VaultError::NotFound { path: "x".into() });
        assert_eq!(failure(&damaged).class(), v1::FailureClass::Permanent);
        let long = failure(&SourceError::permanent("ü".repeat(10_000), ""));
        assert!(long.message.len() <= MAX_TEXT_BYTES);
    }
}

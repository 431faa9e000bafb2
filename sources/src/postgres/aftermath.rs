//! What is left after a swap: the databases are back and serve, and what else was asked for is done or is not.
//!
//! Nothing here undoes the swap. What could not be done makes the run fail, naming it, because no partial success ends
//! like a whole one.

use crate::error::SourceError;
use crate::run::RestoreOutcome;

/// What came of the steps after a swap.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    /// What a person should know.
    pub(crate) told: Vec<String>,
    /// What was asked for and is not done.
    pub(crate) undone: Vec<String>,
}

/// A restore that did only a part of what was asked is no success, although the databases are back.
pub(crate) fn whole_or_failed(
    outcome: RestoreOutcome,
    undone: &[String],
) -> Result<RestoreOutcome, SourceError> {
    if undone.is_empty() {
        return Ok(outcome);
    }
    let back: Vec<&str> = outcome
        .databases
        .iter()
        .map(|database| database.restored_as.as_str())
        .collect();
    Err(SourceError::permanent(
        format!(
            "{} came back and serve, but a part of what was asked is not done: {}",
            back.join(", "),
            undone.join("; ")
        ),
        "do what is left by hand; a new restore is not needed",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RestoredDatabase;

    #[test]
    fn a_part_of_what_was_asked_is_no_success() {
        let outcome = || RestoreOutcome {
            databases: vec![RestoredDatabase {
                restored_as: "app".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        assert!(whole_or_failed(outcome(), &[]).is_ok());
        let undone = ["app_before_0190f5fe89ab could not be dropped".to_owned()];
        let error = whole_or_failed(outcome(), &undone).unwrap_err();
        assert_eq!(error.class(), crate::FailureClass::Permanent);
        assert!(error.to_string().contains("app came back"), "{error}");
        assert!(
            error.to_string().contains("could not be dropped"),
            "{error}"
        );
    }
}

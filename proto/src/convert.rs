//! Wire to domain: the one place where messages from a peer are trusted or rejected.
//!
//! What is malformed is rejected with the field's name. Unknown enum values come from a newer peer: they become
//! `None` or the caller's default, never a panic.

use std::collections::BTreeSet;

use crate::{
    ids::{Epoch, InvalidId, RunId, SnapshotId},
    run::RunState,
    v1,
};

/// A message that cannot be what its sender meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A field that must be there is not.
    #[error("field {0} is missing")]
    Missing(&'static str),
    /// A field holds what it must not.
    #[error("field {field}: {why}")]
    Invalid {
        /// The field's name in the contract.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
}

impl Malformed {
    /// A field that holds what it must not.
    pub fn invalid(field: &'static str, why: impl ToString) -> Self {
        Self::Invalid {
            field,
            why: why.to_string(),
        }
    }
}

impl From<Malformed> for tonic::Status {
    fn from(error: Malformed) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

/// Reads a typed id.
pub fn id<T: std::str::FromStr<Err = InvalidId>>(
    field: &'static str,
    text: &str,
) -> Result<T, Malformed> {
    if text.is_empty() {
        return Err(Malformed::Missing(field));
    }
    text.parse()
        .map_err(|error| Malformed::invalid(field, error))
}

/// A field that must be present.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Malformed> {
    value.ok_or(Malformed::Missing(field))
}

/// Longest name of a source, vault, or agent, in bytes.
pub const NAME_MAX: usize = 63;

/// A name of a source, vault or agent: it becomes a folder in a bucket and a certificate's name, so it is 1 to
/// [`NAME_MAX`] of `a-z 0-9 . _ -` and starts with a letter or digit.
pub fn name(field: &'static str, text: &str) -> Result<String, Malformed> {
    if text.is_empty() {
        return Err(Malformed::Missing(field));
    }
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-');
    let first = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if text.len() > NAME_MAX || !first || !text.chars().all(allowed) {
        return Err(Malformed::invalid(
            field,
            format!(
                "{text:?} is not a name: 1 to {NAME_MAX} of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
            ),
        ));
    }
    Ok(text.into())
}

/// A run and the epoch somebody holds it under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunEpoch {
    /// The run.
    pub run: RunId,
    /// The epoch.
    pub epoch: Epoch,
}

/// Reads the pair that most session messages carry.
pub fn run_epoch(run_id: &str, epoch: u64) -> Result<RunEpoch, Malformed> {
    if epoch == 0 {
        return Err(Malformed::Missing("epoch"));
    }
    Ok(RunEpoch {
        run: id("run_id", run_id)?,
        epoch: Epoch(epoch),
    })
}

impl From<RunState> for v1::RunState {
    fn from(state: RunState) -> Self {
        match state {
            RunState::Queued => Self::Queued,
            RunState::Assigned => Self::Assigned,
            RunState::Running => Self::Running,
            RunState::Committing => Self::Committing,
            RunState::Succeeded => Self::Succeeded,
            RunState::Failed => Self::Failed,
            RunState::Cancelled => Self::Cancelled,
            RunState::Lost => Self::Lost,
        }
    }
}

/// The state behind a wire value; `None` when the peer said nothing or is newer than this build.
#[must_use]
pub fn run_state(value: i32) -> Option<RunState> {
    match v1::RunState::try_from(value).ok()? {
        v1::RunState::Unspecified => None,
        v1::RunState::Queued => Some(RunState::Queued),
        v1::RunState::Assigned => Some(RunState::Assigned),
        v1::RunState::Running => Some(RunState::Running),
        v1::RunState::Committing => Some(RunState::Committing),
        v1::RunState::Succeeded => Some(RunState::Succeeded),
        v1::RunState::Failed => Some(RunState::Failed),
        v1::RunState::Cancelled => Some(RunState::Cancelled),
        v1::RunState::Lost => Some(RunState::Lost),
    }
}

/// What a run is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunTask {
    /// Back the source up.
    Backup(BackupTask),
    /// Restore into the source.
    Restore(RestoreTask),
    /// Drop a copy that a restore left behind.
    DropCopy {
        /// The copy's name.
        database: String,
    },
}

/// How to back up.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackupTask {
    /// `None`: the source's default.
    pub method: Option<String>,
}

/// What to do about the subscriptions of a database that is swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Subscriptions {
    /// Refuse the swap.
    #[default]
    Refuse,
    /// The restored database has none.
    Skip,
    /// The restored database takes them over.
    Move,
}

/// What to restore, from where, into what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoreTask {
    /// `None` only before the coordinator has resolved what the operator typed.
    pub snapshot: Option<SnapshotId>,
    /// The source whose repository holds it.
    pub from_source: String,
    /// Empty: all.
    pub databases: BTreeSet<String>,
    /// `table` or `schema.table`.
    pub tables: BTreeSet<String>,
    /// The new database; `None`: swap in place.
    pub into: Option<String>,
    /// The live schema that receives the tables.
    pub into_schema: Option<String>,
    /// Restore roles and tablespaces, too.
    pub globals: bool,
    /// Drop the previous database at the end.
    pub drop_old: bool,
    /// What to do about subscriptions.
    pub subscriptions: Subscriptions,
    /// Disconnect clients at the swap.
    pub disconnect_clients: bool,
}

/// A checked [`v1::RunSpec`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunOrder {
    /// The source backed up or restored into.
    pub source: String,
    /// `None`: the default vault.
    pub vault: Option<String>,
    /// The work.
    pub task: RunTask,
}

impl TryFrom<v1::RunSpec> for RunOrder {
    type Error = Malformed;

    fn try_from(spec: v1::RunSpec) -> Result<Self, Malformed> {
        let kind = v1::RunKind::try_from(spec.kind).unwrap_or(v1::RunKind::Unspecified);
        let detail = required("spec.detail", spec.detail)?;
        let task = match (kind, detail) {
            (v1::RunKind::Backup, v1::run_spec::Detail::Backup(backup)) => {
                RunTask::Backup(BackupTask {
                    method: filled(backup.method),
                })
            }
            (v1::RunKind::Restore, v1::run_spec::Detail::Restore(restore)) => {
                RunTask::Restore(restore.try_into()?)
            }
            (v1::RunKind::DropCopy, v1::run_spec::Detail::DropCopy(copy)) => {
                let database =
                    filled(copy.database).ok_or(Malformed::Missing("drop_copy.database"))?;
                RunTask::DropCopy { database }
            }
            _ => {
                return Err(Malformed::invalid(
                    "spec.kind",
                    "unknown, or another kind than spec.detail",
                ));
            }
        };
        let vault = filled(spec.vault)
            .map(|vault| name("spec.vault", &vault))
            .transpose()?;
        Ok(Self {
            source: name("spec.source", &spec.source)?,
            vault,
            task,
        })
    }
}

impl TryFrom<v1::RestoreSpec> for RestoreTask {
    type Error = Malformed;

    fn try_from(spec: v1::RestoreSpec) -> Result<Self, Malformed> {
        let snapshot = filled(spec.snapshot_id)
            .map(|text| id("restore.snapshot_id", &text))
            .transpose()?;
        let subscriptions = match v1::SubscriptionChoice::try_from(spec.subscriptions) {
            Ok(v1::SubscriptionChoice::Unspecified) => Subscriptions::Refuse,
            Ok(v1::SubscriptionChoice::Skip) => Subscriptions::Skip,
            Ok(v1::SubscriptionChoice::Move) => Subscriptions::Move,
            Err(_) => {
                return Err(Malformed::invalid(
                    "restore.subscriptions",
                    "unknown choice",
                ));
            }
        };
        let task = Self {
            snapshot,
            from_source: name("restore.from_source", &spec.from_source)?,
            databases: spec.databases.into_iter().collect(),
            tables: spec.tables.into_iter().collect(),
            into: filled(spec.into),
            into_schema: filled(spec.into_schema),
            globals: spec.globals,
            drop_old: spec.drop_old,
            subscriptions,
            disconnect_clients: spec.disconnect_clients,
        };
        task.checked()
    }
}

impl RestoreTask {
    /// Refuses combinations that contradict themselves, before anything starts.
    fn checked(self) -> Result<Self, Malformed> {
        let one_database = self.databases.len() == 1;
        if !self.tables.is_empty() && !one_database {
            return Err(Malformed::invalid(
                "restore.tables",
                "tables need exactly one database: add --database NAME",
            ));
        }
        if self.into.is_some() && !one_database {
            return Err(Malformed::invalid(
                "restore.into",
                "--into needs exactly one database: add --database NAME",
            ));
        }
        if self.into_schema.is_some() && (self.tables.is_empty() || self.into.is_some()) {
            return Err(Malformed::invalid(
                "restore.into_schema",
                "--into-schema goes with --table and without --into",
            ));
        }
        if !self.tables.is_empty() && self.into.is_none() && self.into_schema.is_none() {
            return Err(Malformed::invalid(
                "restore.tables",
                "say where the tables go: a new database (--into NAME) or a schema of the live one (--into-schema NAME)",
            ));
        }
        if self.drop_old && (self.into.is_some() || !self.tables.is_empty()) {
            return Err(Malformed::invalid(
                "restore.drop_old",
                "only a restore in place leaves a previous database",
            ));
        }
        Ok(self)
    }
}

impl From<RunOrder> for v1::RunSpec {
    fn from(order: RunOrder) -> Self {
        let (kind, detail) = match order.task {
            RunTask::Backup(backup) => (
                v1::RunKind::Backup,
                v1::run_spec::Detail::Backup(v1::BackupSpec {
                    method: backup.method.unwrap_or_default(),
                }),
            ),
            RunTask::Restore(restore) => (
                v1::RunKind::Restore,
                v1::run_spec::Detail::Restore(restore.into()),
            ),
            RunTask::DropCopy { database } => (
                v1::RunKind::DropCopy,
                v1::run_spec::Detail::DropCopy(v1::DropCopySpec { database }),
            ),
        };
        Self {
            kind: kind.into(),
            source: order.source,
            vault: order.vault.unwrap_or_default(),
            detail: Some(detail),
        }
    }
}

impl From<RestoreTask> for v1::RestoreSpec {
    fn from(task: RestoreTask) -> Self {
        let subscriptions = match task.subscriptions {
            Subscriptions::Refuse => v1::SubscriptionChoice::Unspecified,
            Subscriptions::Skip => v1::SubscriptionChoice::Skip,
            Subscriptions::Move => v1::SubscriptionChoice::Move,
        };
        Self {
            snapshot_id: task.snapshot.map(String::from).unwrap_or_default(),
            from_source: task.from_source,
            databases: task.databases.into_iter().collect(),
            tables: task.tables.into_iter().collect(),
            into: task.into.unwrap_or_default(),
            into_schema: task.into_schema.unwrap_or_default(),
            globals: task.globals,
            drop_old: task.drop_old,
            subscriptions: subscriptions.into(),
            disconnect_clients: task.disconnect_clients,
        }
    }
}

/// The wire's empty text means "not given".
fn filled(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn restore() -> v1::RestoreSpec {
        v1::RestoreSpec {
            from_source: "orders-db".into(),
            ..Default::default()
        }
    }

    fn spec(detail: v1::run_spec::Detail) -> v1::RunSpec {
        v1::RunSpec {
            kind: v1::RunKind::Restore.into(),
            source: "orders-db".into(),
            vault: String::new(),
            detail: Some(detail),
        }
    }

    #[test]
    fn a_run_order_survives_the_wire() {
        let wire = v1::RestoreSpec {
            snapshot_id: "ab".repeat(32),
            databases: vec!["app".into()],
            tables: vec!["public.t".into()],
            into: "app2".into(),
            subscriptions: v1::SubscriptionChoice::Skip.into(),
            ..restore()
        };
        let order = RunOrder::try_from(spec(v1::run_spec::Detail::Restore(wire))).expect("valid");
        assert_eq!(
            RunOrder::try_from(v1::RunSpec::from(order.clone())),
            Ok(order)
        );
    }

    #[test]
    fn the_malformed_is_rejected_with_its_fields_name() {
        let bad = v1::RestoreSpec {
            snapshot_id: "zz".into(),
            ..restore()
        };
        let error =
            RunOrder::try_from(spec(v1::run_spec::Detail::Restore(bad))).expect_err("bad id");
        assert!(error.to_string().contains("restore.snapshot_id"), "{error}");
        let error = RunOrder::try_from(spec(v1::run_spec::Detail::Backup(
            v1::BackupSpec::default(),
        )))
        .expect_err("mixed");
        assert!(error.to_string().contains("spec.kind"), "{error}");
        let two = v1::RestoreSpec {
            into: "x".into(),
            ..restore()
        };
        assert!(RestoreTask::try_from(two).is_err());
        assert_eq!(run_epoch("", 1), Err(Malformed::Missing("run_id")));
        assert_eq!(
            run_epoch(&RunId::new().to_string(), 0),
            Err(Malformed::Missing("epoch"))
        );
    }

    #[test]
    fn a_newer_peers_unknown_values_are_no_panic() {
        assert_eq!(run_state(4711), None);
        let future = v1::RunSpec {
            kind: 99,
            ..spec(v1::run_spec::Detail::Restore(restore()))
        };
        assert!(RunOrder::try_from(future).is_err());
        let mut bytes = v1::HeldRun {
            run_id: "x".into(),
            epoch: 3,
            state: 77,
        }
        .encode_to_vec();
        bytes.extend([0xfa, 0x3f, 0x03, b'n', b'e', b'w']);
        let held = v1::HeldRun::decode(bytes.as_slice()).expect("unknown fields are skipped");
        assert_eq!((held.epoch, run_state(held.state)), (3, None));
    }

    #[test]
    fn states_survive_the_wire() {
        for state in RunState::ALL {
            assert_eq!(run_state(v1::RunState::from(state) as i32), Some(state));
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }

    #[test]
    fn names_are_fit_for_buckets_and_certificates() {
        for good in ["a", "orders-db", "db.eu_1", &"x".repeat(NAME_MAX)] {
            assert_eq!(name("name", good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "-a",
            ".",
            "../x",
            "A",
            "a/b",
            "a b",
            "ä",
            &"x".repeat(NAME_MAX + 1),
        ] {
            assert!(name("name", bad).is_err(), "{bad}");
        }
    }
}

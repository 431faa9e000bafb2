//! Where a snapshot stands: does it count, or is it only there.

use std::fmt;
use std::str::FromStr;

use holdfast_proto::ids::SnapshotId;
use holdfast_proto::v1;

/// The standing of a snapshot in the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotStanding {
    /// The result of a run that was permitted to commit it.
    Committed,
    /// Written without permission or late: restorable by id, never "latest", never counted.
    Orphan,
    /// Found by a scan; this state knows no run that wrote it.
    Found,
    /// In the catalog, not in the vault any more.
    Missing,
}

impl SnapshotStanding {
    /// Every standing.
    pub const ALL: [Self; 4] = [Self::Committed, Self::Orphan, Self::Found, Self::Missing];

    /// The word for it in the state.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Orphan => "orphan",
            Self::Found => "found",
            Self::Missing => "missing",
        }
    }

    /// Whether "latest" and the figures take it into account.
    #[must_use]
    pub fn counts(self) -> bool {
        matches!(self, Self::Committed | Self::Found)
    }
}

impl fmt::Display for SnapshotStanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SnapshotStanding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|standing| standing.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no standing of a snapshot"))
    }
}

impl From<SnapshotStanding> for v1::SnapshotStanding {
    fn from(standing: SnapshotStanding) -> Self {
        match standing {
            SnapshotStanding::Committed => Self::Committed,
            SnapshotStanding::Orphan => Self::Orphan,
            SnapshotStanding::Found => Self::Found,
            SnapshotStanding::Missing => Self::Missing,
        }
    }
}

/// What the state knows of the run that a found snapshot names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    /// The run has ended.
    pub ended: bool,
    /// The snapshot it succeeded with.
    pub result: Option<SnapshotId>,
    /// The snapshot it is or was permitted to commit.
    pub permitted: Option<SnapshotId>,
}

/// The standing of a snapshot that a scan came upon. `None`: its run is still under way and will say itself.
#[must_use]
pub fn standing_of_found(
    snapshot: &SnapshotId,
    writer: Option<&Writer>,
) -> Option<SnapshotStanding> {
    let Some(writer) = writer else {
        return Some(SnapshotStanding::Found);
    };
    if writer.result.as_ref() == Some(snapshot) {
        return Some(SnapshotStanding::Committed);
    }
    let may_be_reported = !writer.ended && writer.permitted.as_ref() == Some(snapshot);
    (!may_be_reported).then_some(SnapshotStanding::Orphan)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: &str) -> SnapshotId {
        digit.repeat(64).parse().expect("valid")
    }

    #[test]
    fn a_found_snapshot_counts_unless_its_run_is_known_not_to_have_committed_it() {
        let writer = |ended, result: Option<&str>, permitted: Option<&str>| Writer {
            ended,
            result: result.map(id),
            permitted: permitted.map(id),
        };
        let standing = |writer: Option<Writer>| standing_of_found(&id("a"), writer.as_ref());
        assert_eq!(standing(None), Some(SnapshotStanding::Found));
        assert_eq!(
            standing(Some(writer(true, Some("a"), Some("a")))),
            Some(SnapshotStanding::Committed)
        );
        assert_eq!(
            standing(Some(writer(true, Some("b"), Some("b")))),
            Some(SnapshotStanding::Orphan)
        );
        assert_eq!(
            standing(Some(writer(true, None, Some("a")))),
            Some(SnapshotStanding::Orphan)
        );
        assert_eq!(standing(Some(writer(false, None, Some("a")))), None);
        assert_eq!(
            standing(Some(writer(false, None, None))),
            Some(SnapshotStanding::Orphan)
        );
    }

    #[test]
    fn words_come_back() {
        for standing in SnapshotStanding::ALL {
            assert_eq!(standing.as_str().parse(), Ok(standing));
        }
    }
}

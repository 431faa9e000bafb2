//! Snapshots as the vault itself names them.
//!
//! Without the coordinator's state nobody knows which run was permitted to commit: standing is not told, and `latest` is the
//! newest there is.

use holdfast_proto::v1;
use holdfast_vault::{SnapshotId, SnapshotInfo};

use crate::exit::CommandError;
use crate::output::human::moment;

/// The newest first, at most `limit`.
pub fn newest(
    mut all: Vec<SnapshotInfo>,
    limit: u32,
    source: &str,
    vault: &str,
) -> Vec<v1::Snapshot> {
    all.sort_by_key(|info| std::cmp::Reverse(info.snapshot.time));
    all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    all.iter()
        .map(|info| describe(info, source, vault))
        .collect()
}

fn describe(info: &SnapshotInfo, source: &str, vault: &str) -> v1::Snapshot {
    let snapshot = &info.snapshot;
    let tag = |key: &str| snapshot.tag(key).unwrap_or_default().to_owned();
    v1::Snapshot {
        id: info.id.to_hex(),
        source: source.to_owned(),
        vault: vault.to_owned(),
        kind: tag("kind"),
        method: tag("method"),
        time_micros: snapshot.time.as_microsecond(),
        host: snapshot.hostname.clone(),
        run_id: tag("run"),
        epoch: tag("epoch").parse().unwrap_or_default(),
        tags: snapshot.tags().to_vec(),
        ..Default::default()
    }
}

/// The one snapshot that `text` means.
pub fn select(all: &[SnapshotInfo], text: &str, source: &str) -> Result<SnapshotId, CommandError> {
    if text == "latest" {
        let newest = all.iter().max_by_key(|info| info.snapshot.time);
        let none = || CommandError::not_found(format!("the vault holds no snapshot of {source}"));
        return newest.map(|info| info.id).ok_or_else(none);
    }
    let fits = |info: &&SnapshotInfo| !text.is_empty() && info.id.to_hex().starts_with(text);
    let found: Vec<&SnapshotInfo> = all.iter().filter(fits).collect();
    match found.as_slice() {
        [one] => Ok(one.id),
        [] => Err(CommandError::not_found(format!(
            "the vault holds no snapshot {text:?} of {source}"
        ))
        .hint("holdfastctl snapshot list with the same --kit and --source")),
        [first, second, ..] => Err(CommandError::usage(format!(
            "{text:?} is the beginning of several snapshots: {} of {}, {} of {}",
            first.id.short(),
            moment(first.snapshot.time.as_microsecond()),
            second.id.short(),
            moment(second.snapshot.time.as_microsecond()),
        ))
        .hint("give more digits")),
    }
}

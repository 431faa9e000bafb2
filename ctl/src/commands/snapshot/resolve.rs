//! Which snapshot an operator means: `latest`, an id or its beginning, or a time.

use holdfast_proto::v1;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::client::{Client, Control, QUICK};
use crate::commands::snapshot::list;
use crate::exit::CommandError;
use crate::output::human::moment;

/// Enough to look back through years of hourly backups.
const LOOK_BACK: u32 = 100_000;

/// The snapshot of `source` that `text` means.
pub async fn snapshot(
    client: &Client,
    source: &str,
    text: &str,
) -> Result<v1::Snapshot, CommandError> {
    if text == "latest" {
        return latest(client, source).await;
    }
    if let Some(time) = time(text) {
        return at_or_before(client, source, time).await;
    }
    let found = by_id(client, text).await?;
    if found.source != source {
        return Err(CommandError::usage(format!(
            "snapshot {text} is one of {:?}, not of {source:?}",
            found.source
        ))
        .hint(format!(
            "to restore it elsewhere: holdfastctl restore {} --snapshot {text} --to AGENT/{source}",
            found.source
        )));
    }
    Ok(found)
}

/// The snapshot with this id or beginning of one.
pub async fn by_id(client: &Client, text: &str) -> Result<v1::Snapshot, CommandError> {
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if text.is_empty() || !text.chars().all(hex) {
        return Err(CommandError::usage(format!("{text:?} is neither a snapshot's id nor a time"))
            .hint("ids: holdfastctl snapshot list; times: 2026-07-01T12:00:00Z, or 2026-07-01 12:00 in this host's time zone"));
    }
    let request = v1::GetSnapshotRequest {
        snapshot_id: text.to_owned(),
    };
    let call = |mut control: Control| async move { control.get_snapshot(request).await };
    client.call(QUICK, call).await
}

async fn latest(client: &Client, source: &str) -> Result<v1::Snapshot, CommandError> {
    let request = v1::GetSourceRequest {
        name: source.to_owned(),
    };
    let call = |mut control: Control| async move { control.get_source(request).await };
    let found = client.call(QUICK, call).await?;
    match found.latest {
        Some(latest) => by_id(client, &latest.id).await,
        None => Err(
            CommandError::not_found(format!("{source} has no snapshot to restore")).hint(format!(
                "orphans are restored by id: holdfastctl snapshot list --source {source} --orphans"
            )),
        ),
    }
}

/// Asks for one moment's snapshot. Lists leave the manifests out, so that the one found is fetched whole.
async fn at_or_before(
    client: &Client,
    source: &str,
    time: Timestamp,
) -> Result<v1::Snapshot, CommandError> {
    let request = v1::ListSnapshotsRequest {
        source: source.to_owned(),
        limit: LOOK_BACK,
        ..Default::default()
    };
    let snapshots = list(client, request).await?;
    let limit = time.as_microsecond();
    let missing = i32::from(v1::SnapshotStanding::Missing);
    let fits =
        |snapshot: &v1::Snapshot| snapshot.time_micros <= limit && snapshot.standing != missing;
    let newest = snapshots
        .into_iter()
        .filter(fits)
        .max_by_key(|snapshot| snapshot.time_micros);
    match newest {
        Some(newest) => by_id(client, &newest.id).await,
        None => Err(CommandError::not_found(format!(
            "{source} has no snapshot at or before {}",
            moment(limit)
        ))
        .hint(format!("holdfastctl snapshot list --source {source}"))),
    }
}

/// RFC 3339, or a date with or without a time in this host's time zone.
fn time(text: &str) -> Option<Timestamp> {
    // Eight digits alone are the beginning of an id.
    if !text.contains('-') {
        return None;
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let civil: DateTime = text.parse().ok()?;
    let zoned = civil.to_zoned(TimeZone::system()).ok()?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_ids() {
        for text in [
            "2026-07-01T12:00:00Z",
            "2026-07-01T12:00:00+02:00",
            "2026-07-01 12:00",
            "2026-07-01",
        ] {
            assert!(time(text).is_some(), "{text}");
        }
        for text in ["20260701", "12345678", "deadbeef", "0190a1b2", "latest", ""] {
            let is_time = time(text).is_some();
            assert!(!is_time, "{text}");
        }
    }
}

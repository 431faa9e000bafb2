//! From what an operator types to a run or a snapshot.

use holdfast_proto::v1;
use sqlx::AnyConnection;

use crate::clock::readable;
use crate::fault::{Fault, Result};
use crate::store::runs::{self, RunRecord};
use crate::store::snapshots::{self, Filter, SnapshotRecord};

/// Shortest prefix of an id that is looked for.
const SHORTEST_PREFIX: usize = 4;

/// The run with this id or unique prefix.
pub async fn run(connection: &mut AnyConnection, text: &str) -> Result<RunRecord> {
    check_prefix("run", text)?;
    let mut found = runs::by_prefix(connection, text, 2).await?;
    match (found.pop(), found.is_empty()) {
        (Some(run), true) => Ok(run),
        (None, _) => {
            Err(Fault::NotFound(format!("no run {text}")).hint("holdfastctl run list shows them"))
        }
        (Some(_), false) => {
            Err(Fault::Invalid(format!("several runs begin with {text}"))
                .hint("give more of the id"))
        }
    }
}

/// The snapshot with this id or unique prefix, of `source` (empty: of any).
pub async fn snapshot(
    connection: &mut AnyConnection,
    text: &str,
    source: &str,
) -> Result<SnapshotRecord> {
    check_prefix("snapshot", text)?;
    let found = snapshots::by_prefix(connection, text, source, 10).await?;
    let of = if source.is_empty() {
        String::new()
    } else {
        format!(" of source {source}")
    };
    let Some(first) = found.first() else {
        return Err(Fault::NotFound(format!("no snapshot {text}{of}"))
            .hint("holdfastctl snapshot list --orphans shows all that are known; holdfastctl vault scan reads them from the vault"));
    };
    // The same snapshot may lie in two vaults.
    if found.iter().any(|other| other.id != first.id) {
        return Err(
            Fault::Invalid(format!("several snapshots{of} begin with {text}"))
                .hint("give more of the id"),
        );
    }
    Ok(first.clone())
}

/// The snapshot that "latest", an id, a prefix, or an RFC 3339 time means for `source` in `vault` (empty: in any).
pub async fn snapshot_choice(
    connection: &mut AnyConnection,
    choice: &str,
    source: &str,
    vault: &str,
) -> Result<SnapshotRecord> {
    if choice.is_empty() || choice == "latest" {
        return newest(connection, source, vault, 0).await;
    }
    if !choice.bytes().all(|b| b.is_ascii_hexdigit()) {
        let until = choice.parse::<jiff::Timestamp>().map_err(|_| {
            Fault::Invalid(format!(
                "{choice:?} is neither latest, nor a snapshot id, nor a time with its zone such as 2025-03-01T12:00:00Z"
            ))
        })?;
        return newest(connection, source, vault, until.as_microsecond()).await;
    }
    let found = snapshot(connection, choice, source).await?;
    if !vault.is_empty() && found.vault != vault {
        return Err(Fault::NotFound(format!(
            "snapshot {choice} is in vault {}, not in {vault}",
            found.vault
        )));
    }
    Ok(found)
}

/// The newest that counts, not after `until` (0: no bound).
async fn newest(
    connection: &mut AnyConnection,
    source: &str,
    vault: &str,
    until: i64,
) -> Result<SnapshotRecord> {
    let filter = Filter {
        source: source.into(),
        vault: vault.into(),
        include_orphans: false,
        until_micros: until,
        limit: 1,
    };
    let before = if until == 0 {
        String::new()
    } else {
        format!(" at or before {}", readable(until))
    };
    snapshots::list(connection, &filter).await?.pop().ok_or_else(|| {
        Fault::NotFound(format!("no snapshot of source {source}{before}"))
            .hint("holdfastctl snapshot list shows what is known; holdfastctl vault scan NAME reads it from the vault")
    })
}

fn check_prefix(what: &str, text: &str) -> Result<()> {
    if text.len() >= SHORTEST_PREFIX {
        return Ok(());
    }
    Err(Fault::Invalid(format!(
        "{text:?} is too short for a {what} id: give at least {SHORTEST_PREFIX} digits"
    )))
}

/// The restore part of a request, where it is one.
pub fn restore_of(spec: &mut v1::RunSpec) -> Option<&mut v1::RestoreSpec> {
    match &mut spec.detail {
        Some(v1::run_spec::Detail::Restore(restore)) => Some(restore),
        _ => None,
    }
}

//! Subscriptions and logical replication slots of a database that is swapped.
//!
//! A subscription's worker is a client of its database, so it is disabled before the swap; and one publisher's slot serves
//! one subscription, so before a database with a subscription is dropped the subscription is disabled, parted from
//! its slot, and dropped, in this order. What cannot be moved is left as it is and told.

use super::aftermath::Rest;
use super::catalog::query;
use super::connect::Session;
use super::restore::{Restore, Target};
use super::sql::{ident, literal};
use crate::error::SourceError;
use crate::run::Subscriptions;

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub name: String,
    pub enabled: bool,
    /// The publisher's slot.
    pub slot: Option<String>,
}

/// The subscriptions of `database`, seen from any session.
pub(crate) async fn of_database(
    session: &Session,
    database: &str,
) -> Result<Vec<Subscription>, SourceError> {
    let sql = "SELECT s.subname, s.subenabled, s.subslotname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
         WHERE d.datname = $1 ORDER BY s.subname";
    let rows = query(session, sql, &[&database], "listing the subscriptions").await?;
    Ok(rows
        .iter()
        .map(|row| Subscription {
            name: row.get(0),
            enabled: row.get(1),
            slot: row.get(2),
        })
        .collect())
}

/// Takes all subscriptions of the session's database away, and leaves their publishers' slots alone.
pub(crate) async fn part_and_drop(inside: &Session) -> Result<(), SourceError> {
    for name in own_names(inside).await? {
        let name = ident(&name);
        let doing = "parting a copy's subscription from its slot";
        inside
            .run(&format!("ALTER SUBSCRIPTION {name} DISABLE"), doing)
            .await?;
        inside
            .run(
                &format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"),
                doing,
            )
            .await?;
        inside
            .run(
                &format!("DROP SUBSCRIPTION {name}"),
                "dropping a copy's subscription",
            )
            .await?;
    }
    Ok(())
}

async fn own_names(inside: &Session) -> Result<Vec<String>, SourceError> {
    let sql = "SELECT s.subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = current_database() ORDER BY 1";
    super::catalog::names(inside, sql, &[], "listing the subscriptions").await
}

/// Enables or disables subscriptions of the session's database.
pub(crate) async fn switch(
    inside: &Session,
    names: &[String],
    on: bool,
) -> Result<(), SourceError> {
    let (verb, doing) = if on {
        ("ENABLE", "enabling a subscription")
    } else {
        ("DISABLE", "disabling a subscription")
    };
    for name in names {
        inside
            .run(&format!("ALTER SUBSCRIPTION {} {verb}", ident(name)), doing)
            .await?;
    }
    Ok(())
}

/// One logical slot that consumers of a database read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    pub name: String,
    plugin: String,
    two_phase: bool,
}

/// The lasting logical slots of `database`.
pub(crate) async fn slots_of_database(
    session: &Session,
    database: &str,
) -> Result<Vec<Slot>, SourceError> {
    let sql = "SELECT slot_name, plugin, two_phase FROM pg_replication_slots WHERE database = $1 AND slot_type = 'logical' AND NOT temporary ORDER BY 1";
    let rows = query(session, sql, &[&database], "listing the replication slots").await?;
    Ok(rows
        .iter()
        .map(|row| Slot {
            name: row.get(0),
            plugin: row.get(1),
            two_phase: row.get(2),
        })
        .collect())
}

/// After the swap: moves what is to be moved, and tells what is not. Done again, it finds nothing left to move.
pub(crate) async fn after_swap(restore: &Restore<'_>, targets: &[Target<'_>]) -> Rest {
    let mut rest = Rest::default();
    for target in targets {
        let outcome = match restore.request.subscriptions {
            _ if restore.request.into.is_some() => Ok(left_out(target)),
            Subscriptions::Move => moved(restore, target, &mut rest.told)
                .await
                .map(|()| Vec::new()),
            Subscriptions::Skip | Subscriptions::Refuse => skipped(restore, target).await,
        };
        match outcome {
            Ok(sentences) => rest.told.extend(sentences),
            Err(error) => rest.undone.push(format!(
                "the subscriptions or slots of {} are not settled: {error}",
                target.name
            )),
        }
    }
    rest
}

fn left_out(target: &Target<'_>) -> Vec<String> {
    let sentence = |name: &String| {
        format!(
            "subscription {name} of {} is not restored",
            target.manifest.name()
        )
    };
    target.manifest.subscriptions.iter().map(sentence).collect()
}

async fn skipped(restore: &Restore<'_>, target: &Target<'_>) -> Result<Vec<String>, SourceError> {
    let mut told = left_out(target);
    if target.replaces {
        for subscription in of_database(&restore.control, &target.before).await? {
            if let Some(slot) = subscription.slot {
                told.push(format!(
                    "subscription {} stays disabled in {}; its slot {slot} on the publisher keeps its log until it is dropped there",
                    subscription.name, target.before
                ));
            }
        }
        for slot in slots_of_database(&restore.control, &target.before).await? {
            told.push(format!(
                "replication slot {} stays with {} and keeps the server's log until it is dropped",
                slot.name, target.before
            ));
        }
    }
    Ok(told)
}

async fn moved(
    restore: &Restore<'_>,
    target: &Target<'_>,
    told: &mut Vec<String>,
) -> Result<(), SourceError> {
    move_subscriptions(restore, target, told).await?;
    if target.replaces {
        move_slots(restore, target, told).await?;
    }
    Ok(())
}

async fn move_subscriptions(
    restore: &Restore<'_>,
    target: &Target<'_>,
    told: &mut Vec<String>,
) -> Result<(), SourceError> {
    let restored = of_database(&restore.control, &target.name).await?;
    let previous = if target.replaces {
        of_database(&restore.control, &target.before).await?
    } else {
        Vec::new()
    };
    // The old ones let their slots go first: a slot serves one subscription at a time.
    if !previous.is_empty() {
        let inside = restore.server.connect(&target.before).await?;
        for subscription in &previous {
            let name = &subscription.name;
            if !restored.iter().any(|other| other.name == *name) {
                told.push(format!(
                    "subscription {name} is younger than the backup: it stays disabled in {}",
                    target.before
                ));
            } else if subscription.slot.is_some() {
                let statement =
                    format!("ALTER SUBSCRIPTION {} SET (slot_name = NONE)", ident(name));
                inside
                    .run(
                        &statement,
                        "parting the previous subscription from its slot",
                    )
                    .await?;
            }
        }
        inside.close().await;
    }
    let disabled: Vec<&Subscription> = restored
        .iter()
        .filter(|subscription| !subscription.enabled)
        .collect();
    if disabled.is_empty() {
        return Ok(());
    }
    let inside = restore.server.connect(&target.name).await?;
    for subscription in disabled {
        let name = ident(&subscription.name);
        inside
            .run(
                &format!("ALTER SUBSCRIPTION {name} ENABLE"),
                "enabling the moved subscription",
            )
            .await?;
        inside
            .run(
                &format!("ALTER SUBSCRIPTION {name} REFRESH PUBLICATION WITH (copy_data = false)"),
                "refreshing the moved subscription",
            )
            .await?;
        told.push(format!(
            "subscription {} goes on from where its slot stands: what the publisher sent between {} and the swap is not in {}; \
             truncate its tables and refresh it with copy_data to close the gap",
            subscription.name, target.manifest.snapshot_time, target.name
        ));
    }
    inside.close().await;
    Ok(())
}

async fn move_slots(
    restore: &Restore<'_>,
    target: &Target<'_>,
    told: &mut Vec<String>,
) -> Result<(), SourceError> {
    let slots = slots_of_database(&restore.control, &target.before).await?;
    if slots.is_empty() {
        return Ok(());
    }
    let inside = restore.server.connect(&target.name).await?;
    for slot in slots {
        let name = literal(&slot.name);
        restore
            .control
            .run(
                &format!("SELECT pg_drop_replication_slot({name})"),
                "moving a replication slot",
            )
            .await?;
        let create = format!(
            "SELECT pg_create_logical_replication_slot({name}, {}, false, {})",
            literal(&slot.plugin),
            slot.two_phase
        );
        inside.run(&create, "moving a replication slot").await?;
        told.push(format!(
            "replication slot {} begins anew in {}: its consumers must copy their tables again",
            slot.name, target.name
        ));
    }
    inside.close().await;
    Ok(())
}

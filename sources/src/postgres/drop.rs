//! Takes databases away that this program made: half-made copies, and copies of what was there before a restore.
//!
//! Ordering: a database's subscriptions go first, each disabled, then parted from its slot, then dropped. A copy's
//! subscription has the slot's name of the live one: dropped as it is, it would take the live publisher's slot with it.

use super::Postgres;
use super::catalog::{self, query};
use super::connect::{Server, Session};
use super::sql::ident;
use super::{create, names, subscriptions};
use crate::error::SourceError;
use crate::run::RunContext;

/// Drops `name` with whoever works in it; nothing when it is not there. `control` is a session in another database.
pub(crate) async fn drop_database(
    server: &Server,
    control: &Session,
    name: &str,
) -> Result<(), SourceError> {
    if catalog::database_oid(control, name).await?.is_none() {
        return Ok(());
    }
    if !subscriptions::of_database(control, name).await?.is_empty() {
        let inside = server.connect(name).await?;
        subscriptions::part_and_drop(&inside).await?;
        inside.close().await;
    }
    // A template cannot be dropped.
    control
        .run(
            &format!("ALTER DATABASE {} IS_TEMPLATE false", ident(name)),
            "dropping a copy",
        )
        .await?;
    control
        .run(
            &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", ident(name)),
            &format!("dropping {name}"),
        )
        .await
}

/// Drops the copy that a restore left behind.
pub(crate) async fn drop_copy(
    postgres: &Postgres,
    database: &str,
    context: &RunContext,
) -> Result<(), SourceError> {
    if !names::is_before(database) {
        return Err(SourceError::refused(
            format!("{database} is no copy that a restore left behind"),
            "such a copy is named NAME_before_<run>; other databases are dropped with DROP DATABASE",
        ));
    }
    context.reporter.phase(&format!("dropping {database}"));
    let control = postgres
        .server
        .connect(&postgres.config.maintenance_database)
        .await?;
    if catalog::database_oid(&control, database).await?.is_none() {
        return Err(SourceError::permanent(
            format!("there is no database {database}"),
            "it may have been dropped already",
        ));
    }
    let clients = clients(&control, database).await?;
    if !clients.is_empty() {
        return Err(SourceError::refused(
            format!("{database} is in use by {}", clients.join("; ")),
            "end these sessions, then drop it again",
        ));
    }
    context.gate.enter().await?;
    for slot in slots_left_behind(&control, database).await? {
        context.reporter.log("warn", &slot);
    }
    drop_database(&postgres.server, &control, database).await
}

/// Sentences about slots on publishers that nobody uses once the copy is gone.
async fn slots_left_behind(control: &Session, database: &str) -> Result<Vec<String>, SourceError> {
    let subscriptions = subscriptions::of_database(control, database).await?;
    let sentence = |subscription: &subscriptions::Subscription| {
        let slot = subscription.slot.as_ref()?;
        Some(format!(
            "subscription {} used the slot {slot} of its publisher, which stays there and keeps its log: if nobody uses it, \
             drop it there with SELECT pg_drop_replication_slot('{slot}')",
            subscription.name
        ))
    };
    Ok(subscriptions.iter().filter_map(sentence).collect())
}

/// Drops half-made copies of runs that are not in `alive`.
pub(crate) async fn sweep(
    postgres: &Postgres,
    alive: &[String],
) -> Result<Vec<String>, SourceError> {
    let control = postgres
        .server
        .connect(&postgres.config.maintenance_database)
        .await?;
    let alive: Vec<String> = alive.iter().map(|run| names::run_tag(run)).collect();
    let sql =
        "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database ORDER BY datname";
    let mut swept = Vec::new();
    for row in query(&control, sql, &[], "looking for half-made copies").await? {
        let (name, comment): (String, Option<String>) = (row.get(0), row.get(1));
        // A copy without any comment died between its creation and its comment.
        let ours = comment.is_none_or(|comment| comment.starts_with(create::COPY_COMMENT));
        if let Some(tag) = names::restoring_tag(&name)
            && ours
            && !alive.iter().any(|run| run == tag)
        {
            drop_database(&postgres.server, &control, &name).await?;
            swept.push(name);
        }
    }
    Ok(swept)
}

/// Sessions in `database` besides ours, for people.
pub(crate) async fn clients(control: &Session, database: &str) -> Result<Vec<String>, SourceError> {
    let sql = "SELECT format('process %s of %s (%s%s)', a.pid, coalesce(a.usename, '?'), coalesce(nullif(a.application_name, ''), a.backend_type), \
         coalesce(' from ' || host(a.client_addr), '')) FROM pg_stat_activity a WHERE a.datname = $1 AND a.pid <> pg_backend_pid() \
         AND a.backend_type IN ('client backend', 'walsender') ORDER BY a.pid LIMIT 10";
    catalog::names(control, sql, &[&database], "listing the connected clients").await
}

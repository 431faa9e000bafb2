//! The swap: the restored copies take the names, what was there becomes `NAME_before_<run>`.
//!
//! Ordering argument. ALTER DATABASE ... RENAME takes the database's lock, at which new connections wait, and then waits up to
//! five seconds for the sessions that are in it to end; this holds until the transaction does. All renames are in one
//! transaction, so a crash of anybody at any moment leaves either all old names or all new ones, and never a database
//! that refuses connections. (Forbidding connections beforehand by a committed ALTER DATABASE would.) Sessions are ended, when
//! that was asked for, by a second session while the first one holds the lock: nobody can slip in between.
//! The gate is asked before all of it, since a run that was given out anew must not swap twice; and should an attempt
//! fall asleep behind the gate and wake up late, it finds in its transaction that the copy is not the one it made, or that
//! the safety copy's name is taken, and changes nothing.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::catalog::{self, query};
use super::connect::{Session, failed};
use super::restore::{Restore, Target};
use super::sql::ident;
use super::{checks, create, drop, subscriptions};
use crate::error::SourceError;
use crate::run::{RunContext, Subscriptions};

/// Pause between two rounds of ending sessions.
const ROUND: Duration = Duration::from_millis(100);
/// How long to look for the outcome of a commit whose answer was lost.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether an earlier attempt of this run has swapped. All of the run's databases were swapped by one transaction, so
/// one of them tells for all.
pub(crate) async fn swapped_already(
    control: &Session,
    targets: &[Target<'_>],
    context: &RunContext,
) -> Result<bool, SourceError> {
    let listed = catalog::database_names(control).await?;
    let there = |name: &str| listed.iter().any(|other| other == name);
    for target in targets {
        if there(&target.before)
            || create::is_marked(control, &target.name, &context.run_id).await?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks the gate, then swaps all targets.
pub(crate) async fn swap(restore: &Restore<'_>, targets: &[Target<'_>]) -> Result<(), SourceError> {
    restore
        .context
        .reporter
        .phase("asking for permission to swap");
    super::until_cancelled(restore.context, restore.context.gate.enter()).await?;
    restore.context.reporter.phase("swapping");
    checks::check_live(restore, targets).await?.into_result()?;
    let disabled = disable_subscriptions(restore, targets).await?;
    let swapped = rename_all(restore, targets).await;
    if swapped.is_err() {
        enable_again(restore, disabled).await;
    }
    swapped
}

/// Subscriptions that were enabled, by their live database.
type Disabled = Vec<(String, Vec<String>)>;

async fn disable_subscriptions(
    restore: &Restore<'_>,
    targets: &[Target<'_>],
) -> Result<Disabled, SourceError> {
    let mut disabled = Disabled::new();
    for target in targets.iter().filter(|target| target.replaces) {
        let of_live = subscriptions::of_database(&restore.control, &target.name).await?;
        let enabled: Vec<String> = of_live
            .into_iter()
            .filter(|subscription| subscription.enabled)
            .map(|subscription| subscription.name)
            .collect();
        if !enabled.is_empty() {
            let inside = restore.server.connect(&target.name).await?;
            subscriptions::switch(&inside, &enabled, false).await?;
            inside.close().await;
            disabled.push((target.name.clone(), enabled));
        }
    }
    Ok(disabled)
}

async fn enable_again(restore: &Restore<'_>, disabled: Disabled) {
    for (database, names) in disabled {
        let enabling = async {
            let inside = restore.server.connect(&database).await?;
            subscriptions::switch(&inside, &names, true).await
        };
        if let Err(error) = enabling.await {
            let text = format!(
                "subscriptions of {database} ({}) are still disabled: {error}",
                names.join(", ")
            );
            restore.context.reporter.log("error", &text);
        }
    }
}

async fn rename_all(restore: &Restore<'_>, targets: &[Target<'_>]) -> Result<(), SourceError> {
    let session = restore.server.connect(&restore.control_database).await?;
    let renaming = in_one_transaction(restore, &session, targets);
    let outcome = if restore.request.disconnect_clients
        || restore.request.subscriptions != Subscriptions::Refuse
    {
        tokio::select! {
            outcome = renaming => outcome,
            failure = keep_ending_sessions(restore, targets) => Err(Failed::Ours(failure)),
        }
    } else {
        renaming.await
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(Failed::Ours(error)) => Err(error),
        Err(Failed::Theirs(error)) if error.code().is_none() => {
            settle_lost_answer(restore, targets, &error).await
        }
        Err(Failed::Theirs(error)) => Err(in_use(restore, targets, error).await),
    }
}

enum Failed {
    Ours(SourceError),
    Theirs(tokio_postgres::Error),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Theirs(error)
    }
}

async fn in_one_transaction(
    restore: &Restore<'_>,
    session: &Session,
    targets: &[Target<'_>],
) -> Result<(), Failed> {
    let client = &session.client;
    client.batch_execute("BEGIN").await?;
    for target in targets {
        let (name, copy, before) = (
            ident(&target.name),
            ident(&target.copy),
            ident(&target.before),
        );
        if target.replaces {
            let rename = format!("ALTER DATABASE {name} RENAME TO {before}");
            client.batch_execute(&rename).await?;
        }
        let rename = format!("ALTER DATABASE {copy} RENAME TO {name}");
        client.batch_execute(&rename).await?;
        // Its lock is ours now: what it is cannot change any more.
        let there = catalog::database_oid(session, &target.name).await;
        if there.map_err(Failed::Ours)? != restore.copies.oid(&target.copy) {
            return Err(Failed::Ours(create::lost(&target.copy)));
        }
        for statement in create::final_statements(target) {
            client.batch_execute(&statement).await?;
        }
    }
    // Whatever the role prefers: this commit is on disk before it is answered, and so is all that was loaded before it.
    client
        .batch_execute("SET LOCAL synchronous_commit = on")
        .await?;
    Ok(client.batch_execute("COMMIT").await?)
}

/// Ends sessions in the live databases for ever; comes back only when that fails.
async fn keep_ending_sessions(restore: &Restore<'_>, targets: &[Target<'_>]) -> SourceError {
    let names: Vec<&str> = targets
        .iter()
        .filter(|target| target.replaces)
        .map(|target| target.name.as_str())
        .collect();
    let kinds: &[&str] = if restore.request.disconnect_clients {
        &["client backend", "walsender", "logical replication worker"]
    } else {
        // The workers of subscriptions that were just disabled end by themselves, too, only later.
        &["logical replication worker"]
    };
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = ANY($1) AND pid <> pg_backend_pid() \
         AND (backend_type = ANY($2) OR ($3 AND backend_type LIKE 'logical replication %'))";
    loop {
        if let Err(error) = query(
            &restore.control,
            sql,
            &[&names, &kinds, &true],
            "disconnecting the clients",
        )
        .await
        {
            return error;
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// The connection broke while the server may have committed: looks which names are there now.
async fn settle_lost_answer(
    restore: &Restore<'_>,
    targets: &[Target<'_>],
    lost: &tokio_postgres::Error,
) -> Result<(), SourceError> {
    let looking = async {
        loop {
            if let Ok(session) = restore.server.connect(&restore.control_database).await
                && let Ok(swapped) = swapped_already(&session, targets, restore.context).await
            {
                return swapped;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    match tokio::time::timeout(OUTCOME_TIMEOUT, looking).await {
        Ok(true) => Ok(()),
        _ => Err(failed("swapping the databases", lost)),
    }
}

async fn in_use(
    restore: &Restore<'_>,
    targets: &[Target<'_>],
    error: tokio_postgres::Error,
) -> SourceError {
    if error.code() != Some(&SqlState::OBJECT_IN_USE) {
        return failed("swapping the databases", &error);
    }
    let mut users = Vec::new();
    for target in targets.iter().filter(|target| target.replaces) {
        users.extend(
            drop::clients(&restore.control, &target.name)
                .await
                .unwrap_or_default(),
        );
    }
    SourceError::refused(
        format!(
            "the swap was not made, since the database is in use: {}",
            users.join("; ")
        ),
        "end these sessions and restore again, or add --disconnect-clients",
    )
}

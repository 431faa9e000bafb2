//! `restore SOURCE`: says what will happen, asks, starts the run, waits for it.
//!
//! The snapshot is resolved before the question, and its id goes into the request: what was confirmed is what is restored,
//! even when a newer backup ends in between.

use holdfast_proto::{convert::RunOrder, v1};
use jiff::Timestamp;

use crate::commands::{Context, snapshot::resolve};
use crate::confirm::confirm;
use crate::exit::CommandError;
use crate::follow::{self, WaitArgs};
use crate::output::human::{age, clean, moment, short, size};
use crate::output::{manifest, note};

/// Arguments of `restore`.
#[derive(clap::Args)]
#[command(
    after_help = "A restore in place works beside the live databases, compares what came back with the backup, and swaps it in at the end; what was live stays as NAME_before_<run> until `holdfastctl source drop-copy` removes it. It asks for a confirmation; --yes gives it. Ctrl-C stops waiting; the restore goes on."
)]
pub struct RestoreArgs {
    /// The source whose backup comes back
    source: String,
    /// The snapshot: latest, an id or its beginning, or a time (the newest at or before it)
    #[arg(long, value_name = "ID|latest|TIME", default_value = "latest")]
    snapshot: String,
    /// Only this database; may be repeated
    #[arg(long, short, value_name = "NAME")]
    database: Vec<String>,
    /// Only this table (schema.table), with what belongs to it; may be repeated
    #[arg(long, short, value_name = "NAME", requires = "database")]
    table: Vec<String>,
    /// Restore as a new database of this name instead of in place
    #[arg(long, value_name = "NAME", requires = "database")]
    into: Option<String>,
    /// Put the tables into this schema of the live database
    #[arg(
        long,
        value_name = "SCHEMA",
        requires = "table",
        conflicts_with = "into"
    )]
    into_schema: Option<String>,
    /// Restore into another source: AGENT/SOURCE
    #[arg(long, value_name = "AGENT/SOURCE", value_parser = target)]
    to: Option<Target>,
    /// Restore roles and tablespaces, too
    #[arg(long)]
    globals: bool,
    /// Drop what was live once the restore has succeeded; a safety backup is made first
    #[arg(long, conflicts_with_all = ["into", "table"])]
    drop_old: bool,
    /// With --drop-old: no safety backup, for a database too damaged to be backed up
    #[arg(long, requires = "drop_old")]
    no_safety: bool,
    /// What becomes of subscriptions: skip (the restored database has none) or move (it takes them over)
    #[arg(long, value_name = "CHOICE")]
    subscriptions: Option<Subscriptions>,
    /// Disconnect the clients of the live databases at the swap instead of refusing
    #[arg(long)]
    disconnect_clients: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Subscriptions {
    Skip,
    Move,
}

#[derive(Debug, Clone)]
struct Target {
    agent: String,
    source: String,
}

fn target(text: &str) -> Result<Target, String> {
    match text.split_once('/') {
        Some((agent, source)) if !agent.is_empty() && !source.is_empty() => Ok(Target {
            agent: agent.into(),
            source: source.into(),
        }),
        _ => Err("write AGENT/SOURCE, such as db2/orders-db".into()),
    }
}

/// Runs `restore`.
pub async fn run(context: &Context, args: RestoreArgs) -> Result<(), CommandError> {
    // 1. What contradicts itself is told before anybody is called.
    let order = RunOrder::try_from(args.spec()).map_err(CommandError::usage)?;
    let client = context.client().await?;
    // 2. Which snapshot.
    let snapshot = resolve::snapshot(&client, &args.source, &args.snapshot).await?;
    args.check_databases(&snapshot)?;
    // 3. What will happen, and leave to do it.
    let plan = args.plan(&snapshot, Timestamp::now());
    if args.is_in_place() {
        confirm(args.yes, args.name_to_type(), &plan)?;
    } else if !context.output.is_json() {
        note(&args.aside(&snapshot, Timestamp::now()));
    }
    // 4. The run, in the snapshot's own vault.
    let mut spec = v1::RunSpec::from(order);
    spec.vault.clone_from(&snapshot.vault);
    let request = v1::StartRunRequest {
        spec: Some(spec),
        agent: args
            .to
            .as_ref()
            .map_or_else(String::new, |to| to.agent.clone()),
        snapshot: snapshot.id,
        no_safety: args.no_safety,
        ..Default::default()
    };
    let started = follow::start(&client, request, &args.wait).await?;
    follow::conclude(&client, started, &args.wait, context.output).await
}

impl RestoreArgs {
    fn spec(&self) -> v1::RunSpec {
        let subscriptions = match self.subscriptions {
            None => v1::SubscriptionChoice::Unspecified,
            Some(Subscriptions::Skip) => v1::SubscriptionChoice::Skip,
            Some(Subscriptions::Move) => v1::SubscriptionChoice::Move,
        };
        let restore = v1::RestoreSpec {
            snapshot_id: String::new(),
            from_source: self.source.clone(),
            databases: self.database.clone(),
            tables: self.table.clone(),
            into: self.into.clone().unwrap_or_default(),
            into_schema: self.into_schema.clone().unwrap_or_default(),
            globals: self.globals,
            drop_old: self.drop_old,
            subscriptions: subscriptions.into(),
            disconnect_clients: self.disconnect_clients,
        };
        v1::RunSpec {
            kind: v1::RunKind::Restore.into(),
            source: self.target_source().to_owned(),
            vault: String::new(),
            detail: Some(v1::run_spec::Detail::Restore(restore)),
        }
    }

    /// A misspelt database is told before anything starts. A manifest that names none leaves it to the agent.
    fn check_databases(&self, snapshot: &v1::Snapshot) -> Result<(), CommandError> {
        let held = manifest::databases(&snapshot.manifest_json);
        let is_held = |name: &String| held.iter().any(|database| database.name == *name);
        match self.database.iter().find(|name| !is_held(name)) {
            Some(name) if !held.is_empty() => {
                let names: Vec<String> =
                    held.iter().map(|database| clean(&database.name)).collect();
                let id = short(&snapshot.id);
                Err(
                    CommandError::not_found(format!("snapshot {id} holds no database {name:?}"))
                        .hint(format!("it holds: {}", names.join(", "))),
                )
            }
            _ => Ok(()),
        }
    }

    fn target_source(&self) -> &str {
        self.to.as_ref().map_or(&self.source, |to| &to.source)
    }

    /// Whether a live database is exchanged.
    fn is_in_place(&self) -> bool {
        self.into.is_none() && self.table.is_empty()
    }

    fn name_to_type(&self) -> &str {
        match self.database.as_slice() {
            [one] => one,
            _ => self.target_source(),
        }
    }

    fn plan(&self, snapshot: &v1::Snapshot, now: Timestamp) -> Vec<String> {
        let place = match &self.to {
            Some(to) => format!("{} on agent {}", to.source, to.agent),
            None => self.source.clone(),
        };
        let databases = self.databases(snapshot);
        let mut lines = vec![
            format!("Restore in place: {place}"),
            format!(
                "  snapshot   {} of {} ({}), {} read then",
                short(&snapshot.id),
                moment(snapshot.time_micros),
                age(snapshot.time_micros, now),
                size(snapshot.read_bytes)
            ),
            format!("  databases  {databases}"),
            "  Each is restored beside the live one and compared with the backup; then the two change places.".into(),
        ];
        lines.push(match (self.drop_old, self.no_safety) {
            (false, _) => "  What is live now stays as NAME_before_<run>; it is dropped only by command.".into(),
            (true, false) => "  What is live now is DROPPED at the end, after a safety backup has been made first; what is written after that backup is lost.".into(),
            (true, true) => "  What is live now is DROPPED at the end, and no safety backup is made.".into(),
        });
        if self.disconnect_clients {
            lines.push("  Connected clients are disconnected at the exchange.".into());
        }
        lines
    }

    /// What happens when nothing live is exchanged.
    fn aside(&self, snapshot: &v1::Snapshot, now: Timestamp) -> String {
        let what = self.databases(snapshot);
        let place = match (&self.into, &self.into_schema) {
            (Some(name), _) => format!("as the new database {name}"),
            (None, Some(schema)) => format!("{} into its schema {schema}", self.table.join(", ")),
            (None, None) => String::new(),
        };
        let age = age(snapshot.time_micros, now);
        format!(
            "Restore {what} {place}, from snapshot {} ({age})",
            short(&snapshot.id)
        )
    }

    fn databases(&self, snapshot: &v1::Snapshot) -> String {
        let mut names: Vec<String> = self.database.iter().map(|name| clean(name)).collect();
        if names.is_empty() {
            let listed = manifest::databases(&snapshot.manifest_json);
            names = listed
                .iter()
                .map(|database| clean(&database.name))
                .collect();
        }
        if names.is_empty() {
            return "all in the snapshot".into();
        }
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_agent_and_source() {
        assert!(target("db2/orders-db").is_ok());
        for bad in ["", "db2", "/x", "x/"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }
}

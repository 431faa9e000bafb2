//! `source list|show|drop-copy`.

use holdfast_proto::{convert::RunOrder, v1};
use jiff::Timestamp;
use serde_json::json;

use crate::client::{Control, QUICK};
use crate::commands::{Context, run};
use crate::confirm::confirm;
use crate::exit::CommandError;
use crate::follow::{self, WaitArgs};
use crate::output::Output;
use crate::output::catalog::SourceView;
use crate::output::human::{age, clean, moment, short, size};

/// What can be asked about sources.
#[derive(clap::Subcommand)]
pub enum SourceCommand {
    /// All sources
    List,
    /// One source
    Show {
        /// Its name
        name: String,
    },
    /// Drop the copy of a database that a restore left as NAME_before_<run>
    #[command(
        after_help = "Only copies that a restore of ours has left can be dropped. It asks for a confirmation; --yes gives it."
    )]
    DropCopy {
        /// The source
        source: String,
        /// The copy's name
        database: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

/// Runs `source ...`.
pub async fn run(context: &Context, command: SourceCommand) -> Result<(), CommandError> {
    match command {
        SourceCommand::List => list(context).await,
        SourceCommand::Show { name } => show(context, name).await,
        SourceCommand::DropCopy {
            source,
            database,
            yes,
            wait,
        } => drop_copy(context, source, database, yes, &wait).await,
    }
}

async fn list(context: &Context) -> Result<(), CommandError> {
    let client = context.client().await?;
    let call =
        |mut control: Control| async move { control.list_sources(v1::ListSourcesRequest {}).await };
    let sources = client.call(QUICK, call).await?.sources;
    let views: Vec<SourceView> = sources.iter().map(SourceView::from).collect();
    context.output.show(&json!({ "sources": views }), |output| {
        print(output, &sources, Timestamp::now())
    })
}

/// Sources as a table.
pub fn print(output: Output, sources: &[v1::Source], now: Timestamp) -> Result<(), CommandError> {
    let rows = sources.iter().map(|source| row(source, now)).collect();
    let header = [
        "SOURCE",
        "KIND",
        "AGENT",
        "LAST BACKUP",
        "SNAPSHOTS",
        "LAST RUN",
        "STATE",
    ];
    output.table(
        &header,
        rows,
        "no sources yet: an agent announces them (holdfastctl agent invite NAME)",
    )
}

fn row(source: &v1::Source, now: Timestamp) -> Vec<String> {
    let info = source.info.clone().unwrap_or_default();
    let latest = source.latest.as_ref();
    let last_run = source.last_run.as_ref();
    vec![
        info.name.clone(),
        info.kind.clone(),
        source.agent.clone(),
        latest.map_or("never".into(), |latest| age(latest.time_micros, now)),
        source.snapshots.to_string(),
        last_run.map_or("-".into(), |run| {
            let spec = run.spec.clone().unwrap_or_default();
            format!(
                "{} {}",
                crate::output::view::kind(&spec),
                crate::output::view::state(run.state)
            )
        }),
        standing(source, &info),
    ]
}

fn standing(source: &v1::Source, info: &v1::SourceInfo) -> String {
    match (source.agent_connected, info.problem.as_str()) {
        (false, _) => "agent away".into(),
        (true, "") => "ready".into(),
        (true, problem) => problem.into(),
    }
}

async fn show(context: &Context, name: String) -> Result<(), CommandError> {
    let client = context.client().await?;
    let call = |mut control: Control| async move {
        control.get_source(v1::GetSourceRequest { name }).await
    };
    let source = client.call(QUICK, call).await?;
    context
        .output
        .show(&SourceView::from(&source), |output| text(output, &source))
}

fn text(output: Output, source: &v1::Source) -> Result<(), CommandError> {
    let now = Timestamp::now();
    let info = source.info.clone().unwrap_or_default();
    let latest = source
        .latest
        .as_ref()
        .map_or("never backed up".to_owned(), |latest| {
            format!(
                "{} of {} ({}), read {}",
                short(&latest.id),
                moment(latest.time_micros),
                age(latest.time_micros, now),
                size(latest.read_bytes)
            )
        });
    let mut facts = vec![
        ("source", info.name.clone()),
        ("kind", info.kind.clone()),
        ("methods", info.methods.join(", ")),
        ("agent", source.agent.clone()),
        ("state", standing(source, &info)),
        ("latest", latest),
        (
            "snapshots",
            format!("{}, and {} orphans", source.snapshots, source.orphans),
        ),
    ];
    let mut more: Vec<(&str, String)> = info
        .facts
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    more.sort();
    facts.extend(more);
    for (name, value) in facts {
        output.line(&format!("{:<10} {}", clean(name), clean(&value)))?;
    }
    match &source.last_run {
        Some(last) => {
            output.line("")?;
            run::print(output, std::slice::from_ref(last), now)
        }
        None => Ok(()),
    }
}

async fn drop_copy(
    context: &Context,
    source: String,
    database: String,
    yes: bool,
    wait: &WaitArgs,
) -> Result<(), CommandError> {
    let spec = v1::RunSpec {
        kind: v1::RunKind::DropCopy.into(),
        source,
        vault: String::new(),
        detail: Some(v1::run_spec::Detail::DropCopy(v1::DropCopySpec {
            database: database.clone(),
        })),
    };
    let order = RunOrder::try_from(spec).map_err(CommandError::usage)?;
    let client = context.client().await?;
    let plan = [format!(
        "Drop the database {} on {} for good.",
        clean(&database),
        order.source
    )];
    confirm(yes, &database, &plan)?;
    let request = v1::StartRunRequest {
        spec: Some(order.into()),
        ..Default::default()
    };
    let started = follow::start(&client, request, wait).await?;
    follow::conclude(&client, started, wait, context.output).await
}

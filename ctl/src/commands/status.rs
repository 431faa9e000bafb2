//! `status`: what needs attention first, then what goes on, then how everything stands.

use holdfast_proto::{v1, version};
use jiff::Timestamp;
use serde::Serialize;

use crate::client::QUICK;
use crate::commands::{Context, agent, run, source, vault};
use crate::exit::CommandError;
use crate::output::Output;
use crate::output::catalog::{AgentView, SourceView, VaultView};
use crate::output::human::{clean, duration, time};
use crate::output::view::RunView;

#[derive(Serialize)]
struct StatusView {
    attention: Vec<String>,
    software: String,
    database: String,
    started_at: Option<Timestamp>,
    active_runs: Vec<RunView>,
    sources: Vec<SourceView>,
    agents: Vec<AgentView>,
    vaults: Vec<VaultView>,
}

/// Runs `status`.
pub async fn run(context: &Context) -> Result<(), CommandError> {
    let client = context.client().await?;
    let status = client
        .call(QUICK, |mut control| async move {
            control.status(v1::StatusRequest {}).await
        })
        .await?;
    version::check(status.version.as_ref()).map_err(CommandError::refused)?;
    context
        .output
        .show(&view(&status), |output| text(output, &status))
}

fn up_for(started_at_micros: i64, now: Timestamp) -> String {
    time(started_at_micros).map_or("-".into(), |started| {
        duration(now.duration_since(started).as_secs().max(0).unsigned_abs())
    })
}

fn software(status: &v1::StatusResponse) -> String {
    let version = status.version.as_ref();
    version.map_or_else(String::new, |version| version.software.clone())
}

fn view(status: &v1::StatusResponse) -> StatusView {
    StatusView {
        attention: status.attention.clone(),
        software: software(status),
        database: status.database.clone(),
        started_at: time(status.started_at_micros),
        active_runs: status.active_runs.iter().map(RunView::from).collect(),
        sources: status.sources.iter().map(SourceView::from).collect(),
        agents: status.agents.iter().map(AgentView::from).collect(),
        vaults: status.vaults.iter().map(VaultView::from).collect(),
    }
}

fn text(output: Output, status: &v1::StatusResponse) -> Result<(), CommandError> {
    let now = Timestamp::now();
    if status.attention.is_empty() {
        output.line("Nothing needs attention.")?;
    } else {
        output.line("NEEDS ATTENTION")?;
        for line in &status.attention {
            output.line(&format!("  ! {}", clean(line)))?;
        }
    }
    if !status.active_runs.is_empty() {
        output.line("\nRUNS THAT GO ON")?;
        run::print(output, &status.active_runs, now)?;
    }
    output.line("\nSOURCES")?;
    source::print(output, &status.sources, now)?;
    output.line("\nAGENTS")?;
    agent::print(output, &status.agents, now)?;
    output.line("\nVAULTS")?;
    vault::print(output, &status.vaults, now)?;
    output.line(&format!(
        "\ncoordinator {}, state in {}, up for {}",
        clean(&software(status)),
        clean(&status.database),
        up_for(status.started_at_micros, now),
    ))
}

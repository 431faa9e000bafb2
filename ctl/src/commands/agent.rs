//! `agent list|invite|revoke`.

use std::time::Duration;

use holdfast_proto::{convert::name as checked_name, v1};
use jiff::Timestamp;
use serde_json::json;

use crate::client::{Control, QUICK};
use crate::commands::Context;
use crate::confirm::confirm;
use crate::exit::CommandError;
use crate::output::catalog::{AgentView, agent_state};
use crate::output::human::{age, clean, duration, moment, time};
use crate::output::{Output, note};

/// From here on a clock's error is shown, in milliseconds.
const NOTABLE_SKEW_MILLIS: u64 = 2000;

/// What can be asked about agents.
#[derive(clap::Subcommand)]
pub enum AgentCommand {
    /// All agents
    List,
    /// Print a token that lets one agent join, once
    #[command(
        after_help = "The token alone goes to standard output. On the agent's host give it to `holdfast-agent join` by standard input or --token-file, never as an argument."
    )]
    Invite {
        /// The agent's name; that of an agent whose certificate has run out lets it join again
        name: String,
        /// How long the token is good for
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = holdfast_config::parse_duration)]
        expires: Duration,
    },
    /// Shut an agent out at once, and say what it can still do
    #[command(after_help = "It asks for a confirmation; --yes gives it.")]
    Revoke {
        /// The agent's name
        name: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Runs `agent ...`.
pub async fn run(context: &Context, command: AgentCommand) -> Result<(), CommandError> {
    match command {
        AgentCommand::List => list(context).await,
        AgentCommand::Invite { name, expires } => invite(context, name, expires).await,
        AgentCommand::Revoke { name, yes } => revoke(context, name, yes).await,
    }
}

async fn list(context: &Context) -> Result<(), CommandError> {
    let client = context.client().await?;
    let call =
        |mut control: Control| async move { control.list_agents(v1::ListAgentsRequest {}).await };
    let agents = client.call(QUICK, call).await?.agents;
    let views: Vec<AgentView> = agents.iter().map(AgentView::from).collect();
    context.output.show(&json!({ "agents": views }), |output| {
        print(output, &agents, Timestamp::now())
    })
}

/// Agents as a table.
pub fn print(output: Output, agents: &[v1::Agent], now: Timestamp) -> Result<(), CommandError> {
    let rows = agents.iter().map(|agent| row(agent, now)).collect();
    let header = [
        "AGENT",
        "STATE",
        "HOST",
        "VERSION",
        "LAST SEEN",
        "CERTIFICATE ENDS",
        "SOURCES",
    ];
    output.table(
        &header,
        rows,
        "no agents yet: holdfastctl agent invite NAME",
    )
}

fn row(agent: &v1::Agent, now: Timestamp) -> Vec<String> {
    let version = agent.version.as_ref();
    let mut state = agent_state(agent.state).to_owned();
    if agent.clock_skew_millis.unsigned_abs() >= NOTABLE_SKEW_MILLIS {
        let side = if agent.clock_skew_millis > 0 {
            "ahead"
        } else {
            "behind"
        };
        let skew = duration(agent.clock_skew_millis.unsigned_abs() / 1000);
        state.push_str(&format!(", clock {skew} {side}"));
    }
    vec![
        agent.name.clone(),
        state,
        agent.hostname.clone(),
        version.map_or("-".into(), |version| version.software.clone()),
        age(agent.last_seen_micros, now),
        age(agent.certificate_expires_at_micros, now),
        agent.sources.join(", "),
    ]
}

async fn invite(context: &Context, name: String, expires: Duration) -> Result<(), CommandError> {
    let name = checked_name("name", &name).map_err(CommandError::usage)?;
    if expires < Duration::from_secs(1) {
        return Err(CommandError::usage(
            "--expires: a token is good for a second at least",
        ));
    }
    let client = context.client().await?;
    let request = v1::InviteAgentRequest {
        name: name.clone(),
        expires_in_seconds: expires.as_secs(),
    };
    let call = |mut control: Control| async move { control.invite_agent(request).await };
    let answer = client.call(QUICK, call).await?;
    let document = json!({
        "name": name,
        "token": answer.token,
        "expires_at": time(answer.expires_at_micros),
    });
    context.output.show(&document, |output| {
        note(&format!(
            "Join token for agent {name}, good once, until {}. Whoever has it can join.",
            moment(answer.expires_at_micros)
        ));
        note("On the agent's host: holdfast-agent join --config agent.toml, and paste it.");
        output.line(&answer.token)
    })
}

async fn revoke(context: &Context, name: String, yes: bool) -> Result<(), CommandError> {
    let client = context.client().await?;
    let plan = [format!(
        "Revoke agent {}: its session ends, its runs are cancelled, and it is not let in again.",
        clean(&name)
    )];
    confirm(yes, &name, &plan)?;
    let request = v1::RevokeAgentRequest { name: name.clone() };
    let call = |mut control: Control| async move { control.revoke_agent(request).await };
    let answer = client.call(QUICK, call).await?;
    let document = json!({
        "name": name,
        "remaining": answer.remaining,
        "cancelled_run_ids": answer.cancelled_run_ids,
    });
    context.output.show(&document, |output| {
        output.line(&format!("revoked {}", clean(&name)))?;
        for run in &answer.cancelled_run_ids {
            output.line(&format!("  cancelled run {run}"))?;
        }
        if answer.remaining.is_empty() {
            return output.line("  it can do nothing any more");
        }
        output.line("What it can still do:")?;
        answer
            .remaining
            .iter()
            .try_for_each(|line| output.line(&format!("  - {}", clean(line))))
    })
}

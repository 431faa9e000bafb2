//! `vault add|list|kit|scan`.

mod add;
mod kit_file;

use std::path::PathBuf;

use holdfast_proto::v1;
use jiff::Timestamp;
use serde_json::json;

use crate::client::{Control, QUICK, SCANNING};
use crate::commands::Context;
use crate::exit::{Class, CommandError};
use crate::output::Output;
use crate::output::catalog::VaultView;
use crate::output::human::{age, clean, count};

/// What can be asked about vaults.
#[derive(clap::Subcommand)]
pub enum VaultCommand {
    /// Probe a place for backups, keep it as a vault, and print its recovery kit
    #[command(
        after_help = "The storage's credentials come from --credentials-file, from HOLDFAST_ACCESS_KEY_ID and HOLDFAST_SECRET_ACCESS_KEY (or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY), or from a prompt; never from an argument. The recovery kit opens every backup in the vault without Holdfast: print it, and keep it offline."
    )]
    Add(Box<add::AddArgs>),
    /// All vaults
    List,
    /// Print a vault's recovery kit again
    Kit {
        /// The vault's name
        name: String,
        /// Write it into this file (0600) instead
        #[arg(long, value_name = "FILE")]
        kit_out: Option<PathBuf>,
    },
    /// Fill the catalog from what the vault holds
    Scan {
        /// The vault's name
        name: String,
    },
}

/// Runs `vault ...`.
pub async fn run(context: &Context, command: VaultCommand) -> Result<(), CommandError> {
    match command {
        VaultCommand::Add(args) => add::run(context, *args).await,
        VaultCommand::List => list(context).await,
        VaultCommand::Kit { name, kit_out } => kit(context, name, kit_out).await,
        VaultCommand::Scan { name } => scan(context, name).await,
    }
}

async fn list(context: &Context) -> Result<(), CommandError> {
    let client = context.client().await?;
    let call =
        |mut control: Control| async move { control.list_vaults(v1::ListVaultsRequest {}).await };
    let vaults = client.call(QUICK, call).await?.vaults;
    let views: Vec<VaultView> = vaults.iter().map(VaultView::from).collect();
    context.output.show(&json!({ "vaults": views }), |output| {
        print(output, &vaults, Timestamp::now())
    })
}

/// Vaults as a table.
pub fn print(output: Output, vaults: &[v1::Vault], now: Timestamp) -> Result<(), CommandError> {
    let rows = vaults.iter().map(|vault| row(vault, now)).collect();
    let header = [
        "VAULT",
        "ADDRESS",
        "CREDENTIALS",
        "APPEND-ONLY",
        "SNAPSHOTS",
        "LAST SCAN",
    ];
    output.table(
        &header,
        rows,
        "no vaults yet: holdfastctl vault add NAME ADDRESS",
    )
}

fn row(vault: &v1::Vault, now: Timestamp) -> Vec<String> {
    let default = if vault.is_default { " (default)" } else { "" };
    vec![
        format!("{}{default}", vault.name),
        vault.address.clone(),
        vault.credentials.clone(),
        append_only(vault),
        vault.snapshots.to_string(),
        age(vault.last_scan_micros, now),
    ]
}

fn append_only(vault: &v1::Vault) -> String {
    let word = if vault.append_only { "yes" } else { "no" };
    match vault.append_only_detail.as_str() {
        "" => word.into(),
        detail => format!("{word}: {detail}"),
    }
}

async fn kit(
    context: &Context,
    name: String,
    kit_out: Option<PathBuf>,
) -> Result<(), CommandError> {
    let place = kit_out.map(kit_file::KitFile::reserve).transpose()?;
    let client = context.client().await?;
    let call = |mut control: Control| async move {
        control.get_vault_kit(v1::GetVaultKitRequest { name }).await
    };
    let text = client.call(QUICK, call).await?.kit;
    kit_file::hand_over(
        context.output,
        place,
        &text,
        |kit, file| json!({ "kit": kit, "kit_file": file }),
    )
}

async fn scan(context: &Context, name: String) -> Result<(), CommandError> {
    let client = context.client().await?;
    let request = v1::ScanVaultRequest { name: name.clone() };
    let call = |mut control: Control| async move { control.scan_vault(request).await };
    let found = client.call(SCANNING, call).await?;
    let document = json!({
        "vault": name,
        "repositories": found.repositories,
        "snapshots": found.snapshots,
        "added": found.added,
        "missing": found.missing,
        "orphans": found.orphans,
        "problems": found.problems,
    });
    context.output.show(&document, |output| {
        output.line(&format!(
            "{}: {} in repositories of {}; {} new in the catalog, {} missing in the vault, {}",
            clean(&name),
            count(found.snapshots, "snapshot"),
            count(found.repositories, "source"),
            found.added,
            found.missing,
            count(found.orphans, "orphan"),
        ))
    })?;
    if found.problems.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = found
        .problems
        .iter()
        .map(|problem| format!("\n  - {}", clean(problem)))
        .collect();
    Err(CommandError::new(
        Class::Failed,
        format!(
            "the scan is not complete: {}{}",
            count(lines.len() as u64, "problem"),
            lines.concat()
        ),
    ))
}

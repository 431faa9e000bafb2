//! `backup SOURCE`: one run, waited for.

use holdfast_proto::{convert::RunOrder, v1};

use crate::commands::Context;
use crate::exit::CommandError;
use crate::follow::{self, WaitArgs};

/// Arguments of `backup`.
#[derive(clap::Args)]
#[command(
    after_help = "The exit code is 0 only when the backup has succeeded. Ctrl-C stops waiting; the backup goes on."
)]
pub struct BackupArgs {
    /// The source to back up
    source: String,
    /// The vault to put it into [default: the default vault]
    #[arg(long, value_name = "NAME")]
    vault: Option<String>,
    /// How to back up [default: the source's own]
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs `backup`.
pub async fn run(context: &Context, args: BackupArgs) -> Result<(), CommandError> {
    let spec = v1::RunSpec {
        kind: v1::RunKind::Backup.into(),
        source: args.source,
        vault: args.vault.unwrap_or_default(),
        detail: Some(v1::run_spec::Detail::Backup(v1::BackupSpec {
            method: args.method.unwrap_or_default(),
        })),
    };
    let order = RunOrder::try_from(spec).map_err(CommandError::usage)?;
    let client = context.client().await?;
    let request = v1::StartRunRequest {
        spec: Some(order.into()),
        ..Default::default()
    };
    let started = follow::start(&client, request, &args.wait).await?;
    follow::conclude(&client, started, &args.wait, context.output).await
}

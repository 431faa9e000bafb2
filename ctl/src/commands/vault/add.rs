//! `vault add`: checks what was typed, finds the credentials, has the place probed, hands the recovery kit over.
//!
//! The file for the kit is reserved before the vault is made: a kit that could not be written would be found out too late.

use std::path::PathBuf;

use holdfast_proto::{convert::name as checked_name, v1};
use holdfast_vault::{RecoveryKit, VaultAddress};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::client::{Control, PROBING};
use crate::commands::Context;
use crate::commands::vault::kit_file::{KitFile, hand_over};
use crate::credentials;
use crate::exit::{Class, CommandError};
use crate::offline::load_kit;
use crate::output::Output;
use crate::output::catalog::VaultView;
use crate::output::human::clean;

/// Arguments of `vault add`.
#[derive(clap::Args)]
pub struct AddArgs {
    /// The vault's name
    name: String,
    /// s3://bucket/prefix or file:///folder [default: the kit's]
    #[arg(required_unless_present = "kit_file")]
    address: Option<String>,
    /// The S3 server's URL, when it is not Amazon's
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The region requests are signed for [default: us-east-1]
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    /// Give runs short-lived credentials cut to their source, by AssumeRole with this role
    #[arg(long, value_name = "ARN")]
    role_arn: Option<String>,
    /// Use it for runs that name no vault
    #[arg(long)]
    default: bool,
    /// A file (0600) with aws_access_key_id and aws_secret_access_key
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// Take over the vault of this recovery kit, whose coordinator was lost
    #[arg(long, value_name = "FILE")]
    kit_file: Option<PathBuf>,
    /// Write the recovery kit into this file (0600) instead of printing it
    #[arg(long, value_name = "FILE")]
    kit_out: Option<PathBuf>,
    /// Not taken: an argument can be read by every process on the host
    #[arg(
        long,
        hide = true,
        num_args = 0..=1,
        aliases = ["access-key", "secret-access-key", "secret-key", "secret", "session-token", "password", "credentials"]
    )]
    access_key_id: Option<Option<String>>,
}

/// Runs `vault add`.
pub async fn run(context: &Context, args: AddArgs) -> Result<(), CommandError> {
    // 1. What can be told to be wrong without anybody else.
    args.refuse_credentials()?;
    let kit = args.kit_file.as_deref().map(load_kit).transpose()?;
    let request = args.request(kit.as_ref())?;
    // 2. Where the kit goes, before there is one.
    let place = args.kit_out.map(KitFile::reserve).transpose()?;
    // 3. The coordinator probes the place and keeps the vault.
    let client = context.client().await?;
    let call = |mut control: Control| async move { control.add_vault(request).await };
    let answer = client.call(PROBING, call).await?;
    print_findings(context.output, &answer)?;
    let Some(vault) = &answer.vault else {
        return Err(CommandError::new(
            Class::Refused,
            "the probe found the place not usable; no vault was added",
        ));
    };
    // 4. The recovery kit.
    hand_over(context.output, place, &answer.kit, |kit, file| {
        let findings: Vec<_> = answer.findings.iter().map(finding).collect();
        json!({ "vault": VaultView::from(vault), "findings": findings, "kit": kit, "kit_file": file })
    })
}

impl AddArgs {
    fn refuse_credentials(&self) -> Result<(), CommandError> {
        let in_url = |text: &Option<String>| text.as_deref().is_some_and(|text| text.contains('@'));
        if self.access_key_id.is_none() && !in_url(&self.address) && !in_url(&self.endpoint) {
            return Ok(());
        }
        Err(CommandError::usage("credentials are not taken from the command line, where every process on this host can read them")
            .hint("give them by --credentials-file FILE, by HOLDFAST_ACCESS_KEY_ID and HOLDFAST_SECRET_ACCESS_KEY in the environment, or at the prompt; and change the ones just typed"))
    }

    /// What was typed wins over what the kit says.
    fn request(&self, kit: Option<&RecoveryKit>) -> Result<v1::AddVaultRequest, CommandError> {
        let address: VaultAddress = match (&self.address, kit) {
            (Some(text), _) => text.parse().map_err(CommandError::usage)?,
            (None, Some(kit)) => kit.address.clone(),
            (None, None) => return Err(CommandError::usage("the vault's address is missing")),
        };
        let kit_endpoint = kit.and_then(|kit| kit.endpoint.as_ref());
        let endpoint = self
            .endpoint
            .clone()
            .or_else(|| kit_endpoint?.endpoint.clone());
        let region = self
            .region
            .clone()
            .or_else(|| Some(kit_endpoint?.region.clone()));
        let mut request = v1::AddVaultRequest {
            name: checked_name("name", &self.name).map_err(CommandError::usage)?,
            address: address.to_string(),
            make_default: self.default,
            role_arn: self.role_arn.clone().unwrap_or_default(),
            vault_secret: kit.map_or_else(String::new, |kit| kit.secret.expose_secret().to_owned()),
            ..Default::default()
        };
        match address {
            VaultAddress::S3 { .. } => {
                let keys = credentials::find(self.credentials_file.as_deref())?;
                if keys.session_token.is_some() {
                    return Err(CommandError::usage(
                        "a vault needs a lasting access key; these are a session's, which ends",
                    )
                    .hint(
                        "for short-lived credentials of each run give a lasting key and --role-arn",
                    ));
                }
                request.endpoint = endpoint.unwrap_or_default();
                request.region = region.unwrap_or_else(|| "us-east-1".into());
                request.access_key_id = keys.access_key_id;
                request.secret_access_key = keys.secret_access_key.expose_secret().to_owned();
            }
            VaultAddress::File { .. } => self.refuse_s3_settings()?,
        }
        Ok(request)
    }

    fn refuse_s3_settings(&self) -> Result<(), CommandError> {
        let given = [
            ("--endpoint", self.endpoint.is_some()),
            ("--region", self.region.is_some()),
            ("--role-arn", self.role_arn.is_some()),
            ("--credentials-file", self.credentials_file.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(CommandError::usage(format!(
                "{name} is for s3:// vaults; a folder has none"
            ))),
            None => Ok(()),
        }
    }
}

fn finding(finding: &v1::ProbeFinding) -> serde_json::Value {
    json!({ "name": finding.name, "ok": finding.ok, "detail": finding.detail })
}

fn print_findings(output: Output, answer: &v1::AddVaultResponse) -> Result<(), CommandError> {
    if output.is_json() {
        return Ok(());
    }
    for finding in &answer.findings {
        let mark = if finding.ok { "ok" } else { "NO" };
        let (name, detail) = (clean(&finding.name), clean(&finding.detail));
        output.line(format!("{mark}  {name:<20} {detail}").trim_end())?;
    }
    if let Some(vault) = &answer.vault {
        let credentials = match vault.credentials.as_str() {
            "sts" => "runs get short-lived credentials, cut to their source",
            "static" => {
                "runs get the vault's own credentials: an agent's host that is broken into gives them away (see --role-arn)"
            }
            _ => "agents write into the folder themselves",
        };
        output.line(&format!(
            "added vault {} at {}; {credentials}",
            vault.name,
            clean(&vault.address)
        ))?;
    }
    Ok(())
}

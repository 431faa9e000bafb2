//! `holdfast-coordinator init`: everything a new coordinator needs, in one folder.
//!
//! Nothing that exists is ever touched. Each file is made only when it is missing, in the order in which they depend on
//! each other: the authority first, then what it signs. Running it again after a crash finishes what was missing.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use holdfast_config::{create_private_folder, write_private};
use holdfast_identity::{
    CertificateAuthority, IdentityFiles, OperatorRole, Role, Subject, Validity, check_name,
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::config::{CertificatesConfig, parse_address};
use crate::pki::{KeyFiles, MasterKey, issue_own};

/// What `init` is asked for.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The folder.
    pub dir: PathBuf,
    /// `host:port` that agents and operators dial.
    pub address: String,
    /// `ip:port` to listen on.
    pub listen: String,
    /// Name of the first operator.
    pub operator: String,
}

/// An argument that cannot be what was meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// What `init` made, and what it found.
#[derive(Debug, Default)]
pub struct InitReport {
    /// New files.
    pub made: Vec<PathBuf>,
    /// Files that were there and stay as they are.
    pub kept: Vec<PathBuf>,
}

impl fmt::Display for InitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for path in &self.made {
            writeln!(f, "made    {}", path.display())?;
        }
        for path in &self.kept {
            writeln!(f, "exists  {}", path.display())?;
        }
        Ok(())
    }
}

impl InitReport {
    /// Makes `path` unless it is there.
    fn ensure(
        &mut self,
        path: &Path,
        make: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if path.exists() {
            self.kept.push(path.to_owned());
            return Ok(());
        }
        make().with_context(|| format!("cannot make {}", path.display()))?;
        self.made.push(path.to_owned());
        Ok(())
    }
}

/// Makes what is missing in the folder.
pub fn init(options: &InitOptions) -> anyhow::Result<InitReport> {
    let address = parse_address(&options.address).map_err(UsageError)?;
    if options.listen.parse::<std::net::SocketAddr>().is_err() {
        bail!(UsageError(format!(
            "{:?} is not IP:PORT to listen on",
            options.listen
        )));
    }
    check_name(&options.operator).map_err(|error| UsageError(error.to_string()))?;
    create_private_folder(&options.dir)?;
    let dir = std::path::absolute(&options.dir)?;
    let keys = KeyFiles::in_folder(&dir);
    let mut report = InitReport::default();

    // 1. The configuration, so that a second `init` with other addresses does not contradict the first.
    let config = dir.join("coordinator.toml");
    report.ensure(&config, || {
        let text = configuration(&options.listen, &address.authority(), &dir);
        Ok(write_private(&config, text.as_bytes())?)
    })?;
    // 2. The authority; all that follows is signed by the one on disk.
    let ca = keys.authority();
    report.ensure(&ca, || {
        Ok(CertificateAuthority::create("holdfast", Timestamp::now())?.save(&ca)?)
    })?;
    let authority = CertificateAuthority::load(&ca)?;
    // 3. The coordinator's own identity.
    let own = keys.coordinator();
    let lifetimes = CertificatesConfig::default();
    report.ensure(own.path(), || {
        issue_own(&authority, &own, &address, &lifetimes, None)?;
        Ok(())
    })?;
    // 4. The key that seals the vaults' secrets.
    let master = keys.master_key();
    report.ensure(&master, || Ok(MasterKey::create(&master)?))?;
    // 5. The first operator.
    let operator = dir.join("operator");
    create_private_folder(&operator)?;
    let identity = IdentityFiles::at(operator.join("operator.pem"));
    report.ensure(identity.path(), || {
        let role = Role::Operator(OperatorRole::Admin);
        let subject = Subject::new(role, Uuid::now_v7(), options.operator.clone())?;
        let validity = Validity::starting(Timestamp::now(), lifetimes.operator)?;
        Ok(identity.save(&authority.issue(&subject, validity)?)?)
    })?;
    let ctl = operator.join("ctl.toml");
    report.ensure(&ctl, || {
        let text = format!(
            "address = \"{}\"\nidentity = \"operator.pem\"\n",
            address.authority()
        );
        Ok(write_private(&ctl, text.as_bytes())?)
    })?;
    Ok(report)
}

fn configuration(listen: &str, address: &str, state: &Path) -> String {
    let state = toml_text(&state.display().to_string());
    format!(
        "# Where the coordinator listens (TLS 1.3, the one port).\n\
         listen = \"{listen}\"\n\
         # What agents and operators dial. It stands in join tokens and in the certificate.\n\
         address = \"{address}\"\n\
         # Keys and state.\n\
         state = {state}\n\
         # Plain gRPC health for this machine.\n\
         # health_listen = \"127.0.0.1:7601\"\n"
    )
}

/// A basic string of TOML.
fn toml_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

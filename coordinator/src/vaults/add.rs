//! Adds a vault: tries the place out, takes over what is there, and only then writes it down.
//!
//! Steps: check the request; probe; where repositories lie there already, see that the secret opens them (a vault that was
//! lost with its state comes back with the secret of its kit); seal the secrets; write vault and audit row in one
//! transaction. A failure at any step leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::convert::name;
use holdfast_proto::ids::VaultId;
use holdfast_proto::v1;
use holdfast_vault::storage::retry::RetryPolicy;
use holdfast_vault::storage::s3::S3Backend;
use holdfast_vault::{
    ConditionalWrite, CredentialsCell, ProbeReport, Repository, S3Credentials, S3Endpoint, Storage,
    VaultAddress, VaultError, new_vault_secret, probe,
};
use secrecy::SecretString;

use super::{OpenVault, SECRET_ACCESS_KEY, VAULT_SECRET, kit, view};
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::store::audit;
use crate::store::vaults::{self, VaultRecord};

/// Region that is signed for where a request names an endpoint only.
const DEFAULT_REGION: &str = "us-east-1";

/// How long one request of the probe is tried again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Adds the vault that `request` describes.
pub async fn add(
    coordinator: &Coordinator,
    request: v1::AddVaultRequest,
    operator: &str,
) -> Result<v1::AddVaultResponse> {
    // 1. The request.
    let vault_name = name("name", &request.name)?;
    let address: VaultAddress =
        request
            .address
            .parse()
            .map_err(|error: holdfast_vault::address::InvalidAddress| {
                Fault::Invalid(error.to_string())
            })?;
    refuse_known(coordinator, &vault_name, &address).await?;
    let endpoint = endpoint(&address, &request)?;
    let credentials = credentials(&address, &request)?;
    let taken_over = !request.vault_secret.is_empty();
    let secret = vault_secret(&request.vault_secret)?;

    // 2. The place.
    let cell = credentials.clone().map(CredentialsCell::new);
    let storage = impatient(&address, endpoint.as_ref(), cell)?;
    let report = probe(&storage).await?;
    refuse_unusable(&report, &address)?;
    let (append_only, append_only_detail) = append_only(&report, &address);

    // 3. What lies there.
    let vault_id = VaultId::new();
    let mut vault = OpenVault {
        record: VaultRecord {
            id: vault_id,
            name: vault_name,
            address: address.to_string(),
            endpoint: endpoint
                .as_ref()
                .and_then(|e| e.endpoint.clone())
                .unwrap_or_default(),
            region: endpoint
                .as_ref()
                .map(|e| e.region.clone())
                .unwrap_or_default(),
            path_style: endpoint.as_ref().is_some_and(|e| e.path_style),
            role_arn: request.role_arn.clone(),
            access_key_id: request.access_key_id.clone(),
            secret_access_key: Vec::new(),
            vault_secret: Vec::new(),
            is_default: request.make_default,
            append_only,
            append_only_detail,
            created_micros: now_micros(),
            last_scan_micros: 0,
        },
        address,
        endpoint,
        credentials,
        secret,
    };
    let repositories = check_repositories(&vault, &storage, taken_over).await?;

    // 4. The secrets, and the state.
    seal(coordinator, &mut vault)?;
    record(coordinator, &mut vault, &repositories, operator).await?;
    let shown = {
        let mut connection = coordinator.store.read().await?;
        view::shown(&mut connection, vault.record.clone()).await?
    };
    Ok(v1::AddVaultResponse {
        vault: Some(shown),
        findings: findings(&report),
        kit: kit::text(coordinator, &vault).await?,
    })
}

/// The place with little patience: an operator waits, and a server that does not answer now is worth telling.
fn impatient(
    address: &VaultAddress,
    endpoint: Option<&S3Endpoint>,
    credentials: Option<CredentialsCell>,
) -> Result<Storage> {
    let (VaultAddress::S3 { bucket, prefix }, Some(endpoint), Some(credentials)) =
        (address, endpoint, credentials)
    else {
        return Ok(Storage::open(address, None, None)?);
    };
    let backend = S3Backend::new(bucket, prefix, endpoint, credentials)?;
    let policy = RetryPolicy {
        deadline: PATIENCE,
        ..RetryPolicy::default()
    };
    Ok(Storage::with_policy(Arc::new(backend), policy))
}

async fn refuse_known(
    coordinator: &Coordinator,
    vault_name: &str,
    address: &VaultAddress,
) -> Result<()> {
    let mut connection = coordinator.store.read().await?;
    for known in vaults::list(&mut connection).await? {
        if known.name == vault_name {
            return Err(Fault::Refused(format!(
                "there is a vault {vault_name} already, at {}",
                known.address
            )));
        }
        if known.address == address.to_string() {
            return Err(Fault::Refused(format!(
                "{address} is vault {} already",
                known.name
            )));
        }
    }
    Ok(())
}

fn endpoint(address: &VaultAddress, request: &v1::AddVaultRequest) -> Result<Option<S3Endpoint>> {
    if matches!(address, VaultAddress::File { .. }) {
        let s3_only = [
            &request.endpoint,
            &request.region,
            &request.access_key_id,
            &request.secret_access_key,
            &request.role_arn,
        ];
        if s3_only.iter().any(|field| !field.is_empty()) {
            return Err(Fault::Invalid(format!(
                "{address} is a folder: endpoint, region, credentials and role go with s3:// only"
            )));
        }
        return Ok(None);
    }
    let url = Some(request.endpoint.clone()).filter(|url| !url.is_empty());
    if let Some(url) = &url
        && !url::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
    {
        return Err(Fault::Invalid(format!(
            "field endpoint: {url:?} is not a URL such as https://s3.example.org"
        )));
    }
    if url.is_none() && request.region.is_empty() {
        return Err(Fault::Invalid(
            "an s3:// vault needs a region, an endpoint, or both".into(),
        ));
    }
    let region = if request.region.is_empty() {
        DEFAULT_REGION
    } else {
        &request.region
    };
    Ok(Some(S3Endpoint::new(url, region)))
}

fn credentials(
    address: &VaultAddress,
    request: &v1::AddVaultRequest,
) -> Result<Option<S3Credentials>> {
    if matches!(address, VaultAddress::File { .. }) {
        return Ok(None);
    }
    if request.access_key_id.is_empty() || request.secret_access_key.is_empty() {
        return Err(Fault::Invalid(
            "an s3:// vault needs an access key and its secret".into(),
        ));
    }
    Ok(Some(S3Credentials {
        access_key_id: request.access_key_id.clone(),
        secret_access_key: SecretString::from(request.secret_access_key.as_str()),
        session_token: None,
        expires_at: None,
    }))
}

fn vault_secret(given: &str) -> Result<SecretString> {
    if given.is_empty() {
        return Ok(new_vault_secret());
    }
    let hexadecimal = given
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if given.len() != 64 || !hexadecimal {
        return Err(Fault::Invalid(
            "field vault_secret: 64 lower-case hexadecimal digits are expected, as the recovery kit has them".into(),
        ));
    }
    Ok(SecretString::from(given))
}

fn refuse_unusable(report: &ProbeReport, address: &VaultAddress) -> Result<()> {
    let basics = [
        (report.write, "what is written is not kept"),
        (report.read_back, "what is read is not what was written"),
        (report.list_ordered, "names are not listed in order"),
        (
            report.delete,
            "what is deleted stays, so locks would never go away",
        ),
    ];
    let missing: Vec<&str> = basics
        .iter()
        .filter(|(good, _)| !good)
        .map(|(_, what)| *what)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Fault::Refused(format!(
        "{address} cannot be a vault: {}",
        missing.join("; ")
    )))
}

/// Nothing is promised that the store does not enforce.
fn append_only(report: &ProbeReport, address: &VaultAddress) -> (bool, String) {
    match (report.versioning, address) {
        (Some(true), _) => (true, "the bucket keeps old versions of what is overwritten or deleted".into()),
        (_, VaultAddress::File { .. }) => (
            false,
            "a folder: whoever may write it can overwrite and delete".into(),
        ),
        (Some(false), _) => (
            false,
            "the bucket keeps no old versions: who has a run's credentials could overwrite; turn versioning on".into(),
        ),
        (None, _) => (
            false,
            "the server does not say whether it keeps old versions".into(),
        ),
    }
}

/// Opens what lies there already with the secret; returns the sources.
async fn check_repositories(
    vault: &OpenVault,
    storage: &Storage,
    taken_over: bool,
) -> Result<Vec<String>> {
    let mut opened = Vec::new();
    for source in storage.list_folders("").await? {
        let folder = storage.subfolder(&source);
        match Repository::open(folder, &vault.password(&source)).await {
            Ok(_) => opened.push(source),
            Err(VaultError::NoRepository { .. }) => {}
            Err(VaultError::WrongPassword { .. }) if taken_over => {
                return Err(Fault::Refused(format!(
                    "the secret does not open the repository {source} in {}",
                    vault.address
                ))
                .hint("check that the recovery kit is the one of this vault"));
            }
            Err(VaultError::WrongPassword { .. }) => {
                return Err(Fault::Refused(format!(
                    "{} holds the repository {source} of another installation",
                    vault.address
                ))
                .hint(
                    "give the secret of its recovery kit to take it over, or choose another prefix",
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if taken_over && opened.is_empty() {
        tracing::warn!(vault = %vault.record.name, "took a secret over for a vault that holds no repository");
    }
    Ok(opened)
}

fn seal(coordinator: &Coordinator, vault: &mut OpenVault) -> Result<()> {
    let seal = |column, secret: &SecretString| {
        coordinator
            .master_key
            .seal(vault.record.id, column, secret)
            .map_err(|error| Fault::Internal(error.to_string()))
    };
    let vault_secret = seal(VAULT_SECRET, &vault.secret)?;
    let secret_access_key = match &vault.credentials {
        Some(credentials) => seal(SECRET_ACCESS_KEY, &credentials.secret_access_key)?,
        None => Vec::new(),
    };
    vault.record.vault_secret = vault_secret;
    vault.record.secret_access_key = secret_access_key;
    Ok(())
}

async fn record(
    coordinator: &Coordinator,
    vault: &mut OpenVault,
    repositories: &[String],
    operator: &str,
) -> Result<()> {
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    // The first vault is the default; a later one only when it is asked for.
    vault.record.is_default |= vaults::default(&mut tx).await?.is_none();
    if vault.record.is_default {
        vaults::clear_default(&mut tx).await?;
    }
    vaults::add(&mut tx, &vault.record).await?;
    for source in repositories {
        vaults::repository_opened(&mut tx, vault.record.id, source, now).await?;
    }
    let actor = format!("operator {operator}");
    let record = &vault.record;
    audit::add(
        &mut tx,
        now,
        &actor,
        "vault.add",
        &record.name,
        &record.address,
    )
    .await?;
    Ok(tx.commit().await?)
}

fn findings(report: &ProbeReport) -> Vec<v1::ProbeFinding> {
    let finding = |name: &str, ok: bool, detail: &str| v1::ProbeFinding {
        name: name.into(),
        ok,
        detail: detail.into(),
    };
    let conditional = match report.conditional_write {
        ConditionalWrite::Enforced => "of two creators one is refused",
        ConditionalWrite::Ignored => "ignored: two creators could overwrite each other",
        ConditionalWrite::Unsupported => "not supported by the server",
    };
    let versions = match report.versioning {
        Some(true) => "what is overwritten or deleted is kept",
        Some(false) => "not kept: what is overwritten is gone",
        None => "the server does not say",
    };
    let latency = format!("{:.1} ms a request", report.latency.as_secs_f64() * 1000.0);
    vec![
        finding("write", report.write, ""),
        finding("read back", report.read_back, "whole and in part"),
        finding(
            "conditional write",
            report.conditional_write == ConditionalWrite::Enforced,
            conditional,
        ),
        finding("listing in order", report.list_ordered, ""),
        finding("delete", report.delete, ""),
        finding(
            "checksum",
            report.checksum_verified,
            if report.checksum_verified {
                "a damaged upload is refused"
            } else {
                "the server takes damaged uploads; readers notice"
            },
        ),
        finding("versions", report.versioning == Some(true), versions),
        finding("latency", true, &latency),
    ]
}

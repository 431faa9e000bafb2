//! What an agent needs for one run, and no more.
//!
//! The password of one repository always; storage credentials as the vault allows: a session cut to that repository where
//! the vault has a role, its own keys otherwise, none for a folder. Written down is what was given, never the secret.

use std::time::Duration;

use holdfast_proto::ids::SnapshotId;
use holdfast_proto::v1;
use holdfast_vault::{
    CredentialsCell, Id, S3Credentials, VaultAddress, assume_role, backup_policy, presign_put,
    restore_policy,
};
use secrecy::ExposeSecret as _;

use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::store::grants::GrantRecord;
use crate::store::runs::RunRecord;
use crate::vaults::{OpenVault, view};

/// How long a session of a token service lives; agents ask for the next one at half of it.
const SESSION: Duration = Duration::from_secs(3600);

/// What the holder may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Write a new snapshot.
    Backup,
    /// Read.
    Read,
}

/// A grant, and what is written down about it.
#[derive(Debug)]
pub struct Issued {
    /// For the holder.
    pub grant: v1::Grant,
    /// For the state.
    pub record: GrantRecord,
}

/// The grant of a run; `None` where the work needs no vault.
pub async fn issue(coordinator: &Coordinator, run: &RunRecord) -> Result<Option<Issued>> {
    if run.vault.is_empty() {
        return Ok(None);
    }
    let vault = OpenVault::named(coordinator, &run.vault).await?;
    let repository = run.repository();
    let purpose = match run.kind() {
        v1::RunKind::Backup => Purpose::Backup,
        _ => Purpose::Read,
    };
    if purpose == Purpose::Backup {
        vault.ensure_repository(coordinator, repository).await?;
    }
    let mut issued = issue_for(&vault, repository, purpose, &format!("run-{}", run.id)).await?;
    issued.record.run = Some(run.id);
    issued.record.agent = Some(run.agent);
    Ok(Some(issued))
}

/// The grant to use the repository of `source`.
pub async fn issue_for(
    vault: &OpenVault,
    source: &str,
    purpose: Purpose,
    session: &str,
) -> Result<Issued> {
    let credentials = credentials(vault, source, purpose, session).await?;
    let now = now_micros();
    let expires = credentials
        .as_ref()
        .and_then(|credentials| credentials.expires_at)
        .map_or(0, jiff::Timestamp::as_microsecond);
    let record = GrantRecord {
        run: None,
        agent: None,
        operator: String::new(),
        vault: vault.record.name.clone(),
        repository: source.into(),
        credentials: view::credentials_word(&vault.record).into(),
        access_key_id: credentials
            .as_ref()
            .map(|credentials| credentials.access_key_id.clone())
            .unwrap_or_default(),
        issued_micros: now,
        expires_micros: expires,
    };
    let grant = v1::Grant {
        vault_address: vault.address.to_string(),
        repository: source.into(),
        s3: credentials.map(|credentials| access(vault, &credentials)),
        repository_password: vault.password(source).expose_secret().into(),
        expires_at_micros: expires,
        issued_at_micros: now,
    };
    Ok(Issued { grant, record })
}

async fn credentials(
    vault: &OpenVault,
    source: &str,
    purpose: Purpose,
    session: &str,
) -> Result<Option<S3Credentials>> {
    let (VaultAddress::S3 { bucket, prefix }, Some(endpoint), Some(own)) =
        (&vault.address, &vault.endpoint, &vault.credentials)
    else {
        return Ok(None);
    };
    if vault.record.role_arn.is_empty() {
        return Ok(Some(own.clone()));
    }
    let repository = if prefix.is_empty() {
        source.into()
    } else {
        format!("{prefix}/{source}")
    };
    let policy = match purpose {
        Purpose::Backup => backup_policy(bucket, &repository),
        Purpose::Read => restore_policy(bucket, &repository),
    };
    let role = &vault.record.role_arn;
    Ok(Some(
        assume_role(endpoint, role, own, session, &policy, SESSION).await?,
    ))
}

fn access(vault: &OpenVault, credentials: &S3Credentials) -> v1::S3Access {
    let endpoint = vault.endpoint.as_ref();
    let token = credentials.session_token.as_ref();
    v1::S3Access {
        endpoint: endpoint
            .and_then(|e| e.endpoint.clone())
            .unwrap_or_default(),
        region: endpoint.map(|e| e.region.clone()).unwrap_or_default(),
        access_key_id: credentials.access_key_id.clone(),
        secret_access_key: credentials.secret_access_key.expose_secret().into(),
        session_token: token
            .map(|token| token.expose_secret().into())
            .unwrap_or_default(),
        path_style: endpoint.is_some_and(|e| e.path_style),
    }
}

/// The one request that writes this snapshot, valid for the window to commit; `None` for a folder.
pub async fn presign_snapshot(
    coordinator: &Coordinator,
    run: &RunRecord,
    snapshot: &SnapshotId,
    bytes: u64,
) -> Result<Option<v1::PresignedPut>> {
    let vault = OpenVault::named(coordinator, &run.vault).await?;
    let (Some(endpoint), Some(own)) = (&vault.endpoint, &vault.credentials) else {
        return Ok(None);
    };
    let sha256: Id = snapshot
        .as_str()
        .parse()
        .map_err(|_| Fault::Invalid("field snapshot_id: not a SHA-256".into()))?;
    let name = format!("{}/snapshots/{snapshot}", run.repository());
    let window = coordinator.config.runs.commit_window;
    let cell = CredentialsCell::new(own.clone());
    let put = presign_put(
        &vault.address,
        endpoint,
        &cell,
        &name,
        &sha256,
        bytes,
        window,
    )
    .await?;
    Ok(Some(v1::PresignedPut {
        url: put.url.expose_secret().into(),
        headers: put.headers.into_iter().collect(),
    }))
}

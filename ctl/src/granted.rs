//! Reading a repository from where the operator is, with leave that the coordinator gives for one snapshot.
//!
//! The bytes go from the vault to this process; the coordinator hands out the grant, writes it into its audit log, and sees
//! nothing of them. The grant lives in memory only.

use std::path::Path;
use std::time::Duration;

use holdfast_proto::v1;
use holdfast_vault::{
    CredentialsCell, FileEntry, Repository, S3Credentials, S3Endpoint, SnapshotId, SnapshotReader,
    Storage, VaultAddress, VaultError,
};
use secrecy::SecretString;

use crate::client::{Client, Control, QUICK};
use crate::exit::{Class, CommandError};
use crate::output::human::time;
use crate::output::note;

/// From here on a wait is told.
const NOTABLE_WAIT: Duration = Duration::from_secs(5);

/// A snapshot ready to be read.
pub struct Opened {
    /// Its id, 64 hex digits.
    pub id: String,
    /// The source it is of.
    pub source: String,
    reader: SnapshotReader,
}

impl Opened {
    /// Opens `id` in `repository`.
    pub async fn new(
        repository: &Repository,
        id: SnapshotId,
        source: &str,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            id: id.to_hex(),
            source: source.to_owned(),
            reader: repository.open_snapshot(&id).await?,
        })
    }

    /// Everything in the snapshot.
    pub async fn files(&self) -> Result<Vec<FileEntry>, CommandError> {
        Ok(self.reader.files().await?)
    }

    /// Gives the repository's lock back. To be called however the reading ended: this process is gone a moment later, and a
    /// lock left behind keeps restic's prune away for half an hour.
    pub async fn close(self) {
        self.reader.close().await;
    }

    /// What reads the content.
    pub fn reader(&self) -> &SnapshotReader {
        &self.reader
    }

    /// A file's path below the source's folder: `databases/app.dump`.
    pub fn relative<'a>(&self, path: &'a str) -> &'a str {
        let path = path.trim_start_matches('/');
        path.strip_prefix(self.source.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .unwrap_or(path)
    }
}

/// Opens a snapshot with the coordinator's leave. `purpose` goes into the audit log.
pub async fn open(
    client: &Client,
    snapshot_id: &str,
    purpose: &str,
) -> Result<Opened, CommandError> {
    let request = v1::GrantReadRequest {
        snapshot_id: snapshot_id.to_owned(),
        purpose: purpose.to_owned(),
    };
    let call = |mut control: Control| async move { control.grant_read(request).await };
    let answer = client.call(QUICK, call).await?;
    let (Some(snapshot), Some(grant)) = (answer.snapshot, answer.grant) else {
        return Err(CommandError::failed(
            "the coordinator answered without a snapshot and a grant",
        ));
    };
    let storage = storage(&grant)?.subfolder(&grant.repository);
    let password = SecretString::from(grant.repository_password.clone());
    let repository = match open_repository(storage, &password).await {
        Ok(repository) => repository,
        Err(error) => return Err(not_from_here(error, &grant)),
    };
    let id = snapshot.id.parse().map_err(CommandError::failed)?;
    Opened::new(&repository, id, &snapshot.source).await
}

/// Opens a repository. A server that does not answer is tried for more than a minute; that is told while it lasts.
pub async fn open_repository(
    storage: Storage,
    password: &SecretString,
) -> Result<Repository, VaultError> {
    let location = storage.location();
    let open = Repository::open(storage, password);
    tokio::pin!(open);
    tokio::select! {
        opened = &mut open => return opened,
        () = tokio::time::sleep(NOTABLE_WAIT) => {}
    }
    note(&format!("{location} does not answer yet; trying on"));
    open.await
}

fn storage(grant: &v1::Grant) -> Result<Storage, CommandError> {
    let address: VaultAddress = grant.vault_address.parse().map_err(CommandError::failed)?;
    let Some(s3) = &grant.s3 else {
        return Ok(Storage::open(&address, None, None)?);
    };
    let endpoint = S3Endpoint {
        endpoint: (!s3.endpoint.is_empty()).then(|| s3.endpoint.clone()),
        region: s3.region.clone(),
        path_style: s3.path_style,
    };
    let token = (!s3.session_token.is_empty()).then(|| s3.session_token.clone());
    let credentials = CredentialsCell::new(S3Credentials {
        access_key_id: s3.access_key_id.clone(),
        secret_access_key: s3.secret_access_key.clone().into(),
        session_token: token.map(SecretString::from),
        expires_at: time(grant.expires_at_micros),
    });
    Ok(Storage::open(&address, Some(&endpoint), Some(credentials))?)
}

/// A folder that is on another host looks as if there were no backup; that would frighten for nothing.
fn not_from_here(error: VaultError, grant: &v1::Grant) -> CommandError {
    let folder = match grant.vault_address.parse() {
        Ok(VaultAddress::File { path }) => path,
        _ => return error.into(),
    };
    if Path::new(&folder).is_dir() {
        return error.into();
    }
    CommandError::new(
        Class::NotReachable,
        format!(
            "the vault is the folder {} on its agent's host, and there is no such folder here",
            folder.display()
        ),
    )
    .hint("run this on that host; without a configuration there: --kit FILE --source NAME")
}

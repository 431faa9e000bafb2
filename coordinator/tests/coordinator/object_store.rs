//! Vaults on a real S3 server with a token service: what runs are given, and what they can do with it.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use holdfast_proto::v1;
use holdfast_tests::seaweed::{ROLE, SeaweedFs};
use holdfast_vault::storage::s3::PresignedPut;
use holdfast_vault::{
    CredentialsCell, Id, Repository, S3Credentials, S3Endpoint, Storage, StorageError, VaultAddress,
};
use secrecy::SecretString;
use tonic::Code;

use crate::support::agent::{FakeAgent, FakeSession};
use crate::support::{Control, Database, Installation, Running, start_backup};

static SERVER: LazyLock<SeaweedFs> = LazyLock::new(SeaweedFs::start);

struct Stage {
    running: Running,
    control: Control,
    session: FakeSession,
    bucket: String,
    run: v1::Run,
    given: v1::RunAssignment,
}

fn request(bucket: &str, role: &str) -> v1::AddVaultRequest {
    v1::AddVaultRequest {
        name: "s3".into(),
        address: format!("s3://{bucket}/prod"),
        endpoint: format!("http://127.0.0.1:{}", SERVER.port()),
        access_key_id: SERVER.access_key.clone(),
        secret_access_key: SERVER.secret_key.clone(),
        role_arn: role.into(),
        ..Default::default()
    }
}

/// A backup into a vault whose runs get credentials by `role` (empty: static ones) that has begun.
async fn stage(role: &str) -> Stage {
    let at = Installation::with(Database::Sqlite, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    let bucket = SERVER.new_bucket();
    control
        .add_vault(request(&bucket, role))
        .await
        .expect("added");
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let mut session = agent.connect(&at).await;
    let run = start_backup(&mut control, "orders").await;
    let given = session.begin().await;
    Stage {
        running,
        control,
        session,
        bucket,
        run,
        given,
    }
}

/// The storage as an agent with this grant sees it.
fn storage(grant: &v1::Grant) -> Storage {
    let access = grant.s3.clone().expect("S3 credentials");
    let credentials = S3Credentials {
        access_key_id: access.access_key_id,
        secret_access_key: SecretString::from(access.secret_access_key),
        session_token: Some(access.session_token)
            .filter(|token| !token.is_empty())
            .map(SecretString::from),
        expires_at: None,
    };
    let endpoint = S3Endpoint {
        endpoint: Some(access.endpoint),
        region: access.region,
        path_style: access.path_style,
    };
    let address: VaultAddress = grant.vault_address.parse().expect("an address");
    let cell = CredentialsCell::new(credentials);
    Storage::open(&address, Some(&endpoint), Some(cell)).expect("open")
}

fn denied<T>(outcome: Result<T, StorageError>) -> bool {
    matches!(outcome, Err(StorageError::AccessDenied { .. }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_gets_a_session_cut_to_its_repository() {
    let mut s = stage(ROLE).await;
    let grant = s.given.grant.clone().expect("a grant");
    let left = grant.expires_at_micros - grant.issued_at_micros;
    assert!(
        (3_500_000_000..=3_610_000_000).contains(&left),
        "an hour: {left}"
    );
    let all = storage(&grant);
    let own = all.subfolder("orders");
    // The repository is there before the run that may not make it.
    let password = SecretString::from(grant.repository_password.clone());
    Repository::open(own.clone(), &password)
        .await
        .expect("made by the coordinator");
    let body = || Bytes::from_static(b"body");
    own.put("data/00/x", body()).await.expect("data");
    own.put("locks/x", body()).await.expect("a lock");
    own.delete("locks/x").await.expect("its own lock");
    assert_eq!(own.get("data/00/x").await.expect("read"), body());
    assert!(denied(own.delete("data/00/x").await));
    assert!(denied(own.put("config", body()).await));
    assert!(denied(own.put("keys/x", body()).await));
    let other = all.subfolder("users");
    assert!(denied(other.put("data/00/x", body()).await));
    assert!(denied(other.list("").await));
    assert!(other.get("config").await.is_err());

    // What remains after a revocation ends, and when is said.
    let request = v1::RevokeAgentRequest { name: "db1".into() };
    let told = s
        .control
        .revoke_agent(request)
        .await
        .expect("revoked")
        .into_inner();
    let until = told
        .remaining
        .iter()
        .find(|line| line.starts_with("until "));
    assert!(
        until.is_some_and(|line| line.contains("repository orders")),
        "{told:?}"
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permission_to_commit_is_one_signed_write_of_this_snapshot() {
    let mut s = stage(ROLE).await;
    let body = Bytes::from(vec![7; 300]);
    let id = Id::of(&body);
    let decision = s.session.ask_commit(&s.run.id, 1, &id.to_hex()).await;
    assert!(decision.permitted, "{}", decision.reason);
    let put = decision.snapshot_put.expect("a signed write");
    let put = PresignedPut {
        url: SecretString::from(put.url),
        headers: put.headers.into_iter().collect(),
    };
    let soon = || tokio::time::Instant::now() + Duration::from_secs(20);
    put.send(Bytes::from(vec![8; 300]), soon())
        .await
        .expect_err("other bytes");
    put.send(body, soon()).await.expect("written");
    let name = format!("prod/orders/snapshots/{}", id.to_hex());
    let found = SERVER.objects(&s.bucket, "prod/orders/snapshots");
    assert_eq!(found, [(name, 300)]);
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_without_a_role_gives_its_own_keys_and_says_so() {
    let mut s = stage("").await;
    let grant = s.given.grant.clone().expect("a grant");
    let access = grant.s3.expect("S3 credentials");
    assert_eq!(access.access_key_id, SERVER.access_key);
    assert_eq!(
        (access.session_token.as_str(), grant.expires_at_micros),
        ("", 0)
    );
    let vaults = s
        .control
        .list_vaults(v1::ListVaultsRequest {})
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(vaults.vaults[0].credentials, "static");
    let request = v1::RevokeAgentRequest { name: "db1".into() };
    let told = s
        .control
        .revoke_agent(request)
        .await
        .expect("revoked")
        .into_inner();
    let rotate = told
        .remaining
        .iter()
        .any(|line| line.contains(&SERVER.access_key) && line.contains("rotate"));
    assert!(rotate, "{told:?}");
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_used_is_refused_with_the_reason() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let missing = request("no-such-bucket", "");
    let refused = control.add_vault(missing).await.expect_err("no bucket");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("no-such-bucket"),
        "{}",
        refused.message()
    );
    let mut wrong = request(&SERVER.new_bucket(), "");
    wrong.secret_access_key = "not the secret".into();
    let refused = control.add_vault(wrong).await.expect_err("a wrong secret");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        !refused.message().contains("not the secret"),
        "{}",
        refused.message()
    );
    let mut away = request("bucket", "");
    away.endpoint = format!(
        "http://127.0.0.1:{}",
        crate::support::installation::free_port()
    );
    let refused = control.add_vault(away).await.expect_err("nobody there");
    assert_eq!(refused.code(), Code::Unavailable, "{}", refused.message());
    running.stop().await;
}

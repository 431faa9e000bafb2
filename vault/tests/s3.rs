//! The S3 backend against a real server: what an upload proves, what a run's session may do, and how a signed write
//! ends.

#![allow(
    clippy::expect_used,
    reason = "a test that cannot go on is to fail, saying where"
)]

mod contract;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use holdfast_tests::{Transcript, seaweed};
use holdfast_vault::storage::s3::S3Backend;
use holdfast_vault::{
    CredentialsCell, Id, S3Credentials, S3Endpoint, Storage, StorageError, VaultAddress,
    assume_role, backup_policy, presign_put, restore_policy,
};
use tokio::time::Instant;

struct Bucket {
    name: String,
    endpoint: S3Endpoint,
    owner: S3Credentials,
}

impl Bucket {
    fn new() -> Bucket {
        let server = seaweed::SeaweedFs::shared(&Transcript::default());
        Bucket {
            name: server.new_bucket(),
            endpoint: S3Endpoint::new(
                Some(format!("http://127.0.0.1:{}", server.port())),
                "us-east-1",
            ),
            owner: S3Credentials {
                access_key_id: server.access_key.clone(),
                secret_access_key: server.secret_key.clone().into(),
                session_token: None,
                expires_at: None,
            },
        }
    }

    fn address(&self) -> VaultAddress {
        format!("s3://{}/prod", self.name).parse().expect("valid")
    }

    fn open(&self, credentials: &S3Credentials) -> Storage {
        let cell = CredentialsCell::new(credentials.clone());
        Storage::open(&self.address(), Some(&self.endpoint), Some(cell)).expect("opens")
    }

    async fn session(&self, policy: &str) -> S3Credentials {
        let hour = Duration::from_secs(3600);
        assume_role(
            &self.endpoint,
            seaweed::ROLE,
            &self.owner,
            "run 1/x",
            policy,
            hour,
        )
        .await
        .expect("a session")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_keeps_the_contract() {
    let bucket = Bucket::new();
    let cell = CredentialsCell::new(bucket.owner.clone());
    let backend = S3Backend::new(&bucket.name, "a/prefix", &bucket.endpoint, cell);
    contract::holds(Arc::new(backend.expect("opens")), 1100).await;
}

/// SeaweedFS lists folder by folder: `a/x` before `a.x`. Paging by name would lose what it lists late, so it is told.
#[tokio::test]
async fn a_listing_out_of_order_is_an_error_never_a_shorter_list() {
    let bucket = Bucket::new();
    let store = bucket.open(&bucket.owner);
    for name in ["f/a/x", "f/a.x"] {
        store
            .put(name, Bytes::from_static(b"1"))
            .await
            .expect("put");
    }
    match store.list("f/").await {
        Ok(all) => assert!(all.len() == 2 && all.is_sorted(), "{all:?}"),
        Err(error) => assert!(error.to_string().contains("ascending order"), "{error}"),
    }
}

fn denied<T: std::fmt::Debug>(result: Result<T, StorageError>) -> bool {
    matches!(result, Err(StorageError::AccessDenied { .. }))
}

#[tokio::test]
async fn a_backups_session_reaches_its_own_repository_and_deletes_only_locks() {
    let bucket = Bucket::new();
    let owner = bucket.open(&bucket.owner);
    for name in [
        "orders/config",
        "orders/data/aa/x",
        "billing/config",
        "billing/data/aa/y",
    ] {
        owner
            .put(name, Bytes::from_static(b"there"))
            .await
            .expect("put");
    }
    let policy = backup_policy(&bucket.name, "prod/orders");
    let run = bucket.open(&bucket.session(&policy).await);

    run.put("orders/data/aa/new", Bytes::from_static(b"1"))
        .await
        .expect("own data");
    run.put("orders/index/new", Bytes::from_static(b"1"))
        .await
        .expect("own index");
    run.put("orders/locks/new", Bytes::from_static(b"1"))
        .await
        .expect("own lock");
    run.delete("orders/locks/new").await.expect("own lock goes");
    assert_eq!(
        run.get("orders/config").await.expect("own config"),
        &b"there"[..]
    );
    assert_eq!(run.list("orders/").await.expect("own list").len(), 4);

    for name in [
        "orders/snapshots/s",
        "orders/keys/k",
        "orders/config",
        "billing/data/aa/z",
    ] {
        assert!(
            denied(run.put(name, Bytes::from_static(b"no")).await),
            "put {name}"
        );
    }
    for name in ["orders/data/aa/x", "orders/index/new", "billing/data/aa/y"] {
        assert!(denied(run.delete(name).await), "delete {name}");
    }
    assert!(
        denied(run.get("billing/config").await),
        "another source's config"
    );
    assert!(denied(run.list("billing/").await), "another source's names");
    assert!(owner.get("billing/config").await.is_ok());
}

#[tokio::test]
async fn a_restores_session_reads_and_keeps_a_lock() {
    let bucket = Bucket::new();
    let owner = bucket.open(&bucket.owner);
    owner
        .put("orders/config", Bytes::from_static(b"there"))
        .await
        .expect("put");
    let policy = restore_policy(&bucket.name, "prod/orders");
    let run = bucket.open(&bucket.session(&policy).await);
    assert!(run.get("orders/config").await.is_ok());
    run.put("orders/locks/l", Bytes::from_static(b"1"))
        .await
        .expect("lock");
    run.delete("orders/locks/l").await.expect("unlock");
    assert!(denied(
        run.put("orders/data/aa/x", Bytes::from_static(b"1")).await
    ));
}

#[tokio::test]
async fn a_signed_write_puts_that_object_until_its_time_is_over() {
    let bucket = Bucket::new();
    let cell = CredentialsCell::new(bucket.owner.clone());
    let sign = async |bytes: &Bytes, name: &str, seconds| {
        presign_put(
            &bucket.address(),
            &bucket.endpoint,
            &cell,
            name,
            &Id::of(bytes),
            bytes.len() as u64,
            Duration::from_secs(seconds),
        )
        .await
        .expect("signs")
    };
    let soon = || Instant::now() + Duration::from_secs(20);
    let bytes = Bytes::from_static(b"a snapshot");
    let put = sign(&bytes, "orders/snapshots/s1", 30).await;
    assert!(!format!("{put:?}").contains("Signature"), "{put:?}");
    put.send(bytes.clone(), soon()).await.expect("in time");
    let stored = bucket.open(&bucket.owner).get("orders/snapshots/s1").await;
    assert_eq!(stored.expect("there"), bytes);

    let other = Bytes::from_static(b"b snapshot");
    let refused = sign(&bytes, "orders/snapshots/s2", 30)
        .await
        .send(other, soon())
        .await;
    assert!(refused.is_err(), "other bytes than were signed");

    let late = sign(&bytes, "orders/snapshots/s3", 1).await;
    tokio::time::sleep(Duration::from_millis(2200)).await;
    let refused = late.send(bytes.clone(), soon()).await;
    assert!(denied(refused), "the server refuses what is late");
    let owner = bucket.open(&bucket.owner);
    assert!(
        owner
            .get("orders/snapshots/s3")
            .await
            .is_err_and(|e| e.is_not_found())
    );

    let passed = sign(&bytes, "orders/snapshots/s4", 30).await;
    assert!(
        passed.send(bytes, Instant::now()).await.is_err(),
        "nothing is begun after the deadline"
    );
}

#[tokio::test]
async fn wrong_keys_a_missing_bucket_and_nobody_there_are_told_apart() {
    let bucket = Bucket::new();
    let wrong = S3Credentials {
        secret_access_key: "not-the-secret".to_owned().into(),
        ..bucket.owner.clone()
    };
    assert!(denied(bucket.open(&wrong).put("x", Bytes::new()).await));

    let address = "s3://no-such-bucket-here/p".parse().expect("valid");
    let cell = CredentialsCell::new(bucket.owner.clone());
    let missing = Storage::open(&address, Some(&bucket.endpoint), Some(cell)).expect("opens");
    let error = missing.get("x").await.expect_err("missing");
    assert!(
        matches!(error, StorageError::BucketMissing { .. }),
        "{error}"
    );

    for bad in ["127.0.0.1:9000", "ftp://x", "http://user:word@host"] {
        let endpoint = S3Endpoint::new(Some(bad.to_owned()), "us-east-1");
        let cell = CredentialsCell::new(bucket.owner.clone());
        let refused = Storage::open(&bucket.address(), Some(&endpoint), Some(cell));
        assert!(
            matches!(refused, Err(StorageError::Misconfigured { .. })),
            "{bad}"
        );
    }
}

//! What credentials open, and what they do not.

use std::time::Duration;

use holdfast_tests::agent::SOURCE;
use holdfast_tests::seaweed::{ROLE, SeaweedFs};
use holdfast_tests::{Plan, Store, checksum, data};
use holdfast_vault::{
    CredentialsCell, S3Credentials, S3Endpoint, Storage, StorageError, VaultAddress, assume_role,
    backup_policy, restore_policy,
};

/// With a role every request of a run carries a session, and the main job works with nothing but that.
#[test]
fn runs_work_with_sessions_cut_to_their_source() {
    let house = Plan::new("sts").store(Store::S3WithRole).start(data::fill);
    let before = checksum::database(&house.postgres, data::AWKWARD);
    assert_eq!(
        house.ctl.json(&["vault", "list"])["vaults"][0]["credentials"],
        "sts"
    );
    let by_the_coordinator = house.s3.with_token();
    house.backup();
    assert!(
        house.s3.with_token() > by_the_coordinator,
        "the backup's requests carry a session's token"
    );
    house
        .postgres
        .sql(data::AWKWARD, "DROP TABLE lines CASCADE");
    house.restore(&["--database", data::AWKWARD]).expect(0);
    checksum::assert_equal(
        "restored with a session",
        &before,
        &checksum::database(&house.postgres, data::AWKWARD),
    );
    house.restic().check_all_data();
}

/// What the server itself refuses to such a session, with the very policy that runs get.
#[test]
fn a_sessions_reach_ends_at_its_source() {
    let house = Plan::new("sts-reach")
        .store(Store::S3WithRole)
        .start(|postgres| data::fill_bulk(postgres, 1000));
    house.backup();
    let (server, bucket) = house.bucket();
    let keys: Vec<String> = server
        .objects(bucket, "backups")
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    let pack = keys
        .iter()
        .find(|key| key.contains("/data/"))
        .expect("a pack");
    let snapshot = keys
        .iter()
        .find(|key| key.contains("/snapshots/"))
        .expect("a snapshot");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let own = format!("backups/{SOURCE}");
        let backup = session(server, bucket, &backup_policy(bucket, &own)).await;
        let other = session(
            server,
            bucket,
            &backup_policy(bucket, "backups/another-source"),
        )
        .await;
        let restore = session(server, bucket, &restore_policy(bucket, &own)).await;

        // Its own: read, put data, take its lock away.
        backup.get(pack).await.expect("its own pack");
        put(&backup, &format!("{own}/locks/mine"))
            .await
            .expect("a lock");
        backup
            .delete(&format!("{own}/locks/mine"))
            .await
            .expect("its own lock");
        // Not: delete data or snapshots, replace key or configuration.
        for key in [pack, snapshot] {
            refused(backup.delete(key).await, "delete", key);
        }
        for name in ["config", "keys/new"] {
            refused(put(&backup, &format!("{own}/{name}")).await, "put", name);
        }
        // Another source's session sees nothing of this one.
        for key in [pack, snapshot, &format!("{own}/config")] {
            refused(other.get(key).await, "read", key);
        }
        refused(
            put(&other, &format!("{own}/data/00/x")).await,
            "put",
            "data of another source",
        );
        // A restore puts no data.
        restore.get(pack).await.expect("its own pack");
        refused(
            put(&restore, &format!("{own}/data/00/x")).await,
            "put",
            "data",
        );
        refused(restore.delete(pack).await, "delete", pack);
    });
    let after: Vec<String> = server
        .objects(bucket, "backups")
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(keys, after, "nothing was changed by all this");
}

/// The bucket through a session with `policy`.
async fn session(server: &SeaweedFs, bucket: &str, policy: &str) -> Storage {
    let base = S3Credentials {
        access_key_id: server.access_key.clone(),
        secret_access_key: server.secret_key.clone().into(),
        session_token: None,
        expires_at: None,
    };
    let endpoint = S3Endpoint::new(
        Some(format!("http://127.0.0.1:{}", server.port())),
        "us-east-1",
    );
    let hour = Duration::from_secs(3600);
    let credentials = assume_role(&endpoint, ROLE, &base, "story", policy, hour)
        .await
        .expect("a session");
    let address: VaultAddress = format!("s3://{bucket}").parse().expect("an address");
    Storage::open(
        &address,
        Some(&endpoint),
        Some(CredentialsCell::new(credentials)),
    )
    .expect("the bucket")
}

async fn put(storage: &Storage, name: &str) -> Result<(), StorageError> {
    storage.put(name, "bytes of a story".into()).await
}

fn refused<T>(outcome: Result<T, StorageError>, what: &str, object: &str) {
    match outcome {
        Ok(_) => panic!("it could {what} {object}"),
        Err(StorageError::AccessDenied { .. }) => {}
        Err(other) => panic!("{what} {object}: refused in another way than expected: {other:?}"),
    }
}

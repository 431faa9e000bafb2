//! Backups and restores against a real repository on disk.

use std::path::Path;
use std::time::Duration;

use holdfast_proto::v1;
use holdfast_proto::v1::coordinator_message::Message as ToAgent;
use holdfast_vault::{Repository, SnapshotInfo, Storage};
use tempfile::TempDir;

use crate::coordinator::{FakeCoordinator, FakeSession};
use crate::harness::{TestAgent, backup, restore};
use crate::source::Manner;

fn vault() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

async fn repository(vault: &Path) -> Repository {
    let address = format!("file://{}", vault.display());
    let storage = Storage::open(&address.parse().expect("an address"), None, None);
    let storage = storage.expect("opened").subfolder("orders-db");
    Repository::open(storage, &"open sesame".into())
        .await
        .expect("opened")
}

async fn snapshots(vault: &Path) -> Vec<SnapshotInfo> {
    repository(vault).await.snapshots().await.expect("listed")
}

/// A run up to its result, permitted for a minute.
async fn permitted(session: &mut FakeSession, run: &v1::RunAssignment) -> v1::BackupResult {
    session.begin(run).await;
    let request = session.commit_request().await;
    session.permit(&request, 60).await;
    backed_up(session).await
}

async fn backed_up(session: &mut FakeSession) -> v1::BackupResult {
    match session.result().await {
        v1::run_result::Result::Backup(result) => result,
        other => panic!("not a backup: {other:?}"),
    }
}

#[tokio::test]
async fn a_backup_is_one_snapshot_with_the_runs_tags_and_comes_back() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let vault = vault();
    let mut session = coordinator.welcomed().await;
    let run = backup(vault.path());
    session.begin(&run).await;
    let request = session.commit_request().await;
    assert_eq!(request.snapshot_id.len(), 64);
    assert!(request.snapshot_bytes > 0);
    assert_eq!(
        snapshots(vault.path()).await,
        [],
        "no snapshot before the permission"
    );
    session.permit(&request, 60).await;
    let result = backed_up(&mut session).await;
    assert_eq!(result.snapshot_id, request.snapshot_id);
    assert_eq!(result.files, 2);
    assert!(
        result.read_bytes > 300_000 && result.stored_bytes > 0,
        "{result:?}"
    );
    assert!(result.manifest_json.contains(&run.run_id));
    assert!(
        result.manifest_json.contains("(in the vault)") && !result.manifest_json.contains("hush"),
        "{}",
        result.manifest_json
    );
    assert_eq!(result.warnings, ["template0 was skipped"]);

    let made = snapshots(vault.path()).await;
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].id.to_hex(), result.snapshot_id);
    let snapshot = &made[0].snapshot;
    assert_eq!(snapshot.hostname, "db1");
    assert_eq!(snapshot.paths, ["/orders-db"]);
    let expected = [
        ("run", run.run_id.as_str()),
        ("epoch", "1"),
        ("kind", "postgres"),
        ("method", "dump"),
    ];
    for (key, value) in expected {
        assert_eq!(snapshot.tag(key), Some(value));
    }

    let before = agent.source.content.lock().expect("unpoisoned").clone();
    agent.source.content.lock().expect("unpoisoned").clear();
    session
        .begin(&restore(vault.path(), &result.snapshot_id))
        .await;
    let request = session.commit_request().await;
    assert!(agent.source.content.lock().expect("unpoisoned").is_empty());
    session.permit(&request, 60).await;
    let v1::run_result::Result::Restore(restored) = session.result().await else {
        panic!("not a restore")
    };
    assert_eq!(restored.databases[0].name, "app");
    assert_eq!(restored.read_bytes, before.len() as u64);
    assert_eq!(*agent.source.content.lock().expect("unpoisoned"), before);
}

#[tokio::test]
async fn a_source_that_fails_leaves_no_snapshot() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let vault = vault();
    agent.source.behave(Manner::Fail);
    let mut session = coordinator.welcomed().await;
    session.begin(&backup(vault.path())).await;
    let failure = session.failure().await;
    assert_eq!(failure.message, "pg_dump ended with code 1");
    assert_eq!(snapshots(vault.path()).await, []);
    // And the repository takes the next one.
    agent.source.behave(Manner::Plain);
    permitted(&mut session, &backup(vault.path())).await;
    assert_eq!(snapshots(vault.path()).await.len(), 1);
}

#[tokio::test]
async fn a_cancelled_backup_leaves_no_snapshot_and_no_lock() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let vault = vault();
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    let run = backup(vault.path());
    session.begin(&run).await;
    agent.source.has_done("backup begins").await;
    session
        .send(ToAgent::Cancel(v1::CancelRun {
            run_id: run.run_id.clone(),
            epoch: 1,
            requested_by: "anna".into(),
        }))
        .await;
    let by = v1::run_result::Result::CancelledBy("anna".into());
    assert_eq!(session.result().await, by);
    assert_eq!(snapshots(vault.path()).await, []);
    let locks = vault.path().join("orders-db/locks");
    let left = std::fs::read_dir(locks).map_or(0, Iterator::count);
    assert_eq!(left, 0, "a lock was left");
}

#[tokio::test]
async fn a_refused_or_late_commit_leaves_no_snapshot() {
    let coordinator = FakeCoordinator::start().await;
    let _agent = TestAgent::start(&coordinator).await;
    let vault = vault();
    let mut session = coordinator.welcomed().await;
    session.begin(&backup(vault.path())).await;
    let request = session.commit_request().await;
    session
        .send(ToAgent::CommitDecision(v1::CommitDecision {
            run_id: request.run_id,
            epoch: 1,
            permitted: false,
            reason: "the run was cancelled".into(),
            ..Default::default()
        }))
        .await;
    let failure = session.failure().await;
    assert!(
        failure.message.contains("the run was cancelled"),
        "{failure:?}"
    );

    session.begin(&backup(vault.path())).await;
    let request = session.commit_request().await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    session.permit(&request, 1).await;
    let failure = session.failure().await;
    assert_eq!(failure.class(), v1::FailureClass::Retryable, "{failure:?}");
    assert_eq!(snapshots(vault.path()).await, []);
}

#[tokio::test]
async fn a_later_attempt_finds_the_snapshot_that_was_permitted_and_does_no_work() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let vault = vault();
    let mut session = coordinator.welcomed().await;
    let first = backup(vault.path());
    let done = permitted(&mut session, &first).await;
    let again = v1::RunAssignment {
        epoch: 2,
        permitted_snapshot_id: done.snapshot_id.clone(),
        ..first.clone()
    };
    session.begin(&again).await;
    let found = backed_up(&mut session).await;
    assert_eq!(found.snapshot_id, done.snapshot_id);
    assert_eq!(
        (found.files, found.read_bytes),
        (done.files, done.read_bytes)
    );
    assert_eq!(found.manifest_json, done.manifest_json);
    let backups = agent
        .source
        .done()
        .iter()
        .filter(|d| *d == "backup done")
        .count();
    assert_eq!(backups, 1);

    // A snapshot of this run that nobody permitted is an orphan: the work is done again.
    let orphan = v1::RunAssignment {
        epoch: 3,
        permitted_snapshot_id: String::new(),
        ..first
    };
    let fresh = permitted(&mut session, &orphan).await;
    assert_ne!(fresh.snapshot_id, done.snapshot_id);
}

#[tokio::test]
async fn a_later_attempt_of_a_restore_sweeps_before_it_begins() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let vault = vault();
    let mut session = coordinator.welcomed().await;
    let done = permitted(&mut session, &backup(vault.path())).await;
    let sweeps = |done: &[String]| done.iter().filter(|done| *done == "swept, 0 alive").count();
    let first = restore(vault.path(), &done.snapshot_id);
    session.begin(&first).await;
    session.commit_request().await;
    assert_eq!(sweeps(&agent.source.done()), 1, "only the process's own");
    let second = v1::RunAssignment { epoch: 2, ..first };
    session.begin(&second).await;
    let request = session.commit_request().await;
    assert_eq!(request.epoch, 2);
    let done = agent.source.done();
    assert_eq!(sweeps(&done), 2);
    // Its own earlier attempt is not spared, and the sweep comes before the work.
    assert_eq!(done[done.len() - 2..], ["swept, 0 alive", "restore begins"]);
}

#[tokio::test]
async fn what_is_wrong_with_the_vault_is_told() {
    let coordinator = FakeCoordinator::start().await;
    let _agent = TestAgent::start(&coordinator).await;
    let vault = vault();
    let mut session = coordinator.welcomed().await;
    permitted(&mut session, &backup(vault.path())).await;
    let mut wrong = backup(vault.path());
    if let Some(grant) = &mut wrong.grant {
        grant.repository_password = "open barley".into();
    }
    session.begin(&wrong).await;
    let failure = session.failure().await;
    assert_eq!(failure.class(), v1::FailureClass::Permanent);
    assert!(failure.message.contains("password"), "{failure:?}");
    let mut unknown = backup(vault.path());
    if let Some(spec) = &mut unknown.spec {
        spec.detail = Some(v1::run_spec::Detail::Backup(v1::BackupSpec {
            method: "base".into(),
        }));
    }
    session.begin(&unknown).await;
    let failure = session.failure().await;
    assert!(
        failure.message.contains("base") && failure.hint.contains("dump"),
        "{failure:?}"
    );
    session.begin(&restore(vault.path(), &"0".repeat(64))).await;
    let failure = session.failure().await;
    assert_eq!(failure.class(), v1::FailureClass::Permanent, "{failure:?}");
}

//! What the tests stand on.

pub mod agent;
pub mod cluster;
pub mod installation;

use std::time::Duration;

use holdfast_proto::v1;
pub use installation::{Control, Database, Installation, Running};

/// An id that no repository made.
pub fn snapshot_id(digit: char) -> String {
    digit.to_string().repeat(64)
}

pub fn backup_spec(source: &str) -> v1::RunSpec {
    v1::RunSpec {
        kind: v1::RunKind::Backup.into(),
        source: source.into(),
        vault: String::new(),
        detail: Some(v1::run_spec::Detail::Backup(v1::BackupSpec::default())),
    }
}

pub fn restore_spec(source: &str) -> v1::RunSpec {
    v1::RunSpec {
        kind: v1::RunKind::Restore.into(),
        source: source.into(),
        vault: String::new(),
        detail: Some(v1::run_spec::Detail::Restore(v1::RestoreSpec {
            from_source: source.into(),
            ..Default::default()
        })),
    }
}

pub fn start_request(spec: v1::RunSpec) -> v1::StartRunRequest {
    v1::StartRunRequest {
        spec: Some(spec),
        ..Default::default()
    }
}

pub async fn start_backup(control: &mut Control, source: &str) -> v1::Run {
    let started = control.start_run(start_request(backup_spec(source))).await;
    started.expect("started").into_inner().run.expect("a run")
}

pub async fn run_of(control: &mut Control, id: &str) -> v1::Run {
    let request = v1::GetRunRequest { run_id: id.into() };
    control.get_run(request).await.expect("found").into_inner()
}

/// Waits until the run is in `state`.
pub async fn until(control: &mut Control, id: &str, state: v1::RunState) -> v1::Run {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(15);
    loop {
        let run = run_of(control, id).await;
        if run.state() == state {
            return run;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "never {state:?}: {run:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub fn backup_result(snapshot: &str) -> v1::run_result::Result {
    v1::run_result::Result::Backup(v1::BackupResult {
        snapshot_id: snapshot.into(),
        read_bytes: 1000,
        new_bytes: 100,
        stored_bytes: 50,
        files: 3,
        manifest_json: "{}".into(),
        warnings: Vec::new(),
        ..Default::default()
    })
}

pub fn failed(class: v1::FailureClass) -> v1::run_result::Result {
    v1::run_result::Result::Failure(v1::Failure {
        class: class.into(),
        message: "the server said no".into(),
        hint: "ask it again".into(),
    })
}

pub async fn snapshots(control: &mut Control, include_orphans: bool) -> Vec<v1::Snapshot> {
    let request = v1::ListSnapshotsRequest {
        include_orphans,
        ..Default::default()
    };
    control
        .list_snapshots(request)
        .await
        .expect("listed")
        .into_inner()
        .snapshots
}

/// One test on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::Database::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name($crate::support::Database::Postgres).await;
            })*
        }
    };
}
pub(crate) use on_both;

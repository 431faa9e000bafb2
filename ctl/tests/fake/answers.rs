//! What the coordinator of the tests has to tell when a test says nothing else.

use std::time::Duration;

use holdfast_proto::v1::{self, run_event::Event, run_result::Result as Outcome, run_spec::Detail};
use holdfast_vault::RecoveryKit;

use super::Step;

pub const RUN: &str = "0190a1b2-c3d4-7000-8000-000000000001";
pub const FAILED_RUN: &str = "0190a1b2-c3d4-7000-8000-000000000002";
pub const SAFETY_RUN: &str = "0190a1b2-c3d4-7000-8000-000000000003";
pub const SNAPSHOT: &str = "1a2b3c4d5e6f70811a2b3c4d5e6f70811a2b3c4d5e6f70811a2b3c4d5e6f7081";

/// Microseconds of a fixed moment (2026-07-01 12:00:00 UTC) and some seconds.
pub fn at(seconds: i64) -> i64 {
    (1_782_907_200 + seconds) * 1_000_000
}

pub fn backup_spec() -> v1::RunSpec {
    v1::RunSpec {
        kind: v1::RunKind::Backup.into(),
        source: "orders-db".into(),
        vault: "primary".into(),
        detail: Some(Detail::Backup(v1::BackupSpec {
            method: "dump".into(),
        })),
    }
}

pub fn queued() -> v1::Run {
    v1::Run {
        id: RUN.into(),
        spec: Some(backup_spec()),
        state: v1::RunState::Queued.into(),
        agent: "db1".into(),
        requested_by: "ada".into(),
        created_at_micros: at(0),
        ..Default::default()
    }
}

fn ended(run: v1::Run, state: v1::RunState, outcome: Outcome) -> v1::Run {
    v1::Run {
        state: state.into(),
        epoch: 1,
        attempt: 1,
        started_at_micros: at(1),
        finished_at_micros: at(73),
        result: Some(v1::RunResult {
            result: Some(outcome),
        }),
        ..run
    }
}

pub fn succeeded_backup() -> v1::Run {
    let result = v1::BackupResult {
        snapshot_id: SNAPSHOT.into(),
        read_bytes: 1200 << 20,
        new_bytes: 24 << 20,
        stored_bytes: 8 << 20,
        files: 4,
        manifest_json: String::new(),
        warnings: vec!["database template0 was skipped".into()],
        ..Default::default()
    };
    ended(queued(), v1::RunState::Succeeded, Outcome::Backup(result))
}

pub fn failure(class: v1::FailureClass) -> Outcome {
    Outcome::Failure(v1::Failure {
        class: class.into(),
        message: "pg_dump of app ended with code 1".into(),
        hint: "read its last words in the log".into(),
    })
}

pub fn failed_backup() -> v1::Run {
    let run = v1::Run {
        id: FAILED_RUN.into(),
        ..queued()
    };
    ended(
        run,
        v1::RunState::Failed,
        failure(v1::FailureClass::Permanent),
    )
}

/// The first run, ended in another way.
pub fn ended_as(state: v1::RunState, outcome: Outcome) -> v1::Run {
    ended(queued(), state, outcome)
}

pub fn restore_run(spec: v1::RestoreSpec) -> v1::Run {
    v1::Run {
        spec: Some(v1::RunSpec {
            kind: v1::RunKind::Restore.into(),
            detail: Some(Detail::Restore(spec)),
            ..backup_spec()
        }),
        ..queued()
    }
}

pub fn restored() -> v1::Run {
    let database = v1::RestoredDatabase {
        name: "app".into(),
        restored_as: "app".into(),
        previous_as: "app_before_0190a1b2".into(),
        tables: 312,
        rows: 1_200_000,
    };
    let result = v1::RestoreResult {
        databases: vec![database],
        read_bytes: 300 << 20,
        warnings: Vec::new(),
    };
    let spec = v1::RestoreSpec {
        snapshot_id: SNAPSHOT.into(),
        from_source: "orders-db".into(),
        ..Default::default()
    };
    ended(
        restore_run(spec),
        v1::RunState::Succeeded,
        Outcome::Restore(result),
    )
}

pub fn event(sequence: u64, event: Event) -> Step {
    Step::Event(v1::RunEvent {
        sequence,
        time_micros: at(i64::try_from(sequence).expect("small")),
        epoch: 1,
        event: Some(event),
    })
}

pub fn state(sequence: u64, state: v1::RunState) -> Step {
    event(sequence, Event::State(state.into()))
}

pub fn log(sequence: u64, origin: &str, text: &str) -> Step {
    event(
        sequence,
        Event::Log(v1::LogLine {
            time_micros: at(0),
            origin: origin.into(),
            text: text.into(),
        }),
    )
}

pub fn progress(read_bytes: u64) -> Step {
    event(
        0,
        Event::Progress(v1::Progress {
            phase: "dumping app".into(),
            read_bytes,
            new_bytes: read_bytes / 2,
            stored_bytes: read_bytes / 4,
            expected_bytes: 1200 << 20,
            eta_seconds: 30,
        }),
    )
}

pub fn end(sequence: u64, run: v1::Run) -> Step {
    event(sequence, Event::Ended(run))
}

pub fn backup_events() -> Vec<Step> {
    vec![
        state(1, v1::RunState::Queued),
        state(2, v1::RunState::Assigned),
        state(3, v1::RunState::Running),
        progress(10 << 20),
        log(4, "pg_dump", "pg_dump: warning: odd \x1b[2J thing"),
        state(5, v1::RunState::Committing),
        end(6, succeeded_backup()),
    ]
}

pub fn wait(millis: u64) -> Step {
    Step::Wait(Duration::from_millis(millis))
}

pub fn snapshot() -> v1::Snapshot {
    v1::Snapshot {
        id: SNAPSHOT.into(),
        source: "orders-db".into(),
        vault: "primary".into(),
        kind: "postgres".into(),
        method: "dump".into(),
        time_micros: at(0),
        host: "db1.example".into(),
        run_id: RUN.into(),
        epoch: 1,
        standing: v1::SnapshotStanding::Committed.into(),
        read_bytes: 1200 << 20,
        new_bytes: 24 << 20,
        stored_bytes: 8 << 20,
        tags: vec!["kind:postgres".into()],
        manifest_json: r#"{"databases":[{"name":"app","owner":"ann","size_bytes":1048576},{"name":"billing"}]}"#.into(),
    }
}

pub fn source() -> v1::Source {
    v1::Source {
        info: Some(v1::SourceInfo {
            name: "orders-db".into(),
            kind: "postgres".into(),
            methods: vec!["dump".into()],
            facts: [("server".to_owned(), "PostgreSQL 15.9".to_owned())].into(),
            problem: String::new(),
        }),
        agent: "db1".into(),
        agent_connected: true,
        latest: Some(snapshot()),
        snapshots: 3,
        orphans: 1,
        last_run: Some(succeeded_backup()),
    }
}

pub fn agent() -> v1::Agent {
    v1::Agent {
        id: "0190a1b2-0000-7000-8000-000000000009".into(),
        name: "db1".into(),
        state: v1::AgentState::Connected.into(),
        hostname: "db1.example".into(),
        version: Some(holdfast_proto::version::own()),
        last_seen_micros: at(0),
        certificate_expires_at_micros: at(86_400 * 90),
        clock_skew_millis: -3_600_000,
        sources: vec!["orders-db".into()],
    }
}

pub fn vault() -> v1::Vault {
    v1::Vault {
        name: "primary".into(),
        address: "s3://backups/prod".into(),
        endpoint: "http://127.0.0.1:8333".into(),
        region: "us-east-1".into(),
        is_default: true,
        credentials: "static".into(),
        append_only: false,
        append_only_detail: "the server has no object lock".into(),
        snapshots: 3,
        last_scan_micros: 0,
    }
}

pub fn kit() -> RecoveryKit {
    RecoveryKit {
        vault: "primary".into(),
        address: "file:///srv/vault".parse().expect("an address"),
        endpoint: None,
        secret: "ab".repeat(32).into(),
        sources: vec!["orders-db".into()],
    }
}

pub fn added_vault() -> v1::AddVaultResponse {
    let finding = |name: &str, ok| v1::ProbeFinding {
        name: name.into(),
        ok,
        detail: format!("{name} was tried"),
    };
    v1::AddVaultResponse {
        vault: Some(vault()),
        findings: vec![finding("write", true), finding("object lock", false)],
        kit: kit().to_string(),
    }
}

pub fn status() -> v1::StatusResponse {
    v1::StatusResponse {
        version: Some(holdfast_proto::version::own()),
        started_at_micros: at(-3600),
        database: "sqlite".into(),
        agents: vec![agent()],
        sources: vec![source()],
        vaults: vec![vault()],
        active_runs: vec![queued()],
        attention: vec!["agent db1: its clock is 1 h behind".into()],
    }
}

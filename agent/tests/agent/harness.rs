//! An agent's session in this process, against a [`FakeCoordinator`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast_agent::config::BackupSettings;
use holdfast_agent::session::describe::keep_described;
use holdfast_agent::session::{Pace, Session, SessionEnd, SessionParts};
use holdfast_identity::{IdentityFiles, IdentitySlot};
use holdfast_proto::ids::RunId;
use holdfast_proto::v1;
use holdfast_proto::v1::coordinator_message::Message as ToAgent;
use holdfast_sources::Source;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::coordinator::{FakeCoordinator, FakeSession, SOON};
use crate::source::FakeSource;

pub struct TestAgent {
    pub source: Arc<FakeSource>,
    pub shutdown: CancellationToken,
    pub folder: TempDir,
    pub slot: IdentitySlot,
    session: JoinHandle<SessionEnd>,
}

impl TestAgent {
    /// With one source, `orders-db`.
    pub async fn start(coordinator: &FakeCoordinator) -> Self {
        Self::with(coordinator, &[]).await
    }

    /// With `orders-db` and these sources.
    pub async fn with(coordinator: &FakeCoordinator, more: &[Arc<FakeSource>]) -> Self {
        Self::new(coordinator, more, Duration::from_millis(300)).await
    }

    /// With `orders-db`, and this pause where a person has to act.
    pub async fn with_pace(coordinator: &FakeCoordinator, slow: Duration) -> Self {
        Self::new(coordinator, &[], slow).await
    }

    async fn new(coordinator: &FakeCoordinator, more: &[Arc<FakeSource>], slow: Duration) -> Self {
        let source = Arc::new(FakeSource::named("orders-db"));
        let mut sources: Vec<Arc<dyn Source>> = vec![Arc::clone(&source) as _];
        sources.extend(
            more.iter()
                .map(|source| Arc::clone(source) as Arc<dyn Source>),
        );
        let folder = tempfile::tempdir().expect("a folder");
        let identity = coordinator.agent_identity("db1", Duration::from_secs(3600));
        let slot = IdentitySlot::new(identity);
        let shutdown = CancellationToken::new();
        let every = Duration::from_millis(300);
        let described = keep_described(sources.clone(), every, shutdown.clone()).await;
        let session = Session::new(SessionParts {
            address: coordinator.address(),
            slot: slot.clone(),
            files: IdentityFiles::in_folder(folder.path()),
            sources,
            described,
            backup: BackupSettings::default(),
            pace: Pace {
                first: Duration::from_millis(50),
                longest: Duration::from_millis(200),
                slow,
                stable: Duration::from_secs(1),
            },
            shutdown: shutdown.clone(),
        });
        Self {
            source,
            shutdown,
            folder,
            slot,
            session: tokio::spawn(session.run()),
        }
    }

    /// How its session ended.
    pub async fn end(self) -> SessionEnd {
        timeout(SOON * 2, self.session)
            .await
            .expect("the session did not end")
            .expect("the session broke")
    }

    pub fn has_ended(&self) -> bool {
        self.session.is_finished()
    }
}

/// A run that touches no vault but asks for permission: the whole life, with little around it.
pub fn drop_copy(source: &str) -> v1::RunAssignment {
    assignment(v1::RunSpec {
        kind: v1::RunKind::DropCopy.into(),
        source: source.into(),
        vault: String::new(),
        detail: Some(v1::run_spec::Detail::DropCopy(v1::DropCopySpec {
            database: "app_before".into(),
        })),
    })
}

pub fn backup(vault: &Path) -> v1::RunAssignment {
    let spec = v1::RunSpec {
        kind: v1::RunKind::Backup.into(),
        source: "orders-db".into(),
        vault: String::new(),
        detail: Some(v1::run_spec::Detail::Backup(v1::BackupSpec::default())),
    };
    v1::RunAssignment {
        grant: Some(grant(vault)),
        ..assignment(spec)
    }
}

pub fn restore(vault: &Path, snapshot_id: &str) -> v1::RunAssignment {
    let spec = v1::RunSpec {
        kind: v1::RunKind::Restore.into(),
        source: "orders-db".into(),
        vault: String::new(),
        detail: Some(v1::run_spec::Detail::Restore(v1::RestoreSpec {
            snapshot_id: snapshot_id.into(),
            from_source: "orders-db".into(),
            ..Default::default()
        })),
    };
    v1::RunAssignment {
        grant: Some(grant(vault)),
        ..assignment(spec)
    }
}

pub fn grant(vault: &Path) -> v1::Grant {
    v1::Grant {
        vault_address: format!("file://{}", vault.display()),
        repository: "orders-db".into(),
        repository_password: "open sesame".into(),
        ..Default::default()
    }
}

fn assignment(spec: v1::RunSpec) -> v1::RunAssignment {
    v1::RunAssignment {
        run_id: RunId::new().to_string(),
        epoch: 1,
        spec: Some(spec),
        deadline_seconds: 3600,
        ..Default::default()
    }
}

impl FakeSession {
    pub async fn assign(&mut self, assignment: &v1::RunAssignment) {
        self.send(ToAgent::Assignment(assignment.clone())).await;
    }

    /// Assigns, and waits for the start.
    pub async fn begin(&mut self, assignment: &v1::RunAssignment) {
        self.assign(assignment).await;
        let started = self.started().await;
        assert_eq!(
            (&started.run_id, started.epoch),
            (&assignment.run_id, assignment.epoch)
        );
    }
}

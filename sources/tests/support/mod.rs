//! What the tests of a source share: a repository in memory, a context that records, runs of backup and restore.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use holdfast_sources::postgres::manifest::Manifest;
use holdfast_sources::{
    BackupOutcome, BackupRequest, CommitGate, FailureClass, Method, Reporter, RestoreOutcome,
    RestoreRequest, RunContext, Source, SourceConfig, SourceError,
};
use holdfast_tests::postgres::Postgres;
use holdfast_vault::{BackupOptions, Repository, SnapshotId, Storage};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The one `[[source]]` of a configuration.
#[derive(serde::Deserialize)]
pub struct Configuration {
    pub source: SourceConfig,
}

/// A source named `db` on `server`, with more lines of configuration.
pub fn source(server: &Postgres, more: &str) -> Box<dyn Source> {
    source_with(&format!(
        "host = '{}'\nport = {}\nuser = 'postgres'\nprograms = ['{}']\n{more}",
        server.socket().display(),
        server.port(),
        server.programs().display()
    ))
}

/// A source named `db` with these lines of configuration.
pub fn source_with(lines: &str) -> Box<dyn Source> {
    let text = format!("[source]\nname = 'db'\nkind = 'postgres'\n{lines}");
    let configuration: Configuration = holdfast_config::parse("agent.toml", &text).unwrap();
    let problems = configuration.source.problems();
    assert!(problems.is_empty(), "{problems:?}");
    configuration
        .source
        .open(std::path::Path::new("/"))
        .unwrap()
}

/// Records what a run says.
#[derive(Default)]
pub struct Recorder {
    pub phases: Mutex<Vec<String>>,
    pub lines: Mutex<Vec<String>>,
    pub expected: AtomicU64,
    pub restored: AtomicU64,
}

impl Reporter for Recorder {
    fn phase(&self, phase: &str) {
        self.phases.lock().unwrap().push(phase.to_owned());
    }
    fn expected_bytes(&self, bytes: u64) {
        self.expected.store(bytes, Ordering::Relaxed);
    }
    fn restored_bytes(&self, bytes: u64) {
        self.restored.fetch_add(bytes, Ordering::Relaxed);
    }
    fn log(&self, origin: &str, text: &str) {
        self.lines.lock().unwrap().push(format!("{origin}: {text}"));
    }
}

/// A gate that opens, or does not, and runs something when it is asked.
pub struct Gate {
    pub open: bool,
    pub asked: AtomicU64,
    pub on_enter: Box<dyn Fn() + Send + Sync>,
}

impl Gate {
    pub fn open() -> Self {
        Self {
            open: true,
            asked: AtomicU64::new(0),
            on_enter: Box::new(|| ()),
        }
    }
}

#[async_trait]
impl CommitGate for Gate {
    async fn enter(&self) -> Result<(), SourceError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        (self.on_enter)();
        if self.open {
            Ok(())
        } else {
            Err(SourceError::refused("another attempt has this run", ""))
        }
    }
}

/// A run with its recorder and gate.
pub struct Run {
    pub id: String,
    pub cancel: CancellationToken,
    pub recorder: Arc<Recorder>,
    pub gate: Arc<Gate>,
}

impl Run {
    pub fn new() -> Self {
        Self::with_gate(Gate::open())
    }

    pub fn with_gate(gate: Gate) -> Self {
        Self {
            id: uuid::Uuid::now_v7().to_string(),
            cancel: CancellationToken::new(),
            recorder: Arc::default(),
            gate: Arc::new(gate),
        }
    }

    pub fn context(&self) -> RunContext {
        RunContext {
            run_id: self.id.clone(),
            cancel: self.cancel.clone(),
            reporter: self.recorder.clone(),
            gate: self.gate.clone(),
        }
    }

    /// The head of its id as it stands in the names of databases.
    pub fn tag(&self) -> String {
        self.id.replace('-', "")[..12].to_owned()
    }

    pub fn lines(&self) -> String {
        self.recorder.lines.lock().unwrap().join("\n")
    }
}

/// A repository in memory.
pub struct Vault {
    pub repository: Repository,
}

impl Vault {
    pub async fn new() -> Self {
        Self {
            repository: Repository::create(Storage::memory(), &"test".into())
                .await
                .unwrap(),
        }
    }

    pub fn options(run: &Run) -> BackupOptions {
        let mut options = BackupOptions::new("host", "/db");
        options.tags = vec![format!("run:{}", run.id)];
        options.cancel = run.cancel.clone();
        options
    }

    /// Backs up, and commits the snapshot only when that succeeded, as an agent does.
    pub async fn backup(
        &self,
        source: &dyn Source,
        run: &Run,
    ) -> Result<(SnapshotId, BackupOutcome), SourceError> {
        let writer = self.repository.begin_backup(Self::options(run)).await?;
        let request = BackupRequest {
            method: Method::Dump,
        };
        match source.backup(&request, &writer, &run.context()).await {
            Ok(outcome) => {
                let deadline = Instant::now() + std::time::Duration::from_secs(60);
                let id = writer.finish().await?.commit(deadline, None).await?;
                Ok((id, outcome))
            }
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    pub async fn restore(
        &self,
        source: &dyn Source,
        id: &SnapshotId,
        request: &RestoreRequest,
        run: &Run,
    ) -> Result<RestoreOutcome, SourceError> {
        let reader = self.repository.open_snapshot(id).await?;
        source.restore(request, &reader, &run.context()).await
    }

    pub async fn snapshots(&self) -> usize {
        self.repository.snapshots().await.unwrap().len()
    }
}

pub fn manifest(outcome: &BackupOutcome) -> Manifest {
    Manifest::from_json(outcome.manifest_json.as_bytes()).unwrap()
}

/// A restore of these databases.
pub fn of(databases: &[&str]) -> RestoreRequest {
    RestoreRequest {
        databases: databases.iter().map(|name| (*name).to_owned()).collect(),
        ..RestoreRequest::default()
    }
}

pub fn assert_refused(error: &SourceError, words: &[&str]) {
    assert_eq!(error.class(), FailureClass::Refused, "{error}");
    for word in words {
        let text = format!("{error}\n{}", error.hint());
        assert!(text.contains(word), "{word:?} is not in: {text}");
    }
    assert!(!error.hint().is_empty(), "{error} has no hint");
}

/// All databases' names, the restore's own among them.
pub fn names(server: &Postgres) -> Vec<String> {
    let sql = "SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY datname";
    server
        .sql("postgres", sql)
        .lines()
        .map(str::to_owned)
        .collect()
}

//! A source that does what a test tells it, and remembers what it was asked.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use holdfast_sources::{
    BackupOutcome, BackupRequest, Description, Method, RestoreOutcome, RestoreRequest,
    RestoredDatabase, RunContext, Source, SourceError, SourceKind,
};
use holdfast_vault::{BackupWriter, ChunkerKind, FileMeta, SnapshotReader};
use tokio::sync::Semaphore;

/// What a run on the source does before it succeeds.
#[derive(Debug, Clone, Default)]
pub enum Manner {
    /// Nothing special.
    #[default]
    Plain,
    /// Waits for [`FakeSource::go`], or for being cancelled.
    Wait,
    /// Never ends, not even when cancelled.
    Deaf,
    /// Fails after everything else was done.
    Fail,
    /// Panics.
    Panic,
    /// Says so many lines first.
    Talk(usize),
}

#[derive(Debug)]
pub struct FakeSource {
    name: String,
    manner: Mutex<Manner>,
    description: Mutex<Description>,
    describe_takes: Mutex<Duration>,
    go: Semaphore,
    done: Mutex<Vec<String>>,
    pub content: Mutex<Vec<u8>>,
}

impl FakeSource {
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            manner: Mutex::default(),
            description: Mutex::default(),
            describe_takes: Mutex::default(),
            go: Semaphore::new(0),
            done: Mutex::default(),
            content: Mutex::new(vec![42; 300_000]),
        }
    }

    pub fn behave(&self, manner: Manner) {
        *self.manner.lock().expect("unpoisoned") = manner;
    }

    pub fn describe_as(&self, fact: &str, takes: Duration) {
        let facts = BTreeMap::from([("version".to_owned(), fact.to_owned())]);
        *self.description.lock().expect("unpoisoned") = Description {
            facts,
            problem: None,
        };
        *self.describe_takes.lock().expect("unpoisoned") = takes;
    }

    /// Lets one waiting run go on.
    pub fn go(&self) {
        self.go.add_permits(1);
    }

    /// What was done so far, in order.
    pub fn done(&self) -> Vec<String> {
        self.done.lock().expect("unpoisoned").clone()
    }

    /// Waits until `what` was done.
    pub async fn has_done(&self, what: &str) {
        for _ in 0..1000 {
            if self.done().iter().any(|done| done == what) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what} was not done: {:?}", self.done());
    }

    fn note(&self, what: impl Into<String>) {
        self.done.lock().expect("unpoisoned").push(what.into());
    }

    async fn act(&self, what: &str, context: &RunContext) -> Result<(), SourceError> {
        self.note(format!("{what} begins"));
        let manner = self.manner.lock().expect("unpoisoned").clone();
        match manner {
            Manner::Plain | Manner::Fail => {}
            Manner::Deaf => std::future::pending().await,
            Manner::Panic => panic!("on purpose"),
            Manner::Talk(lines) => {
                for line in 0..lines {
                    context.reporter.log("pg_dump", &format!("line {line}"));
                }
            }
            Manner::Wait => tokio::select! {
                permit = self.go.acquire() => permit.expect("open").forget(),
                () = context.cancel.cancelled() => {
                    self.note(format!("{what} cancelled"));
                    return Err(SourceError::Cancelled);
                }
            },
        }
        context.reporter.phase("nearly there");
        context.reporter.log("pg_dump", "last words");
        Ok(())
    }

    fn fail_if_told(&self) -> Result<(), SourceError> {
        match *self.manner.lock().expect("unpoisoned") {
            Manner::Fail => Err(SourceError::permanent(
                "pg_dump ended with code 1",
                "look at its words",
            )),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Source for FakeSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> SourceKind {
        SourceKind::Postgres
    }

    fn methods(&self) -> &'static [Method] {
        &[Method::Dump]
    }

    async fn describe(&self) -> Description {
        let takes = *self.describe_takes.lock().expect("unpoisoned");
        tokio::time::sleep(takes).await;
        self.description.lock().expect("unpoisoned").clone()
    }

    async fn backup(
        &self,
        _request: &BackupRequest,
        writer: &BackupWriter,
        context: &RunContext,
    ) -> Result<BackupOutcome, SourceError> {
        let content = self.content.lock().expect("unpoisoned").clone();
        let path = format!("/{}/databases/app.dump", self.name);
        context.reporter.expected_bytes(content.len() as u64);
        writer
            .write_stream(
                &path,
                FileMeta::default(),
                ChunkerKind::ContentDefined,
                content.as_slice(),
            )
            .await?;
        self.act("backup", context).await?;
        self.fail_if_told()?;
        let manifest = serde_json::json!({
            "run": context.run_id,
            "settings": [{ "name": "app.key", "value": "hush" }],
        })
        .to_string();
        let path = format!("/{}/manifest.json", self.name);
        writer
            .write_bytes(&path, FileMeta::default(), Bytes::from(manifest.clone()))
            .await?;
        self.note("backup done");
        Ok(BackupOutcome {
            manifest_json: manifest,
            warnings: vec!["template0 was skipped".into()],
        })
    }

    async fn restore(
        &self,
        request: &RestoreRequest,
        reader: &SnapshotReader,
        context: &RunContext,
    ) -> Result<RestoreOutcome, SourceError> {
        self.act("restore", context).await?;
        let path = format!("/{}/databases/app.dump", self.name);
        let bytes = reader.read_bytes(&path, 1 << 20).await?;
        context.reporter.restored_bytes(bytes.len() as u64);
        self.fail_if_told()?;
        context.gate.enter().await?;
        *self.content.lock().expect("unpoisoned") = bytes.to_vec();
        self.note("restore done");
        Ok(RestoreOutcome {
            databases: vec![RestoredDatabase {
                name: "app".into(),
                restored_as: request.into.clone().unwrap_or("app".into()),
                ..Default::default()
            }],
            warnings: Vec::new(),
        })
    }

    async fn drop_copy(&self, database: &str, context: &RunContext) -> Result<(), SourceError> {
        self.act("drop", context).await?;
        self.fail_if_told()?;
        context.gate.enter().await?;
        self.note(format!("dropped {database}"));
        Ok(())
    }

    async fn sweep(&self, alive: &[String]) -> Result<Vec<String>, SourceError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.note(format!("swept, {} alive", alive.len()));
        Ok(Vec::new())
    }
}

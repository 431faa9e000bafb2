//! Writing a backup: streams in, one snapshot out.
//!
//! ```text
//! reader -> chunks -> queue -> worker threads: hash, look up, compress, seal -> pack -> uploads -> index
//!   (stream)          (queue)  (worker, compress)                    (packer)   (upload)
//! ```
//!
//! The readers run in the caller's tasks, the workers on threads of their own, the uploads as tasks
//! of the runtime. Nothing between them is unbounded: chunks and packs live in maps of two pools
//! ([`MapPool`](super::memory::MapPool)); whoever finds his pool empty waits, and so the slowest
//! stage holds back the reader. Several streams of one backup share everything.
//!
//! **Why no snapshot can have a hole.** A blob counts as known only if an index in the vault names
//! it or this backup has claimed it; a claimed blob's pack is uploaded and indexed before `finish`
//! returns, or `finish` fails. The first failure of any stage, of any reader, a stream that was
//! dropped half-way, a lost lock, a cancellation: each marks the backup as failed for good
//! ([`Run::fail`]), and `finish` then gives no [`PreparedSnapshot`], without which there is no
//! commit. What was uploaded until then stays, indexed or not: nobody refers to it, and a later
//! backup uses what an index names.

mod commit;
mod compress;
mod files;
mod packer;
mod queue;
mod run;
mod stream;
mod upload;
mod worker;

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::AsyncRead;
use tokio::runtime::Handle;

pub use commit::PreparedSnapshot;

use super::Inner;
use super::lock::HeldLock;
use super::options::{BackupOptions, BackupSummary, ChunkerKind, FileMeta, StreamSummary};
use super::snapshot::Snapshot;
use super::tree::Node;
use crate::error::{Result, VaultError};
use files::{FilePath, Files};
use run::{AbortOnDrop, Run};
use worker::Workers;

/// A backup under way. Dropping it ends it without a snapshot.
///
/// Streams may be written one after the other or several at once.
#[derive(Debug)]
pub struct BackupWriter {
    guard: AbortOnDrop,
    run: Arc<Run>,
    workers: Workers,
    lock: Arc<HeldLock>,
    files: Files,
    options: BackupOptions,
}

impl BackupWriter {
    /// Takes the lock, reads what is new in the index, starts the threads.
    pub(super) async fn begin(
        repository: Arc<Inner>,
        options: BackupOptions,
    ) -> Result<BackupWriter> {
        if repository.config.version < 2 {
            return Err(VaultError::Unsupported {
                location: repository.storage.location(),
                why: "it is of format version 1, which is only read: `restic migrate upgrade_repo_v2` makes it version 2".to_owned(),
            });
        }
        let root = FilePath::parse(&options.path)?;
        let sizes = run::Sizes::of(&options)?;
        if options.cancel.is_cancelled() {
            return Err(VaultError::Cancelled);
        }
        let lock = HeldLock::acquire(
            &repository.storage,
            &repository.key,
            &options.host,
            repository.lock_times,
        )
        .await?;
        if let Err(error) = repository.refresh_index().await {
            lock.release().await;
            return Err(error);
        }
        let lock = Arc::new(lock);
        let run = Run::new(repository, &options, sizes, Handle::current());
        run.watch(&options.cancel, &lock);
        Ok(BackupWriter {
            guard: AbortOnDrop::new(&run),
            workers: Workers::start(&run, sizes.threads)?,
            run,
            lock,
            files: Files::below(root),
            options,
        })
    }

    /// Stores what `reader` gives until its end as the file `path`: below the snapshot's path when
    /// relative, or absolute and beginning with it.
    ///
    /// Any error ends the whole backup: `finish` then fails too. So does dropping the future.
    pub async fn write_stream<R: AsyncRead + Unpin + Send>(
        &self,
        path: &str,
        meta: FileMeta,
        chunker: ChunkerKind,
        reader: R,
    ) -> Result<StreamSummary> {
        let unfinished = AbortOnDrop::new(&self.run);
        let written = self.write(path, &meta, chunker, reader).await;
        unfinished.disarm();
        if let Err(error) = &written {
            self.run.fail_because(error);
        }
        written
    }

    async fn write<R: AsyncRead + Unpin + Send>(
        &self,
        path: &str,
        meta: &FileMeta,
        chunker: ChunkerKind,
        reader: R,
    ) -> Result<StreamSummary> {
        self.run.check()?;
        let place = self.files.reserve(path)?;
        let (content, summary) = stream::store(&self.run, chunker, reader).await?;
        let node = Node::file(place.name(), meta, summary.read_bytes, content);
        self.files.fill(&place, node);
        Ok(summary)
    }

    /// Stores `bytes` as the file `path`; see [`BackupWriter::write_stream`].
    pub async fn write_bytes(
        &self,
        path: &str,
        meta: FileMeta,
        bytes: Bytes,
    ) -> Result<StreamSummary> {
        self.write_stream(path, meta, ChunkerKind::ContentDefined, &bytes[..])
            .await
    }

    /// Makes everything durable that the snapshot will refer to, and seals the snapshot.
    ///
    /// 1. the last pack of data;
    /// 2. the directories, from the leaves to the root, in packs of their own;
    /// 3. wait until every pack is in the vault;
    /// 4. the index that names them;
    /// 5. the snapshot, sealed so that its id is known, but not written.
    pub async fn finish(self) -> Result<PreparedSnapshot> {
        let BackupWriter {
            guard,
            run,
            workers,
            lock,
            files,
            options,
        } = self;
        run.check()?;
        let files_count = files.count();
        packer::close_all(&run).await?;
        let tree = files.store_trees(&run, options.time).await?;
        packer::close_all(&run).await?;
        run.uploads_done().await?;
        upload::flush_index(&run).await?;
        run.check()?;
        lock.check()?;
        workers.stop();
        let summary = run.summary(files_count, tree);
        let snapshot = snapshot_of(&options, &summary);
        let prepared = PreparedSnapshot::seal(&run, lock, &snapshot, summary)?;
        guard.disarm();
        Ok(prepared)
    }

    /// Ends the backup without a snapshot and gives the lock back.
    pub async fn abort(self) {
        self.run.fail_because(&VaultError::Cancelled);
        self.workers.stop();
        if let Some(lock) = Arc::into_inner(self.lock) {
            lock.release().await;
        }
    }
}

fn snapshot_of(options: &BackupOptions, summary: &BackupSummary) -> Snapshot {
    Snapshot {
        time: options.time,
        parent: None,
        tree: summary.tree,
        paths: vec![options.path.clone()],
        hostname: options.host.clone(),
        username: "holdfast".to_owned(),
        tags: (!options.tags.is_empty()).then(|| options.tags.clone()),
        program_version: Some(format!("holdfast {}", env!("CARGO_PKG_VERSION"))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Repository;
    use super::super::lock::LockTimes;
    use super::*;
    use crate::storage::Storage;

    #[tokio::test(flavor = "multi_thread")]
    async fn losing_the_lock_ends_the_backup() {
        let storage = Storage::memory();
        let mut repository = Repository::create(storage.clone(), &"p".into())
            .await
            .expect("made");
        let inner = Arc::get_mut(&mut repository.inner).expect("one owner");
        inner.lock_times = LockTimes {
            refresh: Duration::from_millis(30),
            ..LockTimes::default()
        };
        let options = BackupOptions::new("host", "/db");
        let writer = repository
            .begin_backup(options.clone())
            .await
            .expect("begun");
        let remove = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            for lock in storage.list("locks/").await.expect("listed") {
                storage.delete(&lock.name).await.expect("deleted");
            }
        };
        let (reader, mut feed) = tokio::io::simplex(100);
        tokio::io::AsyncWriteExt::write_all(&mut feed, b"some")
            .await
            .expect("fed");
        let stream = writer.write_stream(
            "a",
            FileMeta::default(),
            ChunkerKind::ContentDefined,
            reader,
        );
        let (written, ()) = tokio::join!(stream, remove);
        assert!(
            matches!(written, Err(VaultError::LockLost { .. })),
            "{written:?}"
        );
        assert!(matches!(
            writer.finish().await,
            Err(VaultError::Aborted { .. })
        ));

        let writer = repository.begin_backup(options).await.expect("begun");
        let prepared = writer.finish().await.expect("finished");
        for lock in storage.list("locks/").await.expect("listed") {
            storage.delete(&lock.name).await.expect("deleted");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        let committed = prepared.commit(deadline, None).await;
        assert!(committed.is_err(), "{committed:?}");
        assert!(repository.snapshots().await.expect("listed").is_empty());
    }
}

//! Whatever happens to a stored object: an error that names what is hurt, or the right bytes; never
//! wrong ones, never a panic.
#![allow(clippy::expect_used, reason = "what fails here fails the test")]
mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{back_up, noise, options, password, read, repository, text};
use holdfast_vault::storage::faulty::{Fault, FaultPlan, FaultyBackend, Operation};
use holdfast_vault::storage::{Backend, MemoryBackend};
use holdfast_vault::{Id, Repository, SnapshotId, Storage, VaultError};

struct Stored {
    memory: Arc<dyn Backend>,
    storage: Storage,
    id: SnapshotId,
    dump: Vec<u8>,
}

async fn stored() -> Stored {
    let memory: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
    let storage = Storage::from_backend(Arc::clone(&memory));
    let repository = repository(&storage).await;
    let dump = [text(1, 2 << 20), noise(2, 1 << 20)].concat();
    let id = back_up(
        &repository,
        &[("databases/app.dump", &dump), ("manifest.json", b"{}")],
    )
    .await
    .expect("backed up");
    Stored {
        memory,
        storage,
        id,
        dump,
    }
}

impl Stored {
    /// Opens with new eyes and reads all of it.
    async fn read_all(&self) -> Result<(), String> {
        let said = |error: VaultError| error.to_string();
        let repository = Repository::open(self.storage.clone(), &password())
            .await
            .map_err(said)?;
        repository.snapshots().await.map_err(said)?;
        let reader = repository.open_snapshot(&self.id).await.map_err(said)?;
        reader.files().await.map_err(said)?;
        let content = read(&reader, "databases/app.dump")
            .await
            .map_err(|error| error.to_string())?;
        assert!(content == self.dump, "wrong bytes were given out");
        let manifest = reader
            .read_bytes("manifest.json", 100)
            .await
            .map_err(said)?;
        assert_eq!(manifest, "{}");
        Ok(())
    }

    async fn put(&self, name: &str, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.memory
            .put(name, bytes.clone(), &Id::of(&bytes))
            .await
            .expect("put");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_damage_to_any_object_passes() {
    let stored = stored().await;
    stored.read_all().await.expect("whole");
    let mut objects = stored.storage.list("").await.expect("listed");
    // Locks are taken away behind their holder's back: one that is listed may be gone by now.
    objects.retain(|object| !object.name.starts_with("locks/"));
    let kinds = ["config", "data/", "index/", "keys/", "snapshots/"];
    assert!(
        kinds
            .iter()
            .all(|kind| objects.iter().any(|object| object.name.starts_with(kind)))
    );
    for object in &objects {
        let name = object.name.as_str();
        let good = stored.storage.get(name).await.expect("read");
        for (what, spoilt) in spoilt_versions(&good) {
            stored.put(name, &spoilt).await;
            let read = stored.read_all().await;
            // Bytes behind a pack's header hurt nobody who reads by the index.
            let harmless = what == "longer" && name.starts_with("data/");
            assert!(read.is_err() || harmless, "{name} {what}: not noticed");
            if let Err(said) = read {
                names_the_damage(name, what, &said);
            }
        }
        stored.memory.delete(name).await.expect("deleted");
        let said = stored.read_all().await.expect_err(name);
        assert!(
            said.contains("missing")
                || said.contains("not found")
                || said.contains("no repository")
                || said.contains("no index names it")
                || said.contains("does not open"),
            "{name} removed: {said}"
        );
        stored.put(name, &good).await;
        stored.read_all().await.expect("whole again");
    }
}

fn spoilt_versions(good: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let flipped = |at: usize| {
        let mut bytes = good.to_vec();
        bytes[at] ^= 0x10;
        bytes
    };
    // The end of a pack is its header, which is not read when there is an index.
    let before_header = good.len() / 2;
    vec![
        ("first byte", flipped(0)),
        ("a byte of the IV", flipped(7)),
        ("an early byte", flipped(good.len() / 5)),
        ("a middle byte", flipped(before_header)),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("cut to nothing", Vec::new()),
        ("cut to ten bytes", good[..10.min(good.len())].to_vec()),
        ("longer", [good, b"x"].concat()),
        ("zeros", vec![0; good.len()]),
    ]
}

fn names_the_damage(name: &str, what: &str, said: &str) {
    let id = name.rsplit('/').next().expect("a name");
    let damaged = said.contains("damaged") && said.contains(id);
    assert!(damaged, "{name} {what}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_swapped_for_another_of_its_kind_is_noticed() {
    let stored = stored().await;
    let repository = repository(&stored.storage).await;
    back_up(&repository, &[("databases/app.dump", &noise(9, 3 << 20))])
        .await
        .expect("backed up");
    for kind in ["data/", "index/", "snapshots/"] {
        let objects = stored.storage.list(kind).await.expect("listed");
        for victim in &objects {
            let good = stored.storage.get(&victim.name).await.expect("read");
            for other in objects.iter().filter(|other| *other != victim) {
                let wrong = stored.storage.get(&other.name).await.expect("read");
                stored.put(&victim.name, &wrong).await;
                // What this snapshot does not need may be wrong; what it gives is right.
                let _ = stored.read_all().await;
            }
            stored.put(&victim.name, &good).await;
        }
    }
    stored.read_all().await.expect("whole again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_chunk_names_the_file_and_nothing_after_it_is_given_out() {
    use tokio::io::AsyncReadExt;
    let stored = stored().await;
    let packs = stored.storage.list("data/").await.expect("listed");
    let largest = packs
        .iter()
        .max_by_key(|pack| pack.size_bytes)
        .expect("packs");
    let mut bytes = stored
        .storage
        .get(&largest.name)
        .await
        .expect("read")
        .to_vec();
    let late = bytes.len() - 300_000;
    bytes[late] ^= 1;
    stored.put(&largest.name, &bytes).await;
    let repository = Repository::open(stored.storage.clone(), &password())
        .await
        .expect("opened");
    let reader = repository.open_snapshot(&stored.id).await.expect("opened");
    let mut file = reader
        .read_file("databases/app.dump")
        .await
        .expect("opened");
    let mut content = Vec::new();
    let error = file.read_to_end(&mut content).await.expect_err("damaged");
    assert!(
        stored.dump.starts_with(&content),
        "what came before is right"
    );
    assert!(content.len() < stored.dump.len());
    let said = error.to_string();
    assert!(
        said.contains("/orders-db/databases/app.dump") && said.contains(&largest.name),
        "{said}"
    );
    let mut more = [0; 10];
    file.read(&mut more).await.expect_err("it stays failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_lies_twice_is_read_from_the_whole_pack() {
    let memory: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
    let storage = Storage::from_backend(Arc::clone(&memory));
    let dump = noise(4, 2 << 20);
    // Two backups at once do not see each other's blobs.
    let (one, two) = (repository(&storage).await, repository(&storage).await);
    let (first, second) = (
        one.begin_backup(options()).await.expect("begun"),
        two.begin_backup(options()).await.expect("begun"),
    );
    let mut ids = Vec::new();
    for writer in [first, second] {
        writer
            .write_bytes("dump", Default::default(), Bytes::from(dump.clone()))
            .await
            .expect("written");
        ids.push(
            writer
                .finish()
                .await
                .expect("finished")
                .commit(common::soon(), None)
                .await
                .expect("committed"),
        );
    }
    let packs = storage.list("data/").await.expect("listed");
    let large: Vec<_> = packs
        .iter()
        .filter(|pack| pack.size_bytes > 1 << 20)
        .collect();
    assert_eq!(large.len(), 2, "stored twice");
    for pack in large {
        let good = storage.get(&pack.name).await.expect("read");
        let mut spoilt = good.to_vec();
        spoilt[500_000] ^= 1;
        let spoilt = Bytes::from(spoilt);
        memory
            .put(&pack.name, spoilt.clone(), &Id::of(&spoilt))
            .await
            .expect("put");
        let fresh = Repository::open(storage.clone(), &password())
            .await
            .expect("opened");
        for id in &ids {
            let reader = fresh.open_snapshot(id).await.expect("opened");
            assert!(read(&reader, "dump").await.expect("read") == dump);
        }
        memory
            .put(&pack.name, good.clone(), &Id::of(&good))
            .await
            .expect("put");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bits_that_flip_on_the_way_are_noticed() {
    let stored = stored().await;
    let plan = FaultPlan::default();
    let backend = FaultyBackend::new(Arc::clone(&stored.memory), plan.clone());
    let storage = Storage::from_backend(Arc::new(backend));
    for object in ["config", "keys/", "index/", "snapshots/", "data/"] {
        plan.arm(Operation::Get, object, Fault::CorruptRead, usize::MAX);
        let flaky = Stored {
            memory: Arc::clone(&stored.memory),
            storage: storage.clone(),
            id: stored.id,
            dump: stored.dump.clone(),
        };
        flaky.read_all().await.expect_err(object);
        plan.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_found() {
    let stored = stored().await;
    let empty = Storage::memory();
    let none = Repository::open(empty.clone(), &password()).await;
    assert!(
        matches!(none, Err(VaultError::NoRepository { .. })),
        "{none:?}"
    );
    let repository = repository(&stored.storage).await;
    let again = Repository::create(stored.storage.clone(), &password()).await;
    assert!(matches!(again, Err(VaultError::Refused(_))), "{again:?}");
    let nobody = SnapshotId::new(Id::of(b"nobody"));
    for result in [
        repository.snapshot(&nobody).await.err(),
        repository.open_snapshot(&nobody).await.err(),
    ] {
        assert!(
            matches!(result, Some(VaultError::NotFound { .. })),
            "{result:?}"
        );
    }
    let reader = repository.open_snapshot(&stored.id).await.expect("opened");
    for path in [
        "nothing",
        "databases/nothing",
        "/elsewhere",
        "manifest.json/below",
    ] {
        let error = reader.read_file(path).await.expect_err(path);
        assert!(
            matches!(error, VaultError::NotFound { .. }),
            "{path}: {error:?}"
        );
    }
    assert!(matches!(
        reader.read_file("databases").await,
        Err(VaultError::Refused(_))
    ));
    assert!(matches!(
        reader.read_bytes("databases/app.dump", 1000).await,
        Err(VaultError::Refused(_))
    ));
}

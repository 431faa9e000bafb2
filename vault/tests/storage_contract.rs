//! Local folders and memory keep the contract of storage; what is particular to a folder.
#![allow(clippy::expect_used, reason = "what fails here fails the test")]
mod contract;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use holdfast_vault::storage::faulty::{FaultPlan, FaultyBackend};
use holdfast_vault::storage::{LocalBackend, MemoryBackend};
use holdfast_vault::{Storage, StorageError, probe};

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract::holds(Arc::new(MemoryBackend::default()), 250).await;
    contract::names_sort_by_bytes_across_folders(Arc::new(MemoryBackend::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_folder_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("folder");
    let root = folder.path().join("made/when/needed");
    contract::holds(Arc::new(LocalBackend::new(root.clone())), 250).await;
    contract::names_sort_by_bytes_across_folders(Arc::new(LocalBackend::new(root))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapper_without_faults_keeps_the_contract() {
    let inner = Arc::new(MemoryBackend::default());
    contract::holds(
        Arc::new(FaultyBackend::new(inner, FaultPlan::default())),
        250,
    )
    .await;
}

#[tokio::test]
async fn the_probe_finds_a_folder_in_order_and_leaves_it_as_it_was() {
    let folder = tempfile::tempdir().expect("folder");
    let storage = Storage::from_backend(Arc::new(LocalBackend::new(folder.path().to_owned())));
    let report = probe(&storage).await.expect("probed");
    assert!(report.write && report.read_back && report.list_ordered && report.delete);
    assert!(storage.list("").await.expect("listed").is_empty());
}

fn local(folder: &Path) -> Storage {
    Storage::from_backend(Arc::new(LocalBackend::new(folder.to_owned())))
}

#[tokio::test]
async fn objects_are_private_files_and_nothing_temporary_stays() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    let storage = local(folder.path());
    storage
        .put("a/b", Bytes::from_static(b"x"))
        .await
        .expect("put");
    storage
        .put_if_absent("a/c", Bytes::from_static(b"x"))
        .await
        .expect("put");
    storage
        .put_if_absent("a/c", Bytes::from_static(b"y"))
        .await
        .expect_err("taken");
    for name in ["a/b", "a/c"] {
        let mode = fs::metadata(folder.path().join(name))
            .expect(name)
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let mode = fs::metadata(folder.path().join("a"))
        .expect("folder")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
    let temporary = fs::read_dir(folder.path().join(".holdfast-tmp")).expect("folder");
    assert_eq!(temporary.count(), 0);
}

#[tokio::test]
async fn a_part_of_a_file_from_a_crash_is_never_listed() {
    let folder = tempfile::tempdir().expect("folder");
    let temporary = folder.path().join(".holdfast-tmp");
    fs::create_dir(&temporary).expect("folder");
    fs::write(temporary.join("00ff"), b"half").expect("written");
    let storage = local(folder.path());
    assert!(storage.list("").await.expect("listed").is_empty());
    assert!(storage.list_folders("").await.expect("listed").is_empty());
    storage
        .put("a", Bytes::from_static(b"x"))
        .await
        .expect("put");
    let names: Vec<_> = storage.list("").await.expect("listed");
    assert_eq!(names.len(), 1);
    assert!(
        temporary.join("00ff").exists(),
        "it is young: another process may be writing it"
    );
}

#[tokio::test]
async fn a_folder_that_may_not_be_written_is_told() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("file"), b"").expect("written");
    let storage = local(&folder.path().join("file"));
    let error = storage
        .put("a", Bytes::from_static(b"x"))
        .await
        .expect_err("no folder");
    assert!(matches!(error, StorageError::Other { .. }), "{error:?}");
    assert!(error.to_string().contains("file"), "{error}");
}

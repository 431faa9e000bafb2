//! What every place for objects must keep: the contract of `storage::Backend`, in one suite.
//!
//! A backend's own test calls [`holds`] with a backend whose root is empty.
#![allow(
    dead_code,
    clippy::expect_used,
    reason = "every test uses its own part, and what fails here fails the test"
)]

use std::sync::Arc;

use bytes::Bytes;
use holdfast_vault::storage::Backend;
use holdfast_vault::{Id, Storage, StorageError};

/// Runs the whole suite. `many` objects are listed at once: more than one page holds.
pub async fn holds(backend: Arc<dyn Backend>, many: usize) {
    let storage = Storage::from_backend(Arc::clone(&backend));
    what_is_put_comes_back(&storage.subfolder("put")).await;
    ranges_are_exact(&storage.subfolder("ranges")).await;
    what_is_not_there_is_not_found(&storage.subfolder("missing")).await;
    names_are_taken_once(&storage.subfolder("absent")).await;
    one_of_many_creators_wins(backend.as_ref()).await;
    a_replaced_object_is_never_half(&storage.subfolder("atomic")).await;
    listings_are_whole_and_in_order(&storage.subfolder("list"), many).await;
    folders_are_listed(&storage.subfolder("folders")).await;
    what_is_deleted_is_gone(&storage.subfolder("delete")).await;
    subfolders_are_separate(&storage).await;
    assert!(!backend.location().is_empty());
}

async fn what_is_put_comes_back(storage: &Storage) {
    let large = pattern(17 << 20);
    for (name, bytes) in [
        ("small", Bytes::from_static(b"content")),
        ("empty", Bytes::new()),
        ("deep/er/down", Bytes::from_static(b"deep")),
        ("odd name +&=%20ü~", Bytes::from_static(b"odd")),
        ("large", large),
    ] {
        storage.put(name, bytes.clone()).await.expect(name);
        assert_eq!(storage.get(name).await.expect(name), bytes, "{name}");
        let info = storage.stat(name).await.expect(name);
        assert_eq!(
            (info.name.as_str(), info.size_bytes),
            (name, bytes.len() as u64)
        );
    }
    let newer = Bytes::from_static(b"newer and longer");
    storage.put("small", newer.clone()).await.expect("replaced");
    assert_eq!(storage.get("small").await.expect("read"), newer);
}

async fn ranges_are_exact(storage: &Storage) {
    let bytes = pattern(100_000);
    storage.put("a", bytes.clone()).await.expect("put");
    for (offset, length) in [(0, 1), (0, 100_000), (99_999, 1), (12_345, 54_321)] {
        let part = storage
            .get_range("a", offset, length)
            .await
            .expect("in range");
        assert_eq!(
            part,
            bytes.slice(offset as usize..(offset + length) as usize)
        );
    }
    for (offset, length) in [
        (99_999, 2),
        (100_000, 1),
        (200_000, 5),
        (0, 100_001),
        (5, u64::MAX),
    ] {
        let read = storage.get_range("a", offset, length).await;
        assert!(read.is_err(), "{length} bytes from {offset} are not there");
    }
}

async fn what_is_not_there_is_not_found(storage: &Storage) {
    let not_found = |error: StorageError| {
        assert!(error.is_not_found(), "{error}");
        assert!(
            error.to_string().contains("nowhere"),
            "{error} names the object"
        );
    };
    not_found(storage.get("nowhere").await.expect_err("get"));
    not_found(storage.get_range("nowhere", 0, 1).await.expect_err("range"));
    not_found(storage.stat("nowhere").await.expect_err("stat"));
    assert!(storage.list("nowhere/").await.expect("list").is_empty());
    assert!(
        storage
            .list_folders("nowhere")
            .await
            .expect("folders")
            .is_empty()
    );
}

async fn names_are_taken_once(storage: &Storage) {
    let first = Bytes::from_static(b"first");
    storage
        .put_if_absent("a/b", first.clone())
        .await
        .expect("free");
    let second = storage
        .put_if_absent("a/b", Bytes::from_static(b"second"))
        .await;
    assert!(second.expect_err("taken").is_already_exists());
    assert_eq!(storage.get("a/b").await.expect("read"), first);
}

async fn one_of_many_creators_wins(backend: &dyn Backend) {
    let attempts = (0..8_u8).map(|number| async move {
        let bytes = Bytes::from(vec![number; 1000]);
        let created = backend
            .put_if_absent("race/winner", bytes.clone(), &Id::of(&bytes))
            .await;
        (number, created)
    });
    let outcomes = futures::future::join_all(attempts).await;
    let mut winners = Vec::new();
    for (number, outcome) in outcomes {
        match outcome {
            Ok(()) => winners.push(number),
            Err(error) => assert!(error.is_already_exists(), "{error}"),
        }
    }
    assert_eq!(winners.len(), 1, "{winners:?}");
    let there = backend.get("race/winner").await.expect("read");
    assert_eq!(there, vec![winners[0]; 1000]);
}

async fn a_replaced_object_is_never_half(storage: &Storage) {
    let versions = [Bytes::from(vec![1; 4 << 20]), Bytes::from(vec![2; 3 << 20])];
    storage.put("a", versions[0].clone()).await.expect("put");
    let writing = async {
        for round in 0..10 {
            storage
                .put("a", versions[(round + 1) % 2].clone())
                .await
                .expect("put");
        }
    };
    let reading = async {
        for _ in 0..20 {
            let read = storage.get("a").await.expect("read");
            assert!(
                versions.contains(&read),
                "{} bytes, half of something",
                read.len()
            );
        }
    };
    futures::future::join(writing, reading).await;
}

async fn listings_are_whole_and_in_order(storage: &Storage, many: usize) {
    let mut names: Vec<String> = (0..many)
        .map(|number| format!("many/{:x}-{number}", number % 16))
        .collect();
    let small = |name: &String| {
        let (storage, name) = (storage.clone(), name.clone());
        async move { storage.put(&name, Bytes::from_static(b"12345")).await }
    };
    for batch in names.chunks(16) {
        for put in futures::future::join_all(batch.iter().map(small)).await {
            put.expect("put");
        }
    }
    storage.put("manx", Bytes::new()).await.expect("put");
    names.sort();
    let listed = storage.list("many/").await.expect("listed");
    let found: Vec<String> = listed.iter().map(|object| object.name.clone()).collect();
    assert_eq!(found, names);
    assert!(listed.iter().all(|object| object.size_bytes == 5));

    let after = &names[many / 2];
    let page = storage.list_page("many/", Some(after)).await.expect("page");
    assert_eq!(page.objects[0].name, names[many / 2 + 1]);
    let by_part: Vec<String> = storage
        .list("many/a")
        .await
        .expect("listed")
        .into_iter()
        .map(|object| object.name)
        .collect();
    let expected: Vec<String> = names
        .iter()
        .filter(|name| name.starts_with("many/a"))
        .cloned()
        .collect();
    assert_eq!(by_part, expected);
    let all = storage.list("").await.expect("listed");
    assert_eq!(all.len(), many + 1);
    assert!(all.is_sorted());
}

/// Names beside a folder sort by bytes, too: `a.x` comes before `a/x`. Some servers list folder by folder instead,
/// so this is asked of those that promise it.
pub async fn names_sort_by_bytes_across_folders(backend: Arc<dyn Backend>) {
    let storage = Storage::from_backend(backend).subfolder("bytes");
    for name in ["a/x", "a.x", "a0"] {
        storage.put(name, Bytes::new()).await.expect(name);
    }
    let listed = storage.list("").await.expect("listed");
    let names: Vec<&str> = listed.iter().map(|object| object.name.as_str()).collect();
    assert_eq!(names, ["a.x", "a/x", "a0"]);
}

async fn folders_are_listed(storage: &Storage) {
    for name in ["b/1", "b/2", "a/deep/1", "file", "c-d/1"] {
        storage.put(name, Bytes::new()).await.expect(name);
    }
    let folders = storage.list_folders("").await.expect("listed");
    assert_eq!(folders, ["a", "b", "c-d"]);
    assert_eq!(storage.list_folders("a").await.expect("listed"), ["deep"]);
}

async fn what_is_deleted_is_gone(storage: &Storage) {
    storage
        .put("a", Bytes::from_static(b"x"))
        .await
        .expect("put");
    storage.delete("a").await.expect("deleted");
    assert!(storage.get("a").await.expect_err("gone").is_not_found());
    assert!(storage.list("").await.expect("listed").is_empty());
    storage.delete("a").await.expect("deleted before");
    storage.delete("never/was").await.expect("never there");
}

async fn subfolders_are_separate(storage: &Storage) {
    let (one, two) = (storage.subfolder("one"), storage.subfolder("one-two"));
    one.put("x", Bytes::from_static(b"1")).await.expect("put");
    two.put("x", Bytes::from_static(b"2")).await.expect("put");
    assert_eq!(one.get("x").await.expect("read"), "1");
    let names: Vec<String> = one
        .list("")
        .await
        .expect("listed")
        .into_iter()
        .map(|object| object.name)
        .collect();
    assert_eq!(names, ["x"]);
    for escape in ["../one-two/x", "a/../../one-two/x", "", "a//b", "./x"] {
        assert!(
            one.get(escape)
                .await
                .is_err_and(|error| !error.is_not_found()),
            "{escape:?} is no name"
        );
    }
}

fn pattern(length: usize) -> Bytes {
    (0..length)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect()
}

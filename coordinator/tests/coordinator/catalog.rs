//! Scans: the catalog comes back from what the vault holds, and says what does not.

use bytes::Bytes;
use holdfast_proto::v1;
use holdfast_vault::{BackupOptions, FileMeta, RecoveryKit, Repository, Storage};
use secrecy::ExposeSecret as _;
use tonic::Code;

use crate::support::agent::FakeAgent;
use crate::support::{
    Control, Database, Installation, backup_result, on_both, snapshots, start_backup,
};

/// A manifest with a setting of an application.
fn manifest(run: &str, secret: &str) -> String {
    format!("{{\"run\":\"{run}\",\"settings\":[{{\"name\":\"app.key\",\"value\":\"{secret}\"}}]}}")
}

/// Writes a real snapshot as an agent would; returns its id.
async fn write(kit: &RecoveryKit, source: &str, run: &str, epoch: u64) -> String {
    let storage = Storage::open(&kit.address, None, None).expect("open");
    let repository = Repository::open_or_create(storage.subfolder(source), &kit.password(source))
        .await
        .expect("a repository");
    let mut options = BackupOptions::new("db-host", format!("/{source}"));
    options.tags = vec![
        format!("run:{run}"),
        format!("epoch:{epoch}"),
        "kind:postgres".into(),
        "method:dump".into(),
    ];
    let writer = repository.begin_backup(options).await.expect("begun");
    let manifest = Bytes::from(manifest(run, "hush"));
    let path = format!("/{source}/manifest.json");
    writer
        .write_bytes(&path, FileMeta::default(), manifest)
        .await
        .expect("written");
    let prepared = writer.finish().await.expect("whole");
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    prepared
        .commit(deadline, None)
        .await
        .expect("committed")
        .to_hex()
}

async fn scan(control: &mut Control) -> v1::ScanVaultResponse {
    let request = v1::ScanVaultRequest {
        name: "main".into(),
    };
    control
        .scan_vault(request)
        .await
        .expect("scanned")
        .into_inner()
}

fn standing(all: &[v1::Snapshot], id: &str) -> v1::SnapshotStanding {
    all.iter()
        .find(|snapshot| snapshot.id == id)
        .expect("in the catalog")
        .standing()
}

on_both!(a_scan_rebuilds_the_catalog_of_a_lost_state);

async fn a_scan_rebuilds_the_catalog_of_a_lost_state(database: Database) {
    let at = Installation::with(database, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    let kit = RecoveryKit::parse(&at.add_vault(&mut control, "main").await.kit).expect("a kit");
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let mut session = agent.connect(&at).await;
    let run = start_backup(&mut control, "orders").await;
    session.begin().await;
    let id = write(&kit, "orders", &run.id, 1).await;
    assert!(session.ask_commit(&run.id, 1, &id).await.permitted);
    // Its run is under way and will say itself.
    assert_eq!(scan(&mut control).await.added, 0);
    session.finish(&run.id, 1, backup_result(&id)).await;
    let orphan = write(&kit, "orders", &run.id, 2).await;
    let stranger = write(&kit, "users", "another-tool", 1).await;
    let told = scan(&mut control).await;
    assert_eq!(
        (told.repositories, told.snapshots, told.added),
        (2, 3, 2),
        "{told:?}"
    );
    assert_eq!((told.missing, told.orphans), (0, 1));
    assert!(told.problems.is_empty(), "{told:?}");
    let all = snapshots(&mut control, true).await;
    assert_eq!(standing(&all, &id), v1::SnapshotStanding::Committed);
    assert_eq!(standing(&all, &orphan), v1::SnapshotStanding::Orphan);
    assert_eq!(standing(&all, &stranger), v1::SnapshotStanding::Found);
    running.stop().await;

    // The state is lost; the kit is not.
    let anew = Installation::with(database, "");
    let running = anew.start().await;
    let mut control = anew.admin().await;
    let request = v1::AddVaultRequest {
        name: "main".into(),
        address: kit.address.to_string(),
        vault_secret: kit.secret.expose_secret().into(),
        ..Default::default()
    };
    control.add_vault(request).await.expect("taken over");
    assert_eq!(scan(&mut control).await.added, 3);
    let all = snapshots(&mut control, false).await;
    assert_eq!(all.len(), 3);
    let request = v1::GetSnapshotRequest {
        snapshot_id: id.clone(),
    };
    let found = control
        .get_snapshot(request)
        .await
        .expect("found")
        .into_inner();
    assert_eq!(
        (
            found.kind.as_str(),
            found.method.as_str(),
            found.host.as_str()
        ),
        ("postgres", "dump", "db-host")
    );
    assert_eq!(found.manifest_json, manifest(&run.id, "(in the vault)"));
    // Found again, nothing is new.
    assert_eq!(scan(&mut control).await.added, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gone_is_missing_and_what_cannot_be_read_is_a_problem() {
    let at = Installation::with(Database::Sqlite, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    let kit = RecoveryKit::parse(&at.add_vault(&mut control, "main").await.kit).expect("a kit");
    let (one, two) = (
        write(&kit, "orders", "x", 1).await,
        write(&kit, "users", "x", 1).await,
    );
    assert_eq!(scan(&mut control).await.added, 2);
    let path = at.vault_folder("main").join("orders/snapshots").join(&one);
    let bytes = std::fs::read(&path).expect("the snapshot");
    std::fs::remove_file(&path).expect("removed");
    let told = scan(&mut control).await;
    assert_eq!(told.missing, 1);
    assert_eq!(
        standing(&snapshots(&mut control, true).await, &one),
        v1::SnapshotStanding::Missing
    );
    let request = v1::GrantReadRequest {
        snapshot_id: one.clone(),
        purpose: "look".into(),
    };
    assert_eq!(
        control.grant_read(request).await.expect_err("gone").code(),
        Code::FailedPrecondition
    );
    // It is back.
    std::fs::write(&path, bytes).expect("written");
    assert_eq!(scan(&mut control).await.missing, 0);
    assert_eq!(
        standing(&snapshots(&mut control, true).await, &one),
        v1::SnapshotStanding::Found
    );

    // A repository that does not open: told, and nothing of it is called missing.
    let keys = at.vault_folder("main").join("users/keys");
    for key in std::fs::read_dir(&keys).expect("keys").flatten() {
        std::fs::write(key.path(), b"{}").expect("damaged");
    }
    let told = scan(&mut control).await;
    assert_eq!(told.missing, 0);
    assert!(
        told.problems
            .iter()
            .any(|problem| problem.starts_with("users:")),
        "{told:?}"
    );
    assert_eq!(
        standing(&snapshots(&mut control, true).await, &two),
        v1::SnapshotStanding::Found
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_while_a_scan_goes_on_is_not_missing() {
    let at = Installation::with(Database::Sqlite, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    let kit = RecoveryKit::parse(&at.add_vault(&mut control, "main").await.kit).expect("a kit");
    write(&kit, "users", "x", 1).await;
    // A repository that answers only when we let it: the scan stands still in it, with the folders listed.
    let slow = at.vault_folder("main").join("aaa");
    std::fs::create_dir(&slow).expect("made");
    let config = slow.join("config");
    let made = std::process::Command::new("mkfifo").arg(&config).status();
    assert!(made.expect("mkfifo runs").success());
    let mut scanner = control.clone();
    let scanning = tokio::spawn(async move { scan(&mut scanner).await });
    let opened = tokio::task::spawn_blocking(move || {
        // Comes back once the scan has opened it for reading.
        std::fs::OpenOptions::new().write(true).open(config)
    });
    let mut pipe = opened.await.expect("joined").expect("opened");

    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let mut session = agent.connect(&at).await;
    let run = start_backup(&mut control, "orders").await;
    session.begin().await;
    let id = write(&kit, "orders", &run.id, 1).await;
    assert!(session.ask_commit(&run.id, 1, &id).await.permitted);
    session.finish(&run.id, 1, backup_result(&id)).await;

    std::io::Write::write_all(&mut pipe, b"nothing").expect("written");
    drop(pipe);
    let told = scanning.await.expect("scanned");
    assert_eq!(told.missing, 0, "{told:?}");
    assert_eq!(
        standing(&snapshots(&mut control, true).await, &id),
        v1::SnapshotStanding::Committed
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_cannot_be_seen_is_a_problem_and_nothing_of_it_is_missing() {
    let at = Installation::with(Database::Sqlite, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    let kit = RecoveryKit::parse(&at.add_vault(&mut control, "main").await.kit).expect("a kit");
    let id = write(&kit, "orders", "x", 1).await;
    assert_eq!(scan(&mut control).await.added, 1);
    // As when its disk is not mounted: an empty folder, or none.
    let (folder, elsewhere) = (at.vault_folder("main"), at.vault_folder("elsewhere"));
    std::fs::rename(&folder, &elsewhere).expect("moved");
    for _ in 0..2 {
        let told = scan(&mut control).await;
        assert_eq!((told.missing, told.problems.len()), (0, 1), "{told:?}");
        assert!(told.problems[0].contains("mounted"), "{told:?}");
        let all = snapshots(&mut control, true).await;
        assert_eq!(standing(&all, &id), v1::SnapshotStanding::Found);
        std::fs::create_dir_all(&folder).expect("made");
    }
    std::fs::remove_dir_all(&folder).expect("removed");
    std::fs::rename(&elsewhere, &folder).expect("moved back");
    assert!(scan(&mut control).await.problems.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leave_to_read_is_given_and_audited() {
    let at = Installation::with(Database::Sqlite, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    let kit = RecoveryKit::parse(&at.add_vault(&mut control, "main").await.kit).expect("a kit");
    let id = write(&kit, "orders", "x", 1).await;
    scan(&mut control).await;
    let request = v1::GrantReadRequest {
        snapshot_id: id[..8].into(),
        purpose: "export".into(),
    };
    let granted = control
        .grant_read(request)
        .await
        .expect("granted")
        .into_inner();
    let grant = granted.grant.expect("a grant");
    assert_eq!(grant.repository, "orders");
    assert_eq!(
        grant.repository_password,
        kit.password("orders").expose_secret()
    );
    running.stop().await;
    let (store, _lock) = crate::store_schema::open(&at).await;
    let mut connection = store.read().await.expect("readable");
    let rows = holdfast_coordinator::store::audit::list(&mut connection, 0, 100)
        .await
        .expect("listed");
    let row = rows
        .iter()
        .find(|row| row.action == "snapshot.read")
        .expect("audited");
    assert!(
        row.detail.contains(&id) && row.detail.contains("export"),
        "{row:?}"
    );
}

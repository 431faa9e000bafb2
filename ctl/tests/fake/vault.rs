//! A real vault for the tests: a folder, two snapshots, and the recovery kit beside it.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use holdfast_proto::v1;
use holdfast_vault::{
    BackupOptions, ChunkerKind, FileMeta, RecoveryKit, Repository, Storage, VaultAddress,
};
use secrecy::ExposeSecret;

use super::{Said, bare_ctl, run};

/// A vault in a folder, with two snapshots of `orders-db` and its kit beside it.
pub struct Vault {
    pub folder: tempfile::TempDir,
    pub kit: RecoveryKit,
    pub first: String,
    pub second: String,
    pub dump: Vec<u8>,
}

impl Vault {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("temp");
        let address = VaultAddress::File {
            path: folder.path().join("vault"),
        };
        let kit = RecoveryKit {
            vault: "primary".into(),
            address,
            endpoint: None,
            secret: "cd".repeat(32).into(),
            sources: vec!["orders-db".into()],
        };
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        let dump: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let (first, second) = runtime.block_on(async {
            let storage = Storage::open(&kit.address, None, None).expect("storage");
            let password = kit.password("orders-db");
            let repository = Repository::open_or_create(storage.subfolder("orders-db"), &password)
                .await
                .expect("repository");
            let first = back_up(&repository, "2026-07-01T12:00:00Z", b"small").await;
            (
                first,
                back_up(&repository, "2026-07-02T12:00:00Z", &dump).await,
            )
        });
        std::fs::write(folder.path().join("kit.txt"), kit.to_string()).expect("written");
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(folder.path().join("kit.txt"), private).expect("mode");
        Self {
            folder,
            kit,
            first,
            second,
            dump,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// holdfastctl with the kit and nothing else.
    pub fn offline(&self, arguments: &[&str]) -> Said {
        let mut command = bare_ctl(arguments);
        command.args(["--kit", "kit.txt", "--source", "orders-db"]);
        command.current_dir(self.folder.path());
        run(command)
    }

    /// Names in the folder, hidden ones and the vault's included.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("read");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    pub fn locks(&self) -> usize {
        let folder = self.path("vault/orders-db/locks");
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    }

    pub fn grant(&self) -> v1::GrantReadResponse {
        v1::GrantReadResponse {
            snapshot: Some(v1::Snapshot {
                id: self.second.clone(),
                source: "orders-db".into(),
                ..Default::default()
            }),
            grant: Some(v1::Grant {
                vault_address: self.kit.address.to_string(),
                repository: "orders-db".into(),
                repository_password: self.kit.password("orders-db").expose_secret().to_owned(),
                ..Default::default()
            }),
        }
    }
}

async fn back_up(repository: &Repository, time: &str, dump: &[u8]) -> String {
    let mut options = BackupOptions::new("db1.example", "/orders-db");
    options.time = time.parse().expect("time");
    options.tags = [
        "run:0190a1b2-c3d4-7000-8000-000000000001",
        "epoch:1",
        "kind:postgres",
        "method:dump",
    ]
    .map(String::from)
    .to_vec();
    let writer = repository.begin_backup(options).await.expect("begun");
    let text = |text: &'static str| Bytes::from_static(text.as_bytes());
    for (path, bytes) in [
        ("manifest.json", text("{}")),
        ("globals.sql", text("CREATE ROLE ann;\n")),
    ] {
        writer
            .write_bytes(path, FileMeta::default(), bytes)
            .await
            .expect("written");
    }
    writer
        .write_stream(
            "databases/my%20app.dump",
            FileMeta::default(),
            ChunkerKind::ContentDefined,
            dump,
        )
        .await
        .expect("written");
    let prepared = writer.finish().await.expect("finished");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    prepared
        .commit(deadline, None)
        .await
        .expect("committed")
        .to_hex()
}

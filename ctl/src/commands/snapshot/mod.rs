//! `snapshot list|show|files|export`, with a coordinator or, given a recovery kit, without one.

use holdfast_proto::v1;
use holdfast_vault::{FileEntry, FileKind};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::client::{Client, Control, QUICK};
use crate::commands::Context;
use crate::exit::CommandError;
use crate::export::{self, ExportArgs};
use crate::granted::{self, Opened};
use crate::offline::{KitArgs, Offline};
use crate::output::catalog::{SnapshotView, standing};
use crate::output::human::{age, clean, moment, short, size};
use crate::output::{Output, manifest};

pub mod resolve;

/// What can be asked about snapshots.
#[derive(clap::Subcommand)]
pub enum SnapshotCommand {
    /// Snapshots, newest first
    #[command(after_help = "With --kit the vault itself is listed, and no coordinator is asked.")]
    List {
        /// Only snapshots of this source
        #[arg(long, value_name = "SOURCE")]
        source: Option<String>,
        /// Only snapshots in this vault
        #[arg(long, value_name = "VAULT", conflicts_with = "kit")]
        vault: Option<String>,
        /// Orphans, too: complete, but written late or without permission
        #[arg(long, conflicts_with = "kit")]
        orphans: bool,
        /// At most this many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        kit: KitArgs,
    },
    /// One snapshot with what its manifest says
    Show {
        /// The snapshot's id, or its beginning
        id: String,
    },
    /// The files in a snapshot, read from the vault
    #[command(
        after_help = "The repository is read from here: the vault must be reachable from this host."
    )]
    Files {
        /// The snapshot's id, or its beginning; with --kit also latest
        id: String,
        /// With --kit: the source whose snapshot it is
        #[arg(long, value_name = "SOURCE", requires = "kit")]
        source: Option<String>,
        #[command(flatten)]
        kit: KitArgs,
    },
    /// Take a snapshot, or one file of it, out as plain files
    #[command(
        after_help = "The repository is read from here: the vault must be reachable from this host. What is written appears whole or not at all."
    )]
    Export(ExportArgs),
}

/// Runs `snapshot ...`.
pub async fn run(context: &Context, command: SnapshotCommand) -> Result<(), CommandError> {
    match command {
        SnapshotCommand::List {
            source,
            vault,
            orphans,
            limit,
            kit,
        } => {
            let snapshots = match Offline::from_args(&kit, source.as_deref())? {
                Some(offline) => offline.list(limit).await?,
                None => {
                    let request = v1::ListSnapshotsRequest {
                        source: source.unwrap_or_default(),
                        vault: vault.unwrap_or_default(),
                        include_orphans: orphans,
                        limit,
                    };
                    list(&context.client().await?, request).await?
                }
            };
            print(context.output, &snapshots)
        }
        SnapshotCommand::Show { id } => show(context, id).await,
        SnapshotCommand::Files { id, source, kit } => files(context, id, source, kit).await,
        SnapshotCommand::Export(args) => export::run(context, args).await,
    }
}

/// Asks the coordinator's catalog.
pub async fn list(
    client: &Client,
    request: v1::ListSnapshotsRequest,
) -> Result<Vec<v1::Snapshot>, CommandError> {
    let call = |mut control: Control| async move { control.list_snapshots(request).await };
    Ok(client.call(QUICK, call).await?.snapshots)
}

fn print(output: Output, snapshots: &[v1::Snapshot]) -> Result<(), CommandError> {
    let views: Vec<SnapshotView> = snapshots.iter().map(SnapshotView::from).collect();
    output.show(&json!({ "snapshots": views }), |output| {
        let now = Timestamp::now();
        let rows = snapshots
            .iter()
            .map(|snapshot| row(snapshot, now))
            .collect();
        let header = [
            "SNAPSHOT", "SOURCE", "TIME", "AGE", "READ", "STORED", "VAULT", "STANDING",
        ];
        output.table(&header, rows, "no snapshots")
    })
}

fn row(snapshot: &v1::Snapshot, now: Timestamp) -> Vec<String> {
    let known = |bytes: u64| if bytes == 0 { "-".into() } else { size(bytes) };
    vec![
        short(&snapshot.id).into(),
        snapshot.source.clone(),
        moment(snapshot.time_micros),
        age(snapshot.time_micros, now),
        known(snapshot.read_bytes),
        known(snapshot.stored_bytes),
        snapshot.vault.clone(),
        standing(snapshot.standing).unwrap_or("-").into(),
    ]
}

async fn show(context: &Context, snapshot_id: String) -> Result<(), CommandError> {
    let client = context.client().await?;
    let snapshot = resolve::by_id(&client, &snapshot_id).await?;
    context
        .output
        .show(&SnapshotView::from(&snapshot), |output| {
            for (name, value) in facts(&snapshot, Timestamp::now()) {
                let shown = if value.is_empty() { "-" } else { &value };
                output.line(&format!("{name:<10} {}", clean(shown)))?;
            }
            let databases = manifest::databases(&snapshot.manifest_json);
            if databases.is_empty() {
                return Ok(());
            }
            output.line("")?;
            let header = ["DATABASE", "OWNER", "SIZE", "TABLES"];
            output.table(&header, manifest::rows(&databases), "")
        })
}

fn facts(snapshot: &v1::Snapshot, now: Timestamp) -> Vec<(&'static str, String)> {
    let how = format!(
        "{} ({}, {})",
        snapshot.source, snapshot.kind, snapshot.method
    );
    let time = snapshot.time_micros;
    let sizes = format!(
        "read {}, new {}, stored {}",
        size(snapshot.read_bytes),
        size(snapshot.new_bytes),
        size(snapshot.stored_bytes)
    );
    let mut facts = vec![
        ("snapshot", snapshot.id.clone()),
        ("source", how),
        ("time", format!("{} ({})", moment(time), age(time, now))),
        ("vault", snapshot.vault.clone()),
        (
            "standing",
            standing(snapshot.standing).unwrap_or("-").to_owned(),
        ),
        ("host", snapshot.host.clone()),
        ("run", snapshot.run_id.clone()),
        ("sizes", sizes),
    ];
    facts.extend(manifest::facts(&snapshot.manifest_json));
    facts
}

async fn files(
    context: &Context,
    id: String,
    source: Option<String>,
    kit: KitArgs,
) -> Result<(), CommandError> {
    let opened = match Offline::from_args(&kit, source.as_deref())? {
        Some(offline) => offline.open(&id).await?,
        None => granted::open(&context.client().await?, &id, "snapshot files").await?,
    };
    let listed = opened.files().await;
    let (snapshot_id, source) = (opened.id.clone(), opened.source.clone());
    let files = listed.map(|entries| {
        let views = entries.iter().map(|entry| file(&opened, entry));
        views.filter(|file| file.path != source).collect()
    });
    opened.close().await;
    let files: Vec<FileView> = files?;
    let document = json!({ "snapshot_id": snapshot_id, "source": source, "files": files });
    context.output.show(&document, |output| {
        let rows = files.iter().map(file_row).collect();
        output.table(&["PATH", "SIZE"], rows, "no files")
    })
}

#[derive(Serialize)]
struct FileView {
    path: String,
    kind: String,
    size_bytes: u64,
    modified_at: Timestamp,
}

fn file(opened: &Opened, entry: &FileEntry) -> FileView {
    FileView {
        path: opened.relative(&entry.path).to_owned(),
        kind: kind(entry).to_owned(),
        size_bytes: entry.size_bytes,
        modified_at: entry.mtime,
    }
}

fn file_row(file: &FileView) -> Vec<String> {
    let size = match file.kind.as_str() {
        "file" => size(file.size_bytes),
        other => other.to_owned(),
    };
    vec![file.path.clone(), size]
}

fn kind(entry: &FileEntry) -> &str {
    match &entry.kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Other(name) => name,
    }
}

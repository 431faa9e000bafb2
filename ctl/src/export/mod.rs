//! `snapshot export`: a snapshot's files as plain files, for people without us.
//!
//! Promise: what appears under the given name is whole. One file is written beside its name, flushed to the disk, and renamed;
//! a whole snapshot is written into a folder beside, and the folder is renamed. Whatever fails or is cancelled on the way
//! leaves nothing. What is there already is replaced only with `--force`.

mod advice;
mod compress;
mod place;

use std::path::{Path, PathBuf};

use holdfast_vault::{FileEntry, FileKind};
use serde_json::json;

use crate::commands::Context;
use crate::exit::{Class, CommandError};
use crate::granted::{self, Opened};
use crate::interrupt::interrupted;
use crate::offline::{KitArgs, Offline};
use crate::output::human::{count, short, size};
use crate::output::note;
use compress::{Compression, copy};
use place::{FolderPlace, check_file, check_folder, new_file, publish};

/// Arguments of `snapshot export`.
#[derive(clap::Args)]
pub struct ExportArgs {
    /// The snapshot's id, or its beginning; with --kit also latest
    id: String,
    /// The folder to make; with --file the file to write
    path: PathBuf,
    /// Only this file of the snapshot, such as databases/app.dump
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// Compress what is written
    #[arg(long, value_name = "HOW", default_value = "none")]
    compress: Compression,
    /// Replace files that are there already
    #[arg(long)]
    force: bool,
    /// With --kit: the source whose snapshot it is
    #[arg(long, value_name = "SOURCE", requires = "kit")]
    source: Option<String>,
    #[command(flatten)]
    kit: KitArgs,
}

/// One file that was written.
#[derive(serde::Serialize)]
struct Exported {
    path: PathBuf,
    from: String,
    size_bytes: u64,
}

/// Runs `snapshot export`.
pub async fn run(context: &Context, args: ExportArgs) -> Result<(), CommandError> {
    match args.file {
        Some(_) => check_file(&args.path, args.force)?,
        None => check_folder(&args.path, args.force)?,
    }
    let opened = match Offline::from_args(&args.kit, args.source.as_deref())? {
        Some(offline) => offline.open(&args.id).await?,
        None => granted::open(&context.client().await?, &args.id, "snapshot export").await?,
    };
    let exported = tokio::select! {
        // Listens before the first file is made.
        biased;
        () = interrupted() => {
            Err(CommandError::new(Class::Cancelled, "cancelled; nothing was written"))
        }
        exported = export(&opened, &args) => exported,
    };
    let (snapshot_id, source) = (opened.id.clone(), opened.source.clone());
    opened.close().await;
    let exported = exported?;
    let document = json!({ "snapshot_id": snapshot_id, "source": source, "files": exported });
    context.output.show(&document, |output| {
        for file in &exported {
            output.line(&format!(
                "{}  {}",
                file.path.display(),
                size(file.size_bytes)
            ))?;
        }
        let paths: Vec<&Path> = exported.iter().map(|file| file.path.as_path()).collect();
        advice::lines(&paths, args.compress)
            .iter()
            .for_each(|line| note(line));
        Ok(())
    })
}

async fn export(opened: &Opened, args: &ExportArgs) -> Result<Vec<Exported>, CommandError> {
    let mut entries = opened.files().await?;
    entries.retain(|entry| entry.kind == FileKind::File);
    match &args.file {
        Some(name) => {
            let entry = find(opened, &entries, name)?;
            Ok(vec![export_file(opened, entry, &args.path, args).await?])
        }
        None => export_all(opened, &entries, args).await,
    }
}

fn find<'a>(
    opened: &Opened,
    entries: &'a [FileEntry],
    name: &str,
) -> Result<&'a FileEntry, CommandError> {
    let fits = |entry: &&FileEntry| entry.path == name || opened.relative(&entry.path) == name;
    entries.iter().find(fits).ok_or_else(|| {
        CommandError::not_found(format!(
            "snapshot {} has no file {name:?} among its {}",
            short(&opened.id),
            count(entries.len() as u64, "file")
        ))
        .hint("holdfastctl snapshot files lists them")
    })
}

/// All files go into a folder beside the wanted one, which takes its name when it is whole. An existing folder (`--force`)
/// keeps what is in it, and gets each file by a rename of its own.
async fn export_all(
    opened: &Opened,
    entries: &[FileEntry],
    args: &ExportArgs,
) -> Result<Vec<Exported>, CommandError> {
    let folder = FolderPlace::beside(&args.path)?;
    let mut exported = Vec::new();
    for entry in entries {
        let name = place::safe_relative(opened.relative(&entry.path))?;
        let name = args.compress.add_suffix(&name);
        let written = export_file(opened, entry, &folder.path().join(&name), args).await?;
        exported.push(Exported {
            path: args.path.join(&name),
            ..written
        });
    }
    folder.publish(&args.path)?;
    Ok(exported)
}

async fn export_file(
    opened: &Opened,
    entry: &FileEntry,
    path: &Path,
    args: &ExportArgs,
) -> Result<Exported, CommandError> {
    let temporary = new_file(path)?;
    let handle = temporary.as_file().try_clone();
    let file = handle.map_err(|error| place::unwritable(path, &error))?;
    let reader = opened.reader().read_file(&entry.path).await?;
    let copied = copy(reader, file.into(), args.compress).await;
    let size_bytes = copied.map_err(|error| {
        CommandError::failed(format!(
            "exporting {} to {}: {error}",
            entry.path,
            path.display()
        ))
    })?;
    if size_bytes != entry.size_bytes {
        return Err(CommandError::failed(format!(
            "{} gave {size_bytes} bytes, {} were expected; nothing was written",
            entry.path, entry.size_bytes
        )));
    }
    publish(temporary, path, args.force)?;
    Ok(Exported {
        path: path.to_owned(),
        from: opened.relative(&entry.path).to_owned(),
        size_bytes,
    })
}

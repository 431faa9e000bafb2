//! The directories of a snapshot.

use serde::Serialize;

use super::super::Inner;
use super::super::blob::BlobKind;
use super::super::tree::{Node, Tree};
use super::blobs;
use crate::error::{Result, VaultError};
use crate::id::Id;

/// Deeper is no directory of anybody's; a tree that contains itself cannot be made, but claimed.
const DEEPEST: usize = 1000;

/// What an entry of a snapshot is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// Something else, as restic names it (`fifo`, `dev`, ...).
    Other(String),
}

/// One entry of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileEntry {
    /// Absolute. Bytes that are not UTF-8 are shown as U+FFFD.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Length of a file's content, 0 for others.
    pub size_bytes: u64,
    /// Last change.
    pub mtime: jiff::Timestamp,
}

/// All entries below the tree `root`.
pub(super) async fn list(repository: &Inner, root: &Id) -> Result<Vec<FileEntry>> {
    let mut entries = Vec::new();
    // Directories whose entries come next, the last one first.
    let mut open = vec![(
        String::new(),
        load(repository, root, "/").await?.into_iter(),
    )];
    while let Some((folder, nodes)) = open.last_mut() {
        let Some(node) = nodes.next() else {
            open.pop();
            continue;
        };
        let path = format!("{folder}/{}", node_name(&node, folder)?);
        entries.push(entry(&path, &node));
        if let Some(subtree) = &node.subtree {
            if open.len() >= DEEPEST {
                return Err(VaultError::damaged(
                    path,
                    "its directories are nested too deeply",
                ));
            }
            let nodes = load(repository, subtree, &path).await?;
            open.push((path, nodes.into_iter()));
        }
    }
    Ok(entries)
}

/// The node at the absolute `path`.
pub(super) async fn find(repository: &Inner, root: &Id, path: &str) -> Result<Node> {
    let not_found = || VaultError::NotFound {
        path: path.to_owned(),
    };
    let mut folder = String::new();
    let mut tree = *root;
    let mut parts = path.trim_start_matches('/').split('/').peekable();
    while let Some(part) = parts.next() {
        let nodes = load(repository, &tree, &folder).await?;
        let mut found = None;
        for node in nodes {
            if node_name(&node, &folder)? == part {
                found = Some(node);
                break;
            }
        }
        let node = found.ok_or_else(not_found)?;
        if parts.peek().is_none() {
            return Ok(node);
        }
        tree = node.subtree.ok_or_else(not_found)?;
        folder = format!("{folder}/{part}");
    }
    Err(not_found())
}

async fn load(repository: &Inner, id: &Id, folder: &str) -> Result<Vec<Node>> {
    let json = blobs::load(repository, BlobKind::Tree, id)
        .await
        .map_err(|error| within(folder, error))?;
    let tree = Tree::parse(&json).map_err(|error| {
        VaultError::damaged(format!("the directory {folder:?} (tree {id})"), error)
    })?;
    Ok(tree.nodes)
}

/// Says which directory a damaged tree is of.
fn within(folder: &str, error: VaultError) -> VaultError {
    match error {
        VaultError::Damaged { object, why } => VaultError::Damaged {
            object: format!(
                "the directory {}: {object}",
                if folder.is_empty() { "/" } else { folder }
            ),
            why,
        },
        error => error,
    }
}

fn node_name(node: &Node, folder: &str) -> Result<String> {
    let name = node
        .name()
        .map_err(|why| VaultError::damaged(format!("the directory {folder:?}"), why))?;
    Ok(String::from_utf8_lossy(&name).into_owned())
}

fn entry(path: &str, node: &Node) -> FileEntry {
    let kind = match node.kind.as_str() {
        "file" => FileKind::File,
        "dir" => FileKind::Directory,
        "symlink" => FileKind::Symlink,
        other => FileKind::Other(other.to_owned()),
    };
    FileEntry {
        path: path.to_owned(),
        size_bytes: if kind == FileKind::File { node.size } else { 0 },
        kind,
        mtime: node.mtime,
    }
}

//! Where an export appears: temporary names beside the wanted ones, and the renames at the end.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempDir};

use crate::exit::CommandError;

/// How what is not whole yet is called.
const TEMPORARY_PREFIX: &str = ".holdfast-export-";

/// Refuses to replace a file before anything is fetched.
pub fn check_file(path: &Path, force: bool) -> Result<(), CommandError> {
    if path.is_dir() {
        return Err(CommandError::usage(format!(
            "{} is a folder; with --file name the file to write",
            path.display()
        )));
    }
    if path.exists() && !force {
        return Err(exists(path));
    }
    Ok(())
}

/// Refuses to put files among others before anything is fetched.
pub fn check_folder(path: &Path, force: bool) -> Result<(), CommandError> {
    let mut entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            let message = format!("{} cannot be the folder: {error}", path.display());
            return Err(CommandError::usage(message));
        }
    };
    if force || entries.next().is_none() {
        return Ok(());
    }
    Err(
        CommandError::refused(format!("{} is not empty", path.display())).hint(
            "name a new folder, or add --force: files of the same names are replaced, others stay",
        ),
    )
}

fn exists(path: &Path) -> CommandError {
    CommandError::refused(format!("{} exists already", path.display()))
        .hint("name another file, or add --force to replace it")
}

/// What could not be written, and why.
pub fn unwritable(path: &Path, error: &io::Error) -> CommandError {
    CommandError::failed(format!("cannot write {}: {error}", path.display()))
}

/// The folder of `path`; the current one for a bare name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// A path inside a snapshot as one below a folder of ours. It comes from the repository, so it may name anything.
pub fn safe_relative(path: &str) -> Result<PathBuf, CommandError> {
    let parts: Vec<Component<'_>> = Path::new(path).components().collect();
    let plain = parts
        .iter()
        .all(|part| matches!(part, Component::Normal(_)));
    if parts.is_empty() || !plain || path.contains('\0') {
        return Err(CommandError::refused(format!(
            "the snapshot holds a file named {path:?}, which would leave the folder"
        )));
    }
    Ok(PathBuf::from(path))
}

/// A file beside `path` (0600), removed unless it is published.
pub fn new_file(path: &Path) -> Result<NamedTempFile, CommandError> {
    let folder = folder_of(path);
    fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .tempfile_in(folder)
        .map_err(|error| unwritable(path, &error))
}

/// Gives the file its name in one step.
pub fn publish(file: NamedTempFile, path: &Path, force: bool) -> Result<(), CommandError> {
    let published = if force {
        file.persist(path)
    } else {
        file.persist_noclobber(path)
    };
    match published {
        Ok(_) => sync_folder(folder_of(path)),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(exists(path)),
        Err(error) => Err(unwritable(path, &error.error)),
    }
}

fn sync_folder(folder: &Path) -> Result<(), CommandError> {
    let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|error| unwritable(folder, &error))
}

/// A folder being filled, removed unless it is published.
pub struct FolderPlace {
    temporary: TempDir,
}

impl FolderPlace {
    /// A new folder (0700) beside `path`, so that a rename suffices in the end.
    pub fn beside(path: &Path) -> Result<Self, CommandError> {
        let folder = folder_of(path);
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        let temporary = Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempdir_in(folder)
            .map_err(|error| unwritable(path, &error))?;
        Ok(Self { temporary })
    }

    /// Where to write.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Takes the place of `path`: whole where that is new or empty, file by file where it is not.
    pub fn publish(self, path: &Path) -> Result<(), CommandError> {
        match fs::rename(self.temporary.path(), path) {
            Ok(()) => {
                // It has its new name: there is nothing left to remove.
                let _ = self.temporary.keep();
            }
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                merge(self.temporary.path(), path)?;
            }
            Err(error) => return Err(unwritable(path, &error)),
        }
        sync_folder(folder_of(path))
    }
}

fn merge(from: &Path, to: &Path) -> Result<(), CommandError> {
    fs::create_dir_all(to).map_err(|error| unwritable(to, &error))?;
    for entry in fs::read_dir(from).map_err(|error| unwritable(from, &error))? {
        let entry = entry.map_err(|error| unwritable(from, &error))?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            merge(&entry.path(), &target)?;
        } else {
            fs::rename(entry.path(), &target).map_err(|error| unwritable(&target, &error))?;
        }
    }
    sync_folder(to)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_from_a_repository_cannot_leave_the_folder() {
        assert!(safe_relative("databases/app%2Fx.dump").is_ok());
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a/..", ".."] {
            assert!(safe_relative(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unpublished_folder_is_gone() {
        let base = tempfile::tempdir().expect("temp");
        let place = FolderPlace::beside(&base.path().join("out")).expect("made");
        fs::write(place.path().join("f"), "x").expect("written");
        drop(place);
        assert_eq!(fs::read_dir(base.path()).expect("read").count(), 0);
    }

    #[test]
    fn a_file_that_appeared_meanwhile_is_not_replaced() {
        let base = tempfile::tempdir().expect("temp");
        let path = base.path().join("f");
        let file = new_file(&path).expect("made");
        fs::write(&path, "theirs").expect("written");
        let error = publish(file, &path, false).expect_err("refused");
        assert_eq!(error.class.code(), 3);
        assert_eq!(fs::read_to_string(&path).expect("read"), "theirs");
    }

    proptest! {
        #[test]
        fn whatever_the_path_it_stays_below(path in "[./a-z\\PC]{0,40}") {
            if let Ok(safe) = safe_relative(&path) {
                prop_assert!(Path::new("/x").join(&safe).starts_with("/x"));
                prop_assert!(!safe.components().any(|part| part == Component::ParentDir));
            }
        }
    }
}

//! Hands a recovery kit to the operator: printed once, or in a file that only they can read.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::Serialize;

use crate::exit::CommandError;
use crate::output::{Output, note};

/// A new file for a kit, empty until there is one, and gone again when there never is.
pub struct KitFile {
    path: PathBuf,
    file: File,
    written: bool,
}

impl KitFile {
    /// Makes the file (0600). One that exists is never touched: it may be the only copy of another kit.
    pub fn reserve(path: PathBuf) -> Result<Self, CommandError> {
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        match opened {
            Ok(file) => Ok(Self {
                path,
                file,
                written: false,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(CommandError::refused(format!(
                    "{} exists already; a kit is never written over another file",
                    path.display()
                ))
                .hint("name a new file"))
            }
            Err(error) => Err(CommandError::usage(format!(
                "cannot make {}: {error}",
                path.display()
            ))),
        }
    }

    fn write(mut self, kit: &str) -> Result<PathBuf, CommandError> {
        let written = self
            .file
            .write_all(kit.as_bytes())
            .and_then(|()| self.file.sync_all());
        written.map_err(|error| {
            CommandError::failed(format!(
                "cannot write the kit into {}: {error}",
                self.path.display()
            ))
            .hint("holdfastctl vault kit NAME prints it again")
        })?;
        self.written = true;
        Ok(self.path.clone())
    }
}

impl Drop for KitFile {
    fn drop(&mut self) {
        if !self.written
            && let Err(error) = fs::remove_file(&self.path)
        {
            note(&format!(
                "warning: the empty file {} stays behind: {error}",
                self.path.display()
            ));
        }
    }
}

/// Writes the kit to `place`, or prints it. `document` makes the JSON from the kit's text and its file.
pub fn hand_over<T: Serialize>(
    output: Output,
    place: Option<KitFile>,
    kit: &str,
    document: impl FnOnce(Option<&str>, Option<PathBuf>) -> T,
) -> Result<(), CommandError> {
    if kit.is_empty() {
        return Err(CommandError::failed(
            "the coordinator answered without the recovery kit",
        ));
    }
    let file = place.map(|place| place.write(kit)).transpose()?;
    if output.is_json() {
        let printed = file.is_none().then_some(kit);
        return output.json(&document(printed, file));
    }
    match file {
        Some(path) => output.line(&format!(
            "recovery kit written to {}; print it and keep it offline",
            path.display()
        )),
        None => output.line(&format!("\n{}", kit.trim_end())),
    }
}

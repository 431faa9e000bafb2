//! A story's own folder; the last to go, after everything that was started in it.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::transcript::Transcript;

/// Folder and transcript of one story. Dropped, it searches the transcript for secrets, or, when the story has
/// failed, prints the tails of the logs.
pub struct StoryFolder {
    root: TempDir,
    transcript: Transcript,
}

impl StoryFolder {
    /// Makes the folder. Other users may pass through it: PostgreSQL does not run as root.
    #[must_use]
    pub fn new(story: &str) -> Self {
        let root = tempfile::Builder::new()
            .prefix(&format!("holdfast-{story}-"))
            .tempdir()
            .unwrap();
        std::fs::set_permissions(root.path(), Permissions::from_mode(0o711)).unwrap();
        Self {
            root,
            transcript: Transcript::default(),
        }
    }

    /// The story's outputs.
    #[must_use]
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// A path in the folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A new folder in it that only its owner opens.
    #[must_use]
    pub fn make(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
        path
    }
}

impl Drop for StoryFolder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.transcript.tails());
        } else {
            self.transcript.assert_no_secrets();
        }
    }
}

/// Writes a file that only its owner reads.
pub fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

//! The stock restic binary as a judge of what we wrote.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::places;

/// One repository as restic sees it.
pub struct Restic {
    /// `s3:http://...` or a path.
    pub repository: String,
    /// The repository's password.
    pub password: String,
    /// Access key and secret key, for S3.
    pub keys: Option<(String, String)>,
    /// restic's own cache.
    pub cache: PathBuf,
}

impl Restic {
    /// A restic command on this repository.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(places::tool("restic", "restic"));
        command
            .args(arguments)
            .env("RESTIC_REPOSITORY", &self.repository)
            .env("RESTIC_PASSWORD", &self.password);
        command.env("RESTIC_CACHE_DIR", &self.cache);
        if let Some((id, secret)) = &self.keys {
            command
                .env("AWS_ACCESS_KEY_ID", id)
                .env("AWS_SECRET_ACCESS_KEY", secret);
        }
        command
    }

    /// Standard output of a command that must succeed.
    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "restic {}: {stderr}{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stdout)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Reads every byte of the repository. `--no-lock`: a killed agent's lock may still lie there.
    pub fn check_all_data(&self) {
        let said = self.run(&["check", "--read-data", "--no-lock"]);
        assert!(
            said.contains("no errors were found"),
            "restic check: {said}"
        );
    }

    /// Ids of the snapshots, in full.
    #[must_use]
    pub fn snapshots(&self) -> Vec<String> {
        let listed: Value =
            serde_json::from_str(&self.run(&["snapshots", "--json", "--no-lock"])).unwrap();
        let ids = listed.as_array().into_iter().flatten();
        ids.map(|snapshot| snapshot["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

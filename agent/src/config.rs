//! The agent's configuration, `agent.toml`.
//!
//! Promise: what is wrong in it is told with file, line and column before anything starts. Reading it connects to
//! nobody and reads no secret.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use holdfast_config::{ConfigError, Problems};
use holdfast_proto::convert;
use holdfast_sources::SourceConfig;
use serde::Deserialize;

const MIB: u64 = 1024 * 1024;
/// Bounds of a pack, in bytes: what restic readers are content with.
const PACK_SIZE: std::ops::RangeInclusive<u64> = 4 * MIB..=128 * MIB;
/// Most packs uploaded at once.
const MAX_UPLOADS: usize = 64;
/// Most threads that hash, compress and seal.
const MAX_THREADS: usize = 256;

/// `agent.toml`.
#[derive(Debug, Clone, Deserialize)]
pub struct AgentConfig {
    /// Folder of the agent's identity. Relative ones are taken from the configuration's folder.
    pub state: PathBuf,
    /// How log lines look.
    #[serde(default)]
    pub log_format: LogFormat,
    /// How backups are made.
    #[serde(default)]
    pub backup: BackupSettings,
    /// The protected services.
    #[serde(default)]
    pub source: Vec<SourceConfig>,
}

/// How log lines on stderr look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LogFormat> for holdfast_telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// `[backup]`: what a backup may take of this host.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct BackupSettings {
    /// Bytes after which a pack is closed, 4 to 128 MiB.
    #[serde(with = "holdfast_config::size")]
    pub pack_size: u64,
    /// Packs uploaded at once.
    pub uploads: usize,
    /// Threads that hash, compress and seal; 0: one a core.
    pub threads: usize,
    /// Bytes of everything a backup buffers.
    #[serde(with = "holdfast_config::size")]
    pub memory_budget: u64,
}

impl Default for BackupSettings {
    fn default() -> Self {
        Self {
            pack_size: 16 * MIB,
            uploads: 2,
            threads: 0,
            memory_budget: 72 * MIB,
        }
    }
}

impl BackupSettings {
    /// [`pack_size`](Self::pack_size) as the vault takes it.
    #[must_use]
    pub fn pack_size_bytes(&self) -> usize {
        usize::try_from(self.pack_size).unwrap_or(usize::MAX)
    }
}

/// Reads and checks the file; relative paths of the agent's own are completed.
pub fn load(path: &Path) -> Result<AgentConfig, ConfigError> {
    let mut config: AgentConfig = holdfast_config::load_checked(path, check)?;
    config.state = folder_of(path).join(&config.state);
    Ok(config)
}

/// The folder that relative paths of a configuration are taken from.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn check(config: &AgentConfig, problems: &mut Problems<'_>) {
    let backup = &config.backup;
    if !PACK_SIZE.contains(&backup.pack_size) {
        problems.at("backup.pack_size", "a pack has 4MiB to 128MiB");
    }
    if !(1..=MAX_UPLOADS).contains(&backup.uploads) {
        problems.at("backup.uploads", format!("1 to {MAX_UPLOADS} at once"));
    }
    if backup.threads > MAX_THREADS {
        problems.at(
            "backup.threads",
            format!("0 (one a core) to {MAX_THREADS} threads"),
        );
    }
    if backup.memory_budget < 3 * backup.pack_size {
        problems.at(
            "backup.memory_budget",
            "the pipeline needs room for at least three packs: raise it, or lower pack_size",
        );
    }
    check_sources(&config.source, problems);
}

fn check_sources(sources: &[SourceConfig], problems: &mut Problems<'_>) {
    let mut seen = HashMap::new();
    for (index, source) in sources.iter().enumerate() {
        let name = source.name();
        let key = format!("source[{index}].name");
        if let Err(error) = convert::name("name", name) {
            problems.at(&key, error);
        }
        if let Some(first) = seen.insert(name, index) {
            problems.at(
                &key,
                format!(
                    "{name:?} is the name of source number {} already: every source needs a name of its own",
                    first + 1
                ),
            );
        }
        for (key, message) in source.problems() {
            problems.at(&format!("source[{index}].{key}"), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AgentConfig, String> {
        holdfast_config::parse_checked("agent.toml", text, check).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_those_of_the_vault() {
        let config = read("state = 's'").expect("valid");
        let usual = holdfast_vault::BackupOptions::new("h", "/p");
        assert_eq!(config.backup.pack_size_bytes(), usual.pack_size);
        assert_eq!(config.backup.uploads, usual.uploads);
        assert_eq!(config.backup.threads, usual.threads);
        assert_eq!(config.backup.memory_budget, usual.memory_budget_bytes);
        assert_eq!(config.log_format, LogFormat::Text);
    }

    #[test]
    fn what_is_wrong_has_its_line() {
        let error = read("state = 's'\n[backup]\npack_szie = '16MiB'\n").expect_err("misspelt");
        assert!(error.contains("agent.toml:3:1"), "{error}");
        assert!(error.contains("did you mean `pack_size`"), "{error}");
        let error = read("state = 's'\n[backup]\npack_size = '1MiB'\n").expect_err("too small");
        assert!(error.contains("agent.toml:3:"), "{error}");
        let error = read("state = 's'\n[backup]\npack_size = '64MiB'\n").expect_err("no room");
        assert!(error.contains("three packs"), "{error}");
    }

    #[test]
    fn names_of_sources_are_checked_and_unique() {
        let two = "state = 's'\n[[source]]\nkind = 'postgres'\nname = 'a'\nuser = 'u'\n[[source]]\nkind = 'postgres'\nname = 'a'\nuser = 'u'\n";
        let error = read(two).expect_err("twice the same");
        assert!(error.contains("agent.toml:8:"), "{error}");
        assert!(error.contains("source number 1"), "{error}");
        let error = read("state = 's'\n[[source]]\nkind = 'postgres'\nname = 'A/b'\nuser = 'u'\n")
            .expect_err("not a name");
        assert!(error.contains("agent.toml:4:"), "{error}");
    }

    #[test]
    fn what_a_source_finds_wrong_has_its_line() {
        let text = "state = 's'\n[[source]]\nkind = 'postgres'\nname = 'a'\nuser = 'u'\nport = 0\n";
        let error = read(text).expect_err("no port");
        assert!(error.contains("agent.toml:6:"), "{error}");
        assert!(error.contains("source[0].port"), "{error}");
    }
}

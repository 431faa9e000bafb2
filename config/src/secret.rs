//! Secrets named in a configuration, never written in it: `{ file = "/path" }` or `{ env = "NAME" }`.
//!
//! A secret's file is refused while group or others may read it. One trailing newline is taken off, because
//! editors and `echo` put one there. The secret is kept in a `SecretString`, wiped when dropped and shown by
//! no `Debug`.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, MapAccess, Unexpected, Visitor};

use crate::private_file::{PrivateFileError, read_private};

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Its file could not be used.
    #[error("the secret is not usable: {0}")]
    File(#[from] PrivateFileError),
    /// Its file is empty.
    #[error("the secret in {} is empty", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// Its file holds something else than text.
    #[error("the secret in {} is not UTF-8 text", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Its environment variable is not set, empty, or no text.
    #[error("the environment variable {name} should hold a secret but {state}")]
    Environment {
        /// The variable.
        name: String,
        /// What is wrong with it.
        state: &'static str,
    },
}

/// Reads a secret from a file that only its owner may read, without its trailing newline.
pub fn read_secret(path: &Path) -> Result<SecretString, SecretError> {
    let bytes = read_private(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| SecretError::NotText {
        path: path.to_owned(),
    })?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(SecretError::EmptyFile {
            path: path.to_owned(),
        });
    }
    Ok(text.into())
}

/// Where a secret is to be found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SecretSource {
    /// In a file that only its owner may read.
    File(PathBuf),
    /// In an environment variable.
    Env(String),
}

impl SecretSource {
    /// Fetches the secret.
    pub fn resolve(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::File(path) => read_secret(path),
            Self::Env(name) => from_environment(name),
        }
    }

    /// The same with relative file names taken from `folder`, such as that of the configuration file.
    pub fn resolve_in(&self, folder: &Path) -> Result<SecretString, SecretError> {
        match self {
            Self::File(path) => read_secret(&folder.join(path)),
            Self::Env(name) => from_environment(name),
        }
    }
}

fn from_environment(name: &str) -> Result<SecretString, SecretError> {
    let refuse = |state| SecretError::Environment {
        name: name.to_owned(),
        state,
    };
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Err(refuse("it is empty")),
        Ok(text) => Ok(text.into()),
        Err(std::env::VarError::NotPresent) => Err(refuse("it is not set")),
        Err(std::env::VarError::NotUnicode(_)) => Err(refuse("it is not UTF-8 text")),
    }
}

const KEYS: &[&str] = &["file", "env"];

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "{ file = \"/path\" } or { env = \"NAME\" }, because a secret is not written in the configuration",
        )
    }

    /// A secret in place of its source: the answer does not repeat it.
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<SecretSource, E> {
        Err(E::invalid_type(Unexpected::Str(text), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
        use serde::de::Error as _;
        let mut source = None;
        while let Some(key) = map.next_key::<String>()? {
            let next = match key.as_str() {
                "file" => SecretSource::File(map.next_value()?),
                "env" => SecretSource::Env(map.next_value()?),
                other => return Err(A::Error::unknown_field(other, KEYS)),
            };
            if source.replace(next).is_some() {
                return Err(A::Error::custom("write either `file` or `env`, not both"));
            }
        }
        source.ok_or_else(|| A::Error::custom("write { file = \"/path\" } or { env = \"NAME\" }"))
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Whatever stands there is shown to the visitor, so that an inline secret gets its own answer even in
        // a table that serde buffered.
        deserializer.deserialize_any(SourceVisitor)
    }
}

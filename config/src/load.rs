//! Reads a configuration file into a type, strictly.
//!
//! Steps: read the file, parse the TOML, read the type out of it while collecting every unknown key, look for
//! keys that nobody read, run the caller's own checks. Problems are reported together and in the order of
//! the file; the caller's checks run only on what was read without one.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::fault::Fault;
use crate::ignored::ignored_keys;
use crate::location::{find_path, line_and_column};
use crate::strict::{Strict, Tracker};

/// Longest configuration read, in bytes.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// One thing wrong in a configuration, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what to write instead.
    pub message: String,
}

/// Why a configuration was not read. `Display` gives one line for each problem: `file:line:column: what`.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read at all.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
    /// The file is far larger than any configuration.
    #[error("the configuration {} has {bytes} bytes; at most {MAX_CONFIG_BYTES} are read. Is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The text is not what it should be.
    #[error("{}", lines(origin, problems))]
    Invalid {
        /// The file, or what else the text came from.
        origin: String,
        /// At least one, in the order of the text.
        problems: Vec<Problem>,
    },
}

fn lines(origin: &str, problems: &[Problem]) -> String {
    let line = |p: &Problem| format!("{origin}:{}:{}: {}", p.line, p.column, p.message);
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Collects what a caller's own checks find.
pub struct Problems<'d> {
    document: &'d Document<'d>,
    found: Vec<Fault>,
}

impl Problems<'_> {
    /// Reports `message` at a dotted path such as `source[2].name`, or at the deepest part of it that exists.
    pub fn at(&mut self, path: &str, message: impl fmt::Display) {
        let place = find_path(self.document.table(), path);
        let message = if path.is_empty() {
            message.to_string()
        } else {
            format!("`{path}`: {message}")
        };
        self.found.push(Fault::said(message, place));
    }
}

/// Reads the TOML file `path` into a `T`.
pub fn load<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T, ConfigError> {
    load_checked(path, |_, _| {})
}

/// Like [`load`], with checks of the caller that report their findings at places in the file.
pub fn load_checked<T: DeserializeOwned>(
    path: impl AsRef<Path>,
    check: impl FnOnce(&T, &mut Problems<'_>),
) -> Result<T, ConfigError> {
    let path = path.as_ref();
    let unreadable = |error| ConfigError::Unreadable {
        path: path.to_owned(),
        error,
    };
    let bytes = std::fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MAX_CONFIG_BYTES {
        return Err(ConfigError::TooLarge {
            path: path.to_owned(),
            bytes,
        });
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    parse_checked(&path.display().to_string(), &text, check)
}

/// Reads a TOML text into a `T`; `origin` names it in errors.
pub fn parse<T: DeserializeOwned>(origin: &str, text: &str) -> Result<T, ConfigError> {
    parse_checked(origin, text, |_, _| {})
}

/// Like [`parse`], with checks of the caller that report their findings at places in the text.
pub fn parse_checked<T: DeserializeOwned>(
    origin: &str,
    text: &str,
    check: impl FnOnce(&T, &mut Problems<'_>),
) -> Result<T, ConfigError> {
    read_checked(text, check).map_err(|faults| {
        let mut problems: Vec<Problem> = faults.into_iter().map(|f| problem(text, f)).collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        ConfigError::Invalid {
            origin: origin.to_owned(),
            problems,
        }
    })
}

fn problem(text: &str, fault: Fault) -> Problem {
    let (message, offset) = fault.into_parts();
    let (line, column) = line_and_column(text, offset);
    Problem {
        line,
        column,
        message,
    }
}

fn read_checked<T: DeserializeOwned>(
    text: &str,
    check: impl FnOnce(&T, &mut Problems<'_>),
) -> Result<T, Vec<Fault>> {
    let document = Document::parse(text)?;
    let tracker = Tracker::default();
    let outcome = document.read::<T>(&tracker);
    let mut faults = tracker.unknown.into_inner();
    let value = match outcome {
        Ok(value) => value,
        Err(fault) => {
            faults.push(fault);
            return Err(faults);
        }
    };
    faults.extend(ignored_keys::<T>(&document, tracker.hidden.into_inner()));
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut problems = Problems {
        document: &document,
        found: Vec::new(),
    };
    check(&value, &mut problems);
    if problems.found.is_empty() {
        Ok(value)
    } else {
        Err(problems.found)
    }
}

/// A parsed TOML text.
pub(crate) struct Document<'i> {
    root: Spanned<DeValue<'i>>,
    empty: DeTable<'i>,
}

impl<'i> Document<'i> {
    fn parse(text: &'i str) -> Result<Self, Vec<Fault>> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(errors.iter().map(syntax).collect());
        }
        Ok(Self {
            root: Spanned::new(0..0, DeValue::Table(root.into_inner())),
            empty: DeTable::new(),
        })
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, tracker: &Tracker) -> Result<T, Fault> {
        Strict {
            value: &self.root,
            path: String::new(),
            tracker,
        }
        .read(PhantomData::<T>)
    }

    fn table(&self) -> &DeTable<'i> {
        self.root.get_ref().as_table().unwrap_or(&self.empty)
    }
}

fn syntax(error: &toml::de::Error) -> Fault {
    let message = error.message().lines().collect::<Vec<_>>().join("; ");
    Fault::said(message, error.span().unwrap_or(0..0))
}

//! What reaches standard output: tables and sentences for people, or JSON for scripts.
//!
//! Promise: with `--json` standard output holds JSON and nothing else; results go to standard output, everything that only
//! accompanies them (questions, progress, hints) to standard error.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::exit::{Class, CommandError};

pub mod catalog;
pub mod human;
pub mod manifest;
pub mod result;
pub mod view;

/// Where and how a command answers.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON, or text for people.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether scripts read this.
    pub fn is_json(self) -> bool {
        self.json
    }

    /// One line of JSON.
    pub fn json(self, value: &impl Serialize) -> Result<(), CommandError> {
        let text = serde_json::to_string(value).map_err(CommandError::failed)?;
        self.line(&text)
    }

    /// One line of text on standard output.
    pub fn line(self, text: &str) -> Result<(), CommandError> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")
            .and_then(|()| out.flush())
            .map_err(|error| unwritable(&error))
    }

    /// A table, or `empty` when it has no rows.
    pub fn table(
        self,
        header: &[&str],
        rows: Vec<Vec<String>>,
        empty: &str,
    ) -> Result<(), CommandError> {
        if rows.is_empty() {
            return self.line(empty);
        }
        self.line(&table(header, rows))
    }

    /// JSON when asked for, text otherwise.
    pub fn show<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(Self) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        if self.json {
            self.json(value)
        } else {
            text(self)
        }
    }
}

/// A line on standard error. Nobody there to read it is no reason to stop the work.
pub fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// A table that fits the terminal; without one, a line for each row however long.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header(header.to_vec());
    let arrangement = if io::stdout().is_terminal() {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    };
    table.set_content_arrangement(arrangement);
    for row in rows {
        table.add_row(row.iter().map(|cell| human::clean(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// A reader that has gone (`| head`) is told nothing more; anything else is an error.
fn unwritable(error: &io::Error) -> CommandError {
    match error.kind() {
        io::ErrorKind::BrokenPipe => CommandError::silent(Class::Failed),
        _ => CommandError::failed(format!("cannot write to standard output: {error}")),
    }
}

//! Hears a child's stderr: line by line to the run's log, the last lines for the error, nothing without bounds, and no
//! passwords.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::ChildStderr;

use crate::run::Reporter;

/// Longest line of stderr kept, in bytes.
const MAX_LINE_BYTES: usize = 2048;
/// Lines of stderr handed to the reporter; later ones are only counted and kept as last words.
const MAX_REPORTED_LINES: u64 = 500;
/// Lines kept for the error.
const LAST_WORDS: usize = 12;

/// Reads a child's stderr.
pub(super) struct Ears {
    name: String,
    reporter: Option<Arc<dyn Reporter>>,
    heard: u64,
    last: VecDeque<String>,
}

impl Ears {
    pub(super) fn new(name: String, reporter: Option<Arc<dyn Reporter>>) -> Self {
        Self {
            name,
            reporter,
            heard: 0,
            last: VecDeque::with_capacity(LAST_WORDS),
        }
    }

    /// Hears it to its end; gives the last lines, oldest first.
    pub(super) async fn listen(mut self, stderr: Option<ChildStderr>) -> Vec<String> {
        if let Some(stderr) = stderr {
            let mut reader = BufReader::new(stderr);
            while let Some(line) = bounded_line(&mut reader).await {
                self.hear(line);
            }
        }
        self.last.into()
    }

    fn hear(&mut self, line: String) {
        let line = without_passwords(line);
        self.heard += 1;
        if let Some(reporter) = &self.reporter {
            if self.heard <= MAX_REPORTED_LINES {
                reporter.log(&self.name, &line);
            } else if self.heard == MAX_REPORTED_LINES + 1 {
                reporter.log(&self.name, "further lines are left out");
            }
        }
        if self.last.len() == LAST_WORDS {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

/// The next non-empty line, cut to [`MAX_LINE_BYTES`]; memory stays bounded whatever the child writes.
async fn bounded_line<R: AsyncRead + Unpin>(reader: &mut BufReader<R>) -> Option<String> {
    loop {
        let mut line = Vec::new();
        let (mut ended, mut any) = (false, false);
        while !ended {
            let available = reader.fill_buf().await.ok()?;
            if available.is_empty() {
                break;
            }
            any = true;
            let end = available.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(available.len(), |end| end + 1);
            let room = MAX_LINE_BYTES.saturating_sub(line.len());
            line.extend_from_slice(&available[..taken.min(room)]);
            ended = end.is_some();
            reader.consume(taken);
        }
        if !any {
            return None;
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if !text.is_empty() {
            return Some(text);
        }
    }
}

/// Cuts a line where a statement would spell a password (`password 'x'`, `password E'x'`, `password=x`,
/// `postgresql://user:x@host`): client programs repeat the statement that failed.
fn without_passwords(line: String) -> String {
    match password_begins(&line.to_ascii_lowercase()) {
        Some(end) => format!("{} <not shown>", &line[..end]),
        None => line,
    }
}

/// Where the text that says that a password follows ends, in a line in lower case.
fn password_begins(lower: &str) -> Option<usize> {
    const WORD: &str = "password";
    let spelt = lower.match_indices(WORD).find_map(|(at, _)| {
        let end = at + WORD.len();
        let value = lower[end..].trim_start_matches(['"', ' ']);
        let follows = value.starts_with(['=', '\'']) || value.starts_with("e'");
        follows.then_some(end)
    });
    let in_address = lower.match_indices("://").find_map(|(at, _)| {
        // As libpq reads it: what stands between :// and @ ends before the first slash.
        let begin = at + "://".len();
        let authority = lower[begin..].split('/').next()?;
        let user = &authority[..authority.find('@')?];
        Some(begin + user.find(':')? + 1)
    });
    spelt.into_iter().chain(in_address).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_lose_their_passwords() {
        let cut = |line: &str| without_passwords(line.to_owned());
        assert_eq!(
            cut("ALTER ROLE a PASSWORD 'secret';"),
            "ALTER ROLE a PASSWORD <not shown>"
        );
        assert_eq!(
            cut("CONNECTION 'host=x password=secret'"),
            "CONNECTION 'host=x password <not shown>"
        );
        assert_eq!(
            cut("OPTIONS (\"password\" 'secret')"),
            "OPTIONS (\"password <not shown>"
        );
        assert_eq!(
            cut(r"    password E'sec\\ret',"),
            "    password <not shown>"
        );
        assert_eq!(
            cut("CONNECTION 'postgresql://rep:secret@host:5432/db'"),
            "CONNECTION 'postgresql://rep: <not shown>"
        );
        let kept = "could not reach http://host:8080/path or http://[::1]:80 or postgresql://a@host:5432/db";
        assert_eq!(cut(kept), kept);
        let kept = "FATAL: password authentication failed for user \"a\"";
        assert_eq!(cut(kept), kept);
    }
}

//! A run's log lines on their way to the coordinator: bounded, however much a child writes and however long the
//! coordinator is away.
//!
//! When it is full the oldest lines go, since the last words tell most about a failure; how many went is told in
//! their place.

use std::collections::VecDeque;

use holdfast_proto::v1::LogLine;

/// Lines kept while nobody takes them.
const MAX_LINES: usize = 2_000;
/// Bytes of text kept while nobody takes them.
const MAX_BYTES: usize = 256 * 1024;
/// Longest line, in bytes; the rest is cut.
const MAX_LINE_BYTES: usize = 4 * 1024;
/// Most lines in one message.
const BATCH_LINES: usize = 200;
/// Most bytes of text in one message, but for its last line.
const BATCH_BYTES: usize = 64 * 1024;

/// The lines nobody has taken yet.
#[derive(Debug, Default)]
pub struct LogBuffer {
    lines: VecDeque<LogLine>,
    bytes: usize,
    dropped: u64,
}

impl LogBuffer {
    /// Adds a line, said at `time_micros`.
    pub fn push(&mut self, time_micros: i64, origin: &str, text: &str) {
        let text = printable(text);
        self.bytes += text.len();
        self.lines.push_back(LogLine {
            time_micros,
            origin: printable(origin),
            text,
        });
        while self.lines.len() > MAX_LINES || self.bytes > MAX_BYTES {
            if self.pop().is_none() {
                break;
            }
            self.dropped += 1;
        }
    }

    /// The next lines to send; empty when there are none.
    pub fn take_batch(&mut self) -> Vec<LogLine> {
        let mut batch = Vec::new();
        if self.dropped > 0 {
            let first = self.lines.front().map_or(0, |line| line.time_micros);
            batch.push(LogLine {
                time_micros: first,
                origin: "warn".to_owned(),
                text: format!(
                    "{} earlier lines are missing here: the coordinator did not take them in time",
                    self.dropped
                ),
            });
            self.dropped = 0;
        }
        let mut bytes = 0;
        while batch.len() < BATCH_LINES && bytes < BATCH_BYTES {
            let Some(line) = self.pop() else { break };
            bytes += line.text.len();
            batch.push(line);
        }
        batch
    }

    fn pop(&mut self) -> Option<LogLine> {
        let line = self.lines.pop_front()?;
        self.bytes -= line.text.len();
        Some(line)
    }
}

/// One line of text that can do nothing to a terminal.
fn printable(text: &str) -> String {
    let text = text.trim_end_matches(['\n', '\r']);
    let cut = &text[..text.floor_char_boundary(MAX_LINE_BYTES)];
    cut.chars()
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_drops_the_oldest_and_says_how_many() {
        let mut buffer = LogBuffer::default();
        for n in 0..(MAX_LINES as i64 + 25) {
            buffer.push(n, "pg_dump", &format!("line {n}"));
        }
        let batch = buffer.take_batch();
        assert_eq!(batch.len(), BATCH_LINES);
        assert!(batch[0].text.starts_with("25 earlier lines"), "{batch:?}");
        assert_eq!(batch[1].text, "line 25");
        let mut last = batch;
        loop {
            let batch = buffer.take_batch();
            if batch.is_empty() {
                break;
            }
            last = batch;
        }
        assert_eq!(
            last.last().map(|line| line.time_micros),
            Some(MAX_LINES as i64 + 24)
        );
    }

    #[test]
    fn bytes_are_bounded_too_and_long_lines_cut() {
        let mut buffer = LogBuffer::default();
        for n in 0..1_000 {
            buffer.push(n, "pg_dump", &"ü".repeat(10_000));
            assert!(buffer.bytes <= MAX_BYTES);
        }
        let batch = buffer.take_batch();
        let bytes: usize = batch.iter().map(|line| line.text.len()).sum();
        assert!(bytes <= BATCH_BYTES + MAX_LINE_BYTES, "{bytes}");
    }

    #[test]
    fn a_line_cannot_play_with_a_terminal() {
        let mut buffer = LogBuffer::default();
        buffer.push(1, "pg_dump", "\u{1b}[2Jgone\r\n");
        assert_eq!(buffer.take_batch()[0].text, " [2Jgone");
    }
}

//! Takes an archive piece by piece.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ArchiveError;
use super::cursor::{Cursor, Stop};
use super::toc::{self, Head, Toc, TocEntry};

const BLOCK_DATA: u8 = 1;
const BLOCK_LARGE_OBJECTS: u8 = 3;
/// How COPY text ends in an archive; these three lines are no rows.
const END_OF_COPY: &[u8] = b"\\.\n\n\n";
const END_OF_COPY_LINES: u64 = 3;
/// Entries whose data is COPY text.
const TABLE_DATA: &str = "TABLE DATA";

/// What a whole archive held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ArchiveSummary {
    /// Length in bytes.
    pub bytes: u64,
    /// Rows by the oid of the table.
    pub rows: BTreeMap<u32, u64>,
    /// Number of large objects with data.
    pub large_objects: u64,
    /// Roles that own something in it, as far as their names are UTF-8.
    pub owners: BTreeSet<String>,
}

/// Follows an archive. Feed it with [`push`](Self::push), then ask [`finish`](Self::finish).
#[derive(Debug)]
pub(crate) struct ArchiveReader {
    state: State,
    /// What could not be understood yet for want of bytes.
    pending: Vec<u8>,
    offset: u64,
    keeps_toc: bool,
    toc: Toc,
    /// Entries whose block has not come yet.
    awaited: HashMap<i64, Awaited>,
    summary: ArchiveSummary,
}

#[derive(Debug, Clone, Copy)]
struct Awaited {
    oid: u32,
    is_table: bool,
}

#[derive(Debug)]
enum State {
    Head,
    Entries {
        head: Head,
        left: u64,
    },
    Block {
        int_size: usize,
    },
    LargeObject {
        int_size: usize,
    },
    Length {
        int_size: usize,
        data: Data,
    },
    Bytes {
        int_size: usize,
        data: Data,
        left: u64,
    },
}

/// What the pieces under way belong to.
#[derive(Debug)]
enum Data {
    Table { oid: u32, lines: u64, tail: Vec<u8> },
    LargeObject,
    Other,
}

impl ArchiveReader {
    /// A reader that counts, and forgets the table of contents.
    pub(crate) fn counting() -> Self {
        Self::new(false)
    }

    /// A reader that keeps the table of contents.
    pub(crate) fn listing() -> Self {
        Self::new(true)
    }

    fn new(keeps_toc: bool) -> Self {
        Self {
            state: State::Head,
            pending: Vec::new(),
            offset: 0,
            keeps_toc,
            toc: Toc::default(),
            awaited: HashMap::new(),
            summary: ArchiveSummary::default(),
        }
    }

    /// The table of contents, once all of it has come (for a listing reader).
    pub(crate) fn toc(&self) -> Option<&Toc> {
        match self.state {
            State::Head | State::Entries { .. } => None,
            _ => Some(&self.toc),
        }
    }

    /// Takes the next bytes of the stream.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.summary.bytes += bytes.len() as u64;
        if self.pending.is_empty() {
            let used = self.process(bytes)?;
            self.pending.extend_from_slice(&bytes[used..]);
        } else {
            let mut joined = std::mem::take(&mut self.pending);
            joined.extend_from_slice(bytes);
            let used = self.process(&joined)?;
            joined.drain(..used);
            self.pending = joined;
        }
        Ok(())
    }

    /// Takes what is whole; says how many bytes that was.
    fn process(&mut self, bytes: &[u8]) -> Result<usize, ArchiveError> {
        let mut used = 0;
        while used < bytes.len() {
            let rest = &bytes[used..];
            let taken = match self.data(rest) {
                Some(taken) => taken,
                None => match self.value(rest)? {
                    Some(taken) => taken,
                    None => break,
                },
            };
            used += taken;
            self.offset += taken as u64;
        }
        Ok(used)
    }

    /// Takes bytes of a piece of data, when one is under way.
    fn data(&mut self, bytes: &[u8]) -> Option<usize> {
        let State::Bytes {
            int_size,
            data,
            left,
        } = &mut self.state
        else {
            return None;
        };
        let length = bytes
            .len()
            .min(usize::try_from(*left).unwrap_or(usize::MAX));
        data.take(&bytes[..length]);
        *left -= length as u64;
        if *left == 0 {
            let data = std::mem::replace(data, Data::Other);
            self.state = State::Length {
                int_size: *int_size,
                data,
            };
        }
        Some(length)
    }

    /// Reads one value; `None` when it is not whole yet.
    fn value(&mut self, bytes: &[u8]) -> Result<Option<usize>, ArchiveError> {
        let state = std::mem::replace(&mut self.state, State::Head);
        let mut cursor = Cursor::new(bytes, state.int_size());
        let (next, outcome) = self.step(state, &mut cursor);
        self.state = next;
        match outcome {
            Ok(()) => Ok(Some(cursor.position())),
            Err(Failure::Stop(Stop::More)) => Ok(None),
            Err(Failure::Stop(Stop::Bad(what))) => Err(self.damaged(what)),
            Err(Failure::Error(error)) => Err(error),
        }
    }

    /// One step of the state machine. On an error the state stays as it was.
    fn step(&mut self, state: State, cursor: &mut Cursor<'_>) -> (State, Result<(), Failure>) {
        match state {
            State::Head => match toc::head(cursor) {
                Ok(Ok(head)) => (State::after_entries(head.entries, head), Ok(())),
                Ok(Err(error)) => (State::Head, Err(Failure::Error(error))),
                Err(stop) => (State::Head, Err(stop.into())),
            },
            State::Entries { head, left } => match head.entry(cursor) {
                Ok(entry) => {
                    let outcome = self.note(entry);
                    (State::after_entries(left - 1, head), outcome)
                }
                Err(stop) => (State::Entries { head, left }, Err(stop.into())),
            },
            State::Block { int_size } => match self.block(cursor, int_size) {
                Ok(next) => (next, Ok(())),
                Err(failure) => (State::Block { int_size }, Err(failure)),
            },
            State::LargeObject { int_size } => match cursor.int() {
                Ok(0) => (State::Block { int_size }, Ok(())),
                Ok(_) => {
                    self.summary.large_objects += 1;
                    (
                        State::Length {
                            int_size,
                            data: Data::LargeObject,
                        },
                        Ok(()),
                    )
                }
                Err(stop) => (State::LargeObject { int_size }, Err(stop.into())),
            },
            State::Length { int_size, data } => match cursor.int() {
                Ok(0) => self.end_of_data(int_size, data),
                Ok(length) if length > 0 => (
                    State::Bytes {
                        int_size,
                        data,
                        left: length.unsigned_abs(),
                    },
                    Ok(()),
                ),
                Ok(_) => (
                    State::Length { int_size, data },
                    Err(Stop::Bad("a piece has a negative length").into()),
                ),
                Err(stop) => (State::Length { int_size, data }, Err(stop.into())),
            },
            State::Bytes { .. } => (state, Ok(())),
        }
    }

    fn note(&mut self, entry: TocEntry) -> Result<(), Failure> {
        if entry.has_data {
            let awaited = Awaited {
                oid: entry.oid,
                is_table: entry.kind == TABLE_DATA,
            };
            if self.awaited.insert(entry.id, awaited).is_some() {
                return Err(Stop::Bad("two entries have one number").into());
            }
        }
        if let Ok(owner) = std::str::from_utf8(&entry.owner)
            && !owner.is_empty()
            && !self.summary.owners.contains(owner)
        {
            self.summary.owners.insert(owner.to_owned());
        }
        if self.keeps_toc {
            self.toc.entries.push(entry);
        }
        Ok(())
    }

    fn block(&mut self, cursor: &mut Cursor<'_>, int_size: usize) -> Result<State, Failure> {
        let kind = cursor.byte()?;
        let id = cursor.int()?;
        let awaited = self
            .awaited
            .get(&id)
            .copied()
            .ok_or(Stop::Bad("data of no entry, or twice"))?;
        let next = match kind {
            BLOCK_DATA if awaited.is_table => State::Length {
                int_size,
                data: Data::Table {
                    oid: awaited.oid,
                    lines: 0,
                    tail: Vec::new(),
                },
            },
            BLOCK_DATA => State::Length {
                int_size,
                data: Data::Other,
            },
            BLOCK_LARGE_OBJECTS => State::LargeObject { int_size },
            _ => return Err(Stop::Bad("a block is of no known kind").into()),
        };
        self.awaited.remove(&id);
        Ok(next)
    }

    fn end_of_data(&mut self, int_size: usize, data: Data) -> (State, Result<(), Failure>) {
        match data {
            Data::LargeObject => (State::LargeObject { int_size }, Ok(())),
            Data::Other => (State::Block { int_size }, Ok(())),
            Data::Table { oid, lines, tail } => {
                let outcome = if tail == END_OF_COPY && lines >= END_OF_COPY_LINES {
                    *self.summary.rows.entry(oid).or_default() += lines - END_OF_COPY_LINES;
                    Ok(())
                } else {
                    Err(Stop::Bad("a table's data does not end as COPY text does").into())
                };
                (State::Block { int_size }, outcome)
            }
        }
    }

    fn damaged(&self, what: &str) -> ArchiveError {
        ArchiveError::Damaged {
            offset: self.offset,
            what: what.to_owned(),
        }
    }

    /// The stream has ended: what it held, if it was whole.
    pub(crate) fn finish(self) -> Result<ArchiveSummary, ArchiveError> {
        let bytes = self.summary.bytes;
        let truncated = |place| Err(ArchiveError::Truncated { bytes, place });
        match self.state {
            State::Head | State::Entries { .. } => truncated("in its table of contents"),
            State::Block { .. } if self.pending.is_empty() => match self.awaited.len() {
                0 => Ok(self.summary),
                missing => Err(ArchiveError::MissingData(missing)),
            },
            _ => truncated("in its data"),
        }
    }
}

enum Failure {
    Stop(Stop),
    Error(ArchiveError),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl State {
    fn int_size(&self) -> usize {
        match self {
            Self::Head => 4,
            Self::Entries { head, .. } => head.int_size(),
            Self::Block { int_size }
            | Self::LargeObject { int_size }
            | Self::Length { int_size, .. }
            | Self::Bytes { int_size, .. } => *int_size,
        }
    }

    fn after_entries(left: u64, head: Head) -> Self {
        if left == 0 {
            Self::Block {
                int_size: head.int_size(),
            }
        } else {
            Self::Entries { head, left }
        }
    }
}

impl Data {
    fn take(&mut self, bytes: &[u8]) {
        if let Self::Table { lines, tail, .. } = self {
            *lines += memchr::memchr_iter(b'\n', bytes).count() as u64;
            let keep = END_OF_COPY.len();
            if bytes.len() >= keep {
                tail.clear();
                tail.extend_from_slice(&bytes[bytes.len() - keep..]);
            } else {
                tail.extend_from_slice(bytes);
                let surplus = tail.len().saturating_sub(keep);
                tail.drain(..surplus);
            }
        }
    }
}

//! Reads pg_dump's custom format while it streams by: which objects are in it, how many rows each table has, and whether it
//! is whole.
//!
//! The format is that of PostgreSQL's `pg_backup_archiver.c` and `pg_backup_custom.c`, archive versions 1.14 (PostgreSQL 12
//! to 15), 1.15 (16) and 1.16 (17, 18), uncompressed. A head with the table of contents is followed by one block of data
//! for each entry that has data. Table data is COPY text: a row is a line, and `\.` with two empty lines ends it. Lines
//! are counted, so the count is of exactly the bytes that a restore will load, at the price of one scan for newlines.
//!
//! Nothing is trusted: a damaged or foreign stream gives an error, never a panic, and memory is bounded by the longest
//! entry of the table of contents.

mod cursor;
mod reader;
#[cfg(test)]
mod tests;
mod toc;

pub(crate) use reader::{ArchiveReader, ArchiveSummary};
pub(crate) use toc::{Toc, TocEntry};

/// Why a stream is not a whole archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// It does not start like one.
    #[error("the stream is no custom-format archive")]
    NotAnArchive,
    /// A version this program was not written for.
    #[error("archive version {0}.{1} is not known here; 1.14 to 1.16 are")]
    UnknownVersion(u8, u8),
    /// Compressed, or with sizes of a strange machine.
    #[error("the archive is {0}, which is not read here")]
    Unsupported(String),
    /// It contradicts itself.
    #[error("the archive is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// It ends in the middle.
    #[error("the archive ends too early, after {bytes} bytes, {place}")]
    Truncated {
        /// Its length.
        bytes: u64,
        /// In what.
        place: &'static str,
    },
    /// Entries without their data.
    #[error("the archive lacks the data of {0} of its tables")]
    MissingData(usize),
}

//! The archive's head and its table of contents.

use super::ArchiveError;
use super::cursor::{Cursor, Stop};

const MAGIC: &[u8] = b"PGDMP";
const FORMAT_CUSTOM: u8 = 1;
const COMPRESSION_NONE: i64 = 0;
/// Entries of a dump with a million tables stay well below.
const MAX_ENTRIES: i64 = 100_000_000;

/// What the head says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Major always 1.
    pub minor: u8,
    offset_size: usize,
    int_size: usize,
    /// Entries that follow.
    pub entries: u64,
}

/// One object in the archive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TocEntry {
    /// Its number in this archive.
    pub id: i64,
    /// It has a block of data.
    pub has_data: bool,
    /// The object's oid; of table data, the table's.
    pub oid: u32,
    /// Its name, in the archive's encoding; not always text.
    pub name: Vec<u8>,
    /// What it is: "TABLE", "TABLE DATA", "INDEX", ...
    pub kind: String,
    /// Its schema, empty for none.
    pub schema: Vec<u8>,
    /// Its owner, empty for none.
    pub owner: Vec<u8>,
    /// Numbers of the entries it needs.
    pub dependencies: Vec<i64>,
}

/// All of an archive's entries, in its order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Toc {
    pub entries: Vec<TocEntry>,
}

pub(super) fn head(cursor: &mut Cursor<'_>) -> Result<Result<Head, ArchiveError>, Stop> {
    if cursor.take(MAGIC.len())? != MAGIC {
        return Ok(Err(ArchiveError::NotAnArchive));
    }
    let (major, minor, _revision) = (cursor.byte()?, cursor.byte()?, cursor.byte()?);
    if major != 1 || !(14..=16).contains(&minor) {
        return Ok(Err(ArchiveError::UnknownVersion(major, minor)));
    }
    let (int_size, offset_size, format) = (cursor.byte()?, cursor.byte()?, cursor.byte()?);
    if int_size != 4 || !(1..=16).contains(&offset_size) {
        let sizes = format!(
            "from a machine with integers of {int_size} and offsets of {offset_size} bytes"
        );
        return Ok(Err(ArchiveError::Unsupported(sizes)));
    }
    cursor.set_int_size(usize::from(int_size));
    if format != FORMAT_CUSTOM {
        return Ok(Err(ArchiveError::Unsupported(
            "not in custom format".to_owned(),
        )));
    }
    // 1.15 names the algorithm in a byte, before it was a level.
    let compression = if minor >= 15 {
        i64::from(cursor.byte()?)
    } else {
        cursor.int()?
    };
    if compression != COMPRESSION_NONE {
        return Ok(Err(ArchiveError::Unsupported("compressed".to_owned())));
    }
    // Second, minute, hour, day, month, year, daylight saving.
    for _ in 0..7 {
        cursor.int()?;
    }
    // Database, server version, pg_dump version.
    for _ in 0..3 {
        cursor.string()?;
    }
    let entries = cursor.int()?;
    if !(0..=MAX_ENTRIES).contains(&entries) {
        return Err(Stop::Bad("the number of entries is impossible"));
    }
    Ok(Ok(Head {
        minor,
        offset_size: usize::from(offset_size),
        int_size: usize::from(int_size),
        entries: entries.unsigned_abs(),
    }))
}

impl Head {
    pub(super) fn int_size(&self) -> usize {
        self.int_size
    }

    pub(super) fn entry(&self, cursor: &mut Cursor<'_>) -> Result<TocEntry, Stop> {
        let id = cursor.int()?;
        if id <= 0 {
            return Err(Stop::Bad("an entry has no number"));
        }
        let has_data = cursor.int()? != 0;
        let _catalog = cursor.string()?;
        let oid = number(cursor.string()?)?;
        let name = bytes(cursor.string()?);
        let kind = String::from_utf8_lossy(cursor.string()?.unwrap_or_default()).into_owned();
        let _section = cursor.int()?;
        // Definition, the statement that drops it, the COPY statement.
        for _ in 0..3 {
            cursor.string()?;
        }
        let schema = bytes(cursor.string()?);
        let _tablespace = cursor.string()?;
        let _access_method = cursor.string()?;
        if self.minor >= 16 {
            let _relation_kind = cursor.int()?;
        }
        let owner = bytes(cursor.string()?);
        let _with_oids = cursor.string()?;
        let mut dependencies = Vec::new();
        while let Some(text) = cursor.string()? {
            dependencies.push(i64::from(number(Some(text))?));
        }
        // Where the data is, which a stream does not know: a state byte and the offset.
        let _state = cursor.byte()?;
        cursor.take(self.offset_size)?;
        Ok(TocEntry {
            id,
            has_data,
            oid,
            name,
            kind,
            schema,
            owner,
            dependencies,
        })
    }
}

fn bytes(string: Option<&[u8]>) -> Vec<u8> {
    string.unwrap_or_default().to_vec()
}

fn number(string: Option<&[u8]>) -> Result<u32, Stop> {
    std::str::from_utf8(string.unwrap_or(b"0"))
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Stop::Bad("a number is not one"))
}

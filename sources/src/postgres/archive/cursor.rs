//! Takes the format's integers and strings from a slice that may end too early.

/// What went wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The slice ends within it: more bytes are needed.
    More,
    /// It cannot be right.
    Bad(&'static str),
}

/// Longest string accepted: what PostgreSQL itself can hold in one value.
const MAX_STRING_BYTES: usize = 1 << 30;

pub(super) struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Bytes of an integer besides its sign, 4 on every machine that PostgreSQL runs on.
    int_size: usize,
}

impl<'b> Cursor<'b> {
    pub(super) fn new(bytes: &'b [u8], int_size: usize) -> Self {
        Self {
            bytes,
            at: 0,
            int_size,
        }
    }

    /// Bytes taken so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn set_int_size(&mut self, int_size: usize) {
        self.int_size = int_size;
    }

    pub(super) fn take(&mut self, length: usize) -> Result<&'b [u8], Stop> {
        let end = self
            .at
            .checked_add(length)
            .ok_or(Stop::Bad("a length overflows"))?;
        let taken = self.bytes.get(self.at..end).ok_or(Stop::More)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        Ok(self.take(1)?[0])
    }

    /// Sign byte, then the magnitude, least significant byte first.
    pub(super) fn int(&mut self) -> Result<i64, Stop> {
        let sign = self.byte()?;
        let magnitude = self
            .take(self.int_size)?
            .iter()
            .rev()
            .fold(0_i64, |value, byte| (value << 8) | i64::from(*byte));
        match sign {
            0 => Ok(magnitude),
            1 => Ok(-magnitude),
            _ => Err(Stop::Bad("an integer has no valid sign")),
        }
    }

    /// Length -1 is no string at all.
    pub(super) fn string(&mut self) -> Result<Option<&'b [u8]>, Stop> {
        match self.int()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length)
                    .map_err(|_| Stop::Bad("a string has a negative length"))?;
                if length > MAX_STRING_BYTES {
                    return Err(Stop::Bad("a string is longer than PostgreSQL allows"));
                }
                self.take(length).map(Some)
            }
        }
    }
}

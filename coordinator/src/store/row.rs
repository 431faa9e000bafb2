//! Reading columns: numbers, ids and messages as they are kept in the state.

use std::fmt::Display;
use std::str::FromStr;

use sqlx::any::AnyRow;
use sqlx::{Row as _, ValueRef as _};

use super::error::{Result, StoreError};

/// A row of a known table.
pub(crate) struct Columns<'r> {
    table: &'static str,
    row: &'r AnyRow,
}

impl<'r> Columns<'r> {
    pub(crate) fn new(table: &'static str, row: &'r AnyRow) -> Self {
        Self { table, row }
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String> {
        Ok(self.row.try_get(column)?)
    }

    pub(crate) fn bytes(&self, column: &'static str) -> Result<Vec<u8>> {
        Ok(self.row.try_get(column)?)
    }

    pub(crate) fn int(&self, column: &'static str) -> Result<i64> {
        Ok(self.row.try_get(column)?)
    }

    pub(crate) fn truth(&self, column: &'static str) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    /// A number that is never negative.
    pub(crate) fn count(&self, column: &'static str) -> Result<u64> {
        let number = self.int(column)?;
        u64::try_from(number).map_err(|error| StoreError::unreadable(self.table, column)(&error))
    }

    /// A text that another type reads.
    pub(crate) fn parsed<T>(&self, column: &'static str) -> Result<T>
    where
        T: FromStr,
        T::Err: Display,
    {
        self.text(column)?
            .parse()
            .map_err(|error: T::Err| StoreError::unreadable(self.table, column)(&error))
    }

    /// The same, where the empty text means "none".
    pub(crate) fn parsed_or_none<T>(&self, column: &'static str) -> Result<Option<T>>
    where
        T: FromStr,
        T::Err: Display,
    {
        if self.text(column)?.is_empty() {
            return Ok(None);
        }
        self.parsed(column).map(Some)
    }

    /// A message of the contract.
    pub(crate) fn message<M: prost::Message + Default>(&self, column: &'static str) -> Result<M> {
        M::decode(self.bytes(column)?.as_slice())
            .map_err(|error| StoreError::unreadable(self.table, column)(&error))
    }

    pub(crate) fn is_null(&self, column: &'static str) -> Result<bool> {
        Ok(self.row.try_get_raw(column)?.is_null())
    }
}

/// A size or count as the state keeps it; what does not fit is cut (no size of ours comes near).
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

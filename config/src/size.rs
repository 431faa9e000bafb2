//! Sizes in bytes as people write them: `512KiB`, `16MiB`, `1GiB`, `500MB`, or a bare number of bytes.
//!
//! `KiB`, `MiB`, `GiB`, `TiB` are powers of 1024; `kB`, `MB`, `GB`, `TB` powers of 1000; letter case does not
//! matter. Use as `#[serde(with = "holdfast_config::size")]` on a `u64`, or `holdfast_config::size::option`.

use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;

const UNITS_BYTES: [(&str, u64); 9] = [
    ("tib", 1 << 40),
    ("gib", 1 << 30),
    ("mib", 1 << 20),
    ("kib", 1 << 10),
    ("tb", 1_000_000_000_000),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
];

/// A text that is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a size; write for example 512KiB, 16MiB or 1GiB")]
pub struct SizeError {
    text: String,
}

/// Reads `16MiB`, `500 MB`, `4096`: bytes.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    parse_bytes(text.trim()).ok_or_else(|| SizeError {
        text: text.chars().take(64).collect(),
    })
}

fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim_start().to_ascii_lowercase();
    if unit.is_empty() {
        return Some(number);
    }
    let (_, unit_bytes) = UNITS_BYTES.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*unit_bytes)
}

/// Writes a size exactly, in the largest binary unit that divides it: `16MiB`, `1000B`.
pub fn format_size(bytes: u64) -> String {
    const EXACT: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    match EXACT
        .iter()
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = u64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a size such as \"512KiB\", \"16MiB\" or a number of bytes")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<u64, E> {
        parse_size(text).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, bytes: u64) -> Result<u64, E> {
        Ok(bytes)
    }

    fn visit_i64<E: serde::de::Error>(self, bytes: i64) -> Result<u64, E> {
        u64::try_from(bytes).map_err(|_| E::custom("a size is not negative"))
    }
}

/// For `#[serde(with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    deserializer.deserialize_any(Text)
}

/// For `#[serde(with)]`.
pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_size(*bytes))
}

/// The same for `Option<u64>`.
pub mod option {
    use super::{Deserializer, Serializer, Text, format_size};

    /// For `#[serde(with)]`, together with `#[serde(default)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u64>, D::Error> {
        deserializer.deserialize_any(Text).map(Some)
    }

    /// For `#[serde(with)]`.
    pub fn serialize<S: Serializer>(bytes: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&format_size(*bytes)),
            None => serializer.serialize_none(),
        }
    }
}

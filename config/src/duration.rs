//! Durations as people write them: `90s`, `15m`, `1h30m`, `30d`.
//!
//! Units: `ms`, `s`, `m`, `h`, `d` (24 h), `w` (7 d). A number without a unit is refused, since readers disagree
//! about what it would mean. Use as `#[serde(with = "holdfast_config::duration")]`, or
//! `holdfast_config::duration::option` with `#[serde(default)]` for an optional one.

use std::time::Duration;

use serde::de::{Deserializer, Visitor};
use serde::ser::Serializer;

const UNITS_MS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration; write for example 90s, 15m, 1h30m or 30d")]
pub struct DurationError {
    text: String,
}

/// Reads `90s`, `1h30m`, `30d`; whole numbers, each with its unit.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    parse_ms(text.trim())
        .map(Duration::from_millis)
        .ok_or_else(|| DurationError {
            text: text.chars().take(64).collect(),
        })
}

fn parse_ms(mut rest: &str) -> Option<u64> {
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (_, unit_ms) = UNITS_MS
            .iter()
            .find(|(name, _)| *name == &rest[..letters])?;
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(*unit_ms)?)?;
    }
    Some(total)
}

/// Writes a duration so that [`parse_duration`] reads the same, down to milliseconds: `1d12h`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    // Weeks are read but not written: 30d is easier to understand than 4w2d.
    for (name, unit_ms) in UNITS_MS.iter().filter(|(name, _)| *name != "w") {
        if rest >= *unit_ms {
            text.push_str(&format!("{}{name}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

struct Text;

impl Visitor<'_> for Text {
    type Value = Duration;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a duration such as \"90s\", \"15m\", \"1h\" or \"30d\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text).map_err(E::custom)
    }
}

/// For `#[serde(with)]`.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(Text)
}

/// For `#[serde(with)]`.
pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

/// The same for `Option<Duration>`.
pub mod option {
    use super::{Deserializer, Duration, Serializer, Text, format_duration};

    /// For `#[serde(with)]`, together with `#[serde(default)]`.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_str(Text).map(Some)
    }

    /// For `#[serde(with)]`.
    pub fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => serializer.serialize_str(&format_duration(*duration)),
            None => serializer.serialize_none(),
        }
    }
}

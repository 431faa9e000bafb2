//! What is wrong with a configuration, first as serde says it, then with its place.
//!
//! serde tells an error type what it found and what it expected; this one keeps the parts instead of a
//! sentence, so that the place and the nearest known word can be added where they are known. Strings found
//! in the file are not repeated (one may be a password somebody wrote in the wrong place); the place is
//! given, and whoever may read the file can look.

use std::fmt;
use std::ops::Range;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Expected, Unexpected};
use toml::de::DeValue;

use crate::location::{Found, Value, find_key, find_only_leaf, within};

/// One thing wrong.
#[derive(Debug)]
pub(crate) struct Fault {
    what: What,
    place: Option<Range<usize>>,
}

#[derive(Debug)]
enum What {
    /// A whole sentence.
    Said(String),
    /// A sentence about one value.
    Custom(String),
    UnknownKey {
        key: String,
        known: &'static [&'static str],
    },
    UnknownWord {
        word: String,
        known: &'static [&'static str],
    },
    Missing(&'static str),
    Wrong {
        found: String,
        /// The exact number or truth value found, to look for it in a table that serde buffered.
        number: Option<String>,
        /// The exact text found, for the same purpose; never shown.
        text: Option<SecretString>,
        expected: String,
    },
}

impl Fault {
    /// A whole sentence with its place.
    pub(crate) fn said(message: String, place: Range<usize>) -> Self {
        Self {
            what: What::Said(message),
            place: Some(place),
        }
    }

    /// The sentence and the byte offset to report.
    pub(crate) fn into_parts(self) -> (String, usize) {
        let offset = self.place.as_ref().map_or(0, |place| place.start);
        (self.sentence(""), offset)
    }

    /// Adds the place, unless an inner value has done so already.
    ///
    /// Where serde buffered a table (internally tagged and flattened types) the fault surfaces at the whole
    /// table: the key or the value it speaks of is then looked for below it.
    pub(crate) fn located(self, value: &Value<'_>, path: &str) -> Self {
        if self.place.is_some() {
            return self;
        }
        let found = self.search(value, path).unwrap_or_else(|| Found {
            span: value.span(),
            path: path.to_owned(),
        });
        let place = found.span;
        Self {
            what: What::Said(self.sentence(&found.path)),
            place: Some(place),
        }
    }

    /// Turns the parts into a sentence about `path`.
    pub(crate) fn about(self, path: &str) -> Self {
        let place = self.place.clone();
        Self {
            what: What::Said(self.sentence(path)),
            place,
        }
    }

    fn search(&self, value: &Value<'_>, path: &str) -> Option<Found> {
        match &self.what {
            What::UnknownKey { key, .. } => find_key(value.get_ref().as_table()?, path, key),
            What::UnknownWord { word, .. } => {
                find_only_leaf(value, path, &|leaf| leaf.as_str() == Some(word))
            }
            What::Wrong {
                number: Some(number),
                ..
            } => find_only_leaf(value, path, &|leaf| {
                number_text(leaf).as_ref() == Some(number)
            }),
            What::Wrong {
                text: Some(text), ..
            } => find_only_leaf(value, path, &|leaf| {
                leaf.as_str() == Some(text.expose_secret())
            }),
            // A type that reads its own texts quotes the one it refuses.
            What::Custom(message) => find_only_leaf(value, path, &|leaf| {
                leaf.as_str()
                    .is_some_and(|text| message.contains(&format!("{text:?}")))
            }),
            _ => None,
        }
    }

    fn sentence(self, path: &str) -> String {
        let about = || {
            if path.is_empty() {
                "the file".to_owned()
            } else {
                format!("`{path}`")
            }
        };
        match self.what {
            What::Said(message) => message,
            What::Custom(message) if path.is_empty() => message,
            What::Custom(message) => format!("`{path}`: {message}"),
            What::UnknownKey { key, known } => unknown_key(&key, path, known),
            What::UnknownWord { word, known } => {
                format!(
                    "{} cannot be {word:?}; {}",
                    about(),
                    suggestion(&word, known)
                )
            }
            What::Missing(key) => format!("`{key}` is missing {}", within(path)),
            What::Wrong {
                found, expected, ..
            } => format!("{} is {found}; expected {expected}", about()),
        }
    }

    fn new(what: What) -> Self {
        Self { what, place: None }
    }
}

/// The sentence about a key nobody knows.
pub(crate) fn unknown_key(key: &str, path: &str, known: &[&str]) -> String {
    format!(
        "unknown key `{key}` {}; {}",
        within(path),
        suggestion(key, known)
    )
}

/// "did you mean `x`?", or all that is known.
fn suggestion(word: &str, known: &[&str]) -> String {
    if let Some(nearest) = nearest(word, known) {
        return format!("did you mean `{nearest}`?");
    }
    match known {
        [] => "nothing may stand here".to_owned(),
        known => format!("known are: {}", known.join(", ")),
    }
}

/// The known word that differs from `word` by few enough slips of the finger.
fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |text: &str| text.to_lowercase().replace('-', "_");
    let word = plain(word);
    known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), *known))
        .filter(|(distance, known)| *distance <= (known.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

fn number_text(leaf: &DeValue<'_>) -> Option<String> {
    match leaf {
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
            .ok()
            .map(|number| number.to_string()),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().map(|f| f.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// What was found, without repeating text.
fn describe(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(truth) => truth.to_string(),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        Unexpected::Char(_) | Unexpected::Str(_) | Unexpected::Bytes(_) => "a text".to_owned(),
        Unexpected::Seq => "an array".to_owned(),
        Unexpected::Map
        | Unexpected::StructVariant
        | Unexpected::NewtypeStruct
        | Unexpected::NewtypeVariant => "a table".to_owned(),
        other => other.to_string(),
    }
}

/// serde's names of what it expected, in words a reader of TOML knows.
fn reword(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let number = |from: &dyn fmt::Display, to: &dyn fmt::Display| {
        format!("a whole number from {from} to {to}")
    };
    match text.as_str() {
        "u8" => number(&u8::MIN, &u8::MAX),
        "u16" => number(&u16::MIN, &u16::MAX),
        "u32" => number(&u32::MIN, &u32::MAX),
        "u64" | "usize" | "u128" => "a whole number, not negative".to_owned(),
        "i8" => number(&i8::MIN, &i8::MAX),
        "i16" => number(&i16::MIN, &i16::MAX),
        "i32" => number(&i32::MIN, &i32::MAX),
        "i64" | "isize" | "i128" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "path string" => "a text in quotes".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" => "a table".to_owned(),
        text if text.starts_with("struct ") || text.starts_with("internally tagged enum") => {
            "a table".to_owned()
        }
        text if text.starts_with("enum ") => "one of its words".to_owned(),
        text => text.to_owned(),
    }
}

impl serde::de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(What::Custom(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let number = match found {
            Unexpected::Bool(truth) => Some(truth.to_string()),
            Unexpected::Unsigned(number) => Some(number.to_string()),
            Unexpected::Signed(number) => Some(number.to_string()),
            Unexpected::Float(number) => Some(number.to_string()),
            _ => None,
        };
        Self::new(What::Wrong {
            number,
            text: match found {
                Unexpected::Str(text) => Some(text.into()),
                _ => None,
            },
            found: describe(found),
            expected: reword(expected),
        })
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownWord {
            word: word.to_owned(),
            known,
        })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(What::UnknownKey {
            key: key.to_owned(),
            known,
        })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(What::Missing(key))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Said(message) | What::Custom(message) => f.write_str(message),
            other => write!(f, "{other:?}"),
        }
    }
}

impl std::error::Error for Fault {}

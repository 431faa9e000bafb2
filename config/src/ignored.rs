//! Finds keys that no type read, in the tables whose fields serde hides from a deserializer.
//!
//! For each such key the document is read again with the key's value replaced by one that nothing can
//! read. If that reads as well as before, nobody looked at the key. It costs one more pass for each key in such
//! a table, which is nothing for a file a person wrote, and needs no attribute that an author could forget.

use serde::de::DeserializeOwned;

use crate::fault::Fault;
use crate::load::Document;
use crate::location::within;
use crate::strict::{HiddenKey, Tracker};

/// Sentences about the keys among `hidden` that reading a `T` ignores.
pub(crate) fn ignored_keys<T: DeserializeOwned>(
    document: &Document<'_>,
    hidden: Vec<HiddenKey>,
) -> Vec<Fault> {
    let mut ignored: Vec<HiddenKey> = Vec::new();
    for key in hidden {
        // What stands below an ignored key needs no mention of its own.
        let parent = crate::location::join(&key.path, &key.name);
        let covered = ignored.iter().any(|above| {
            let above = crate::location::join(&above.path, &above.name);
            above == parent
                || parent
                    .strip_prefix(&above)
                    .is_some_and(|rest| rest.starts_with(['.', '[']))
        });
        if !covered && is_ignored::<T>(document, &key) {
            ignored.push(key);
        }
    }
    ignored.into_iter().map(sentence).collect()
}

fn is_ignored<T: DeserializeOwned>(document: &Document<'_>, key: &HiddenKey) -> bool {
    let tracker = Tracker {
        poisoned: Some(key.span.clone()),
        ..Tracker::default()
    };
    document.read::<T>(&tracker).is_ok()
}

fn sentence(key: HiddenKey) -> Fault {
    let message = format!(
        "unknown key `{}` {}; nothing reads it",
        key.name,
        within(&key.path)
    );
    Fault::said(message, key.span)
}

//! Where something stands in a TOML text: byte spans, lines and columns, dotted paths.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value with its place.
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// Line and column (both from 1, the column in characters) of a byte offset.
pub(crate) fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..text.floor_char_boundary(offset)];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
    (line, 1 + before[line_start..].chars().count())
}

/// `path.key`, or `key` at the top level.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// "in [path]", or "at the top level".
pub(crate) fn within(path: &str) -> String {
    if path.is_empty() {
        "at the top level".to_owned()
    } else {
        format!("in [{path}]")
    }
}

/// A key or a leaf that a search found.
pub(crate) struct Found {
    pub(crate) span: Range<usize>,
    /// Dotted path of the table that holds a key, or of the leaf itself.
    pub(crate) path: String,
}

/// The place of the key `name` in `table` or below it, the nearest to the top.
pub(crate) fn find_key(table: &DeTable<'_>, path: &str, name: &str) -> Option<Found> {
    let here = table.iter().find(|(key, _)| key.get_ref() == name);
    if let Some((key, _)) = here {
        return Some(Found {
            span: key.span(),
            path: path.to_owned(),
        });
    }
    table
        .iter()
        .find_map(|(key, value)| find_key_below(value.get_ref(), &join(path, key.get_ref()), name))
}

fn find_key_below(value: &DeValue<'_>, path: &str, name: &str) -> Option<Found> {
    match value {
        DeValue::Table(table) => find_key(table, path, name),
        DeValue::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            find_key_below(item.get_ref(), &format!("{path}[{index}]"), name)
        }),
        _ => None,
    }
}

/// The only leaf at or below `value` that `wanted` accepts; `None` when there are none or several.
pub(crate) fn find_only_leaf(
    value: &Value<'_>,
    path: &str,
    wanted: &dyn Fn(&DeValue<'_>) -> bool,
) -> Option<Found> {
    let mut found = Vec::new();
    collect_leaves(value, path, wanted, &mut found);
    if found.len() == 1 { found.pop() } else { None }
}

fn collect_leaves(
    value: &Value<'_>,
    path: &str,
    wanted: &dyn Fn(&DeValue<'_>) -> bool,
    found: &mut Vec<Found>,
) {
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, below) in table {
                collect_leaves(below, &join(path, key.get_ref()), wanted, found);
            }
        }
        DeValue::Array(items) => {
            for (index, below) in items.iter().enumerate() {
                collect_leaves(below, &format!("{path}[{index}]"), wanted, found);
            }
        }
        leaf if wanted(leaf) => found.push(Found {
            span: value.span(),
            path: path.to_owned(),
        }),
        _ => {}
    }
}

/// The place of a dotted path such as `source[2].name`: of its key, or of the deepest part that exists.
pub(crate) fn find_path(root: &DeTable<'_>, path: &str) -> Range<usize> {
    let mut table = Some(root);
    let mut span = 0..0;
    for part in path.split('.') {
        let (name, indexes) = part.split_once('[').unwrap_or((part, ""));
        let Some((key, value)) =
            table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name))
        else {
            return span;
        };
        span = key.span();
        let mut value = value;
        for index in indexes.split('[').filter(|index| !index.is_empty()) {
            let index = index.trim_end_matches(']').parse::<usize>().ok();
            let item = value.get_ref().as_array().zip(index);
            let Some(item) = item.and_then(|(items, index)| items.get(index)) else {
                return span;
            };
            span = item.span();
            value = item;
        }
        table = value.get_ref().as_table();
    }
    span
}

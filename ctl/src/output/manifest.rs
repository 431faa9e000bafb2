//! What a PostgreSQL snapshot's `manifest.json` tells a person: server version, databases, sizes.
//!
//! Read leniently, for display alone: a field that a newer or older writer calls otherwise is left out, never an error.

use serde_json::Value;

use crate::output::human;

/// A database in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestDatabase {
    /// Its name.
    pub name: String,
    /// Its size on the server, when the manifest says so.
    pub size_bytes: Option<u64>,
    /// Its owner, when the manifest says so.
    pub owner: Option<String>,
    /// How many tables were counted.
    pub tables: Option<usize>,
}

/// The databases in a manifest; empty when it names none.
pub fn databases(manifest_json: &str) -> Vec<ManifestDatabase> {
    let document: Value = serde_json::from_str(manifest_json).unwrap_or(Value::Null);
    let listed = document.get("databases").and_then(Value::as_array);
    listed.into_iter().flatten().filter_map(database).collect()
}

/// What else a person wants to know at a glance: name and text.
pub fn facts(manifest_json: &str) -> Vec<(&'static str, String)> {
    let document: Value = serde_json::from_str(manifest_json).unwrap_or(Value::Null);
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
    let mut facts = Vec::new();
    if let Some(version) = text("/server/version") {
        facts.push(("server", format!("PostgreSQL {version}")));
    }
    let skipped = document.get("skipped").and_then(Value::as_array);
    for database in skipped.into_iter().flatten() {
        let part = |name: &str| database.get(name).and_then(Value::as_str);
        if let (Some(name), Some(reason)) = (part("name"), part("reason")) {
            facts.push(("skipped", format!("{name}: {reason}")));
        }
    }
    facts
}

fn database(value: &Value) -> Option<ManifestDatabase> {
    let owner = value.get("owner").and_then(Value::as_str);
    Some(ManifestDatabase {
        name: value.get("name")?.as_str()?.to_owned(),
        size_bytes: value.get("size_bytes").and_then(Value::as_u64),
        owner: owner.map(str::to_owned),
        tables: value.get("tables").and_then(Value::as_array).map(Vec::len),
    })
}

/// Table rows for people.
pub fn rows(databases: &[ManifestDatabase]) -> Vec<Vec<String>> {
    let row = |database: &ManifestDatabase| {
        vec![
            database.name.clone(),
            database.owner.clone().unwrap_or_else(|| "-".into()),
            database.size_bytes.map_or("-".into(), human::size),
            database
                .tables
                .map_or("-".into(), |tables| tables.to_string()),
        ]
    };
    databases.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manifest_does_not_say_is_left_out() {
        let text = r#"{"databases": [{"name": "app", "size_bytes": 5, "tables": [1, 2]}, {"name": "b"}, {"x": 1}]}"#;
        let found = databases(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].size_bytes, found[0].tables), (Some(5), Some(2)));
        assert_eq!((found[1].size_bytes, found[1].tables), (None, None));
        for text in ["", "no json", "[]", r#"{"databases": 7}"#] {
            assert!(databases(text).is_empty(), "{text}");
        }
    }
}

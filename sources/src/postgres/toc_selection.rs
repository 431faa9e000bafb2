//! Which entries of an archive belong to chosen tables.
//!
//! A table is whole with its data, defaults, indexes, constraints, triggers, rules, policies, statistics, comments,
//! privileges, owned sequences and partitions; `pg_restore -t` brings the first two only. Besides, everything that these need
//! (types, functions, extensions, schemas) comes along. Foreign keys to tables that are not chosen are left out and told.

use std::collections::{BTreeMap, BTreeSet};

use super::archive::{Toc, TocEntry};
use super::wanted_table::WantedTable;

/// Kinds of entries that belong to the one table they depend on.
const PARTS: [&str; 18] = [
    "SEQUENCE",
    "TABLE DATA",
    "DEFAULT",
    "INDEX",
    "CONSTRAINT",
    "CHECK CONSTRAINT",
    "TRIGGER",
    "RULE",
    "POLICY",
    "ROW SECURITY",
    "STATISTICS",
    "STATISTICS DATA",
    "SEQUENCE OWNED BY",
    "INDEX ATTACH",
    "TABLE ATTACH",
    "COMMENT",
    "ACL",
    "SECURITY LABEL",
];
const FOREIGN_KEY: &str = "FK CONSTRAINT";
const TABLE: &str = "TABLE";

/// What was asked for cannot be selected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SelectError {
    #[error("the dump holds no table {0}")]
    NotFound(String),
    #[error("table {name} is in several schemas: {}", schemas.join(", "))]
    Ambiguous { name: String, schemas: Vec<String> },
}

/// The entries to restore.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selected {
    /// Numbers of the entries, in the archive's order.
    pub ids: Vec<i64>,
    /// Schema and name of the chosen tables, their partitions included.
    pub tables: BTreeSet<(String, String)>,
    /// Foreign keys to tables that are not chosen.
    pub foreign_keys_left_out: Vec<String>,
}

/// Finds everything that belongs to `wanted`.
pub(crate) fn select(toc: &Toc, wanted: &[WantedTable]) -> Result<Selected, SelectError> {
    let index = Index::new(toc);
    let mut chosen = BTreeSet::new();
    for table in wanted {
        chosen.insert(index.table(table)?);
    }
    index.add_partitions(&mut chosen);
    let mut ids = chosen.clone();
    let mut selected = Selected::default();
    index.add_parts(&chosen, &mut ids, &mut selected.foreign_keys_left_out);
    index.add_needs(&mut ids);
    selected.tables = chosen
        .iter()
        .filter_map(|id| index.by_id.get(id))
        .map(|entry| (text(&entry.schema), text(&entry.name)))
        .collect();
    selected.ids = toc
        .entries
        .iter()
        .map(|entry| entry.id)
        .filter(|id| ids.contains(id))
        .collect();
    Ok(selected)
}

struct Index<'t> {
    toc: &'t Toc,
    by_id: BTreeMap<i64, &'t TocEntry>,
}

impl<'t> Index<'t> {
    fn new(toc: &'t Toc) -> Self {
        Self {
            toc,
            by_id: toc.entries.iter().map(|entry| (entry.id, entry)).collect(),
        }
    }

    fn table(&self, wanted: &WantedTable) -> Result<i64, SelectError> {
        let fits = |entry: &&TocEntry| {
            entry.kind == TABLE
                && entry.name == wanted.name.as_bytes()
                && wanted
                    .schema
                    .as_ref()
                    .is_none_or(|schema| entry.schema == schema.as_bytes())
        };
        let found: Vec<&TocEntry> = self.toc.entries.iter().filter(fits).collect();
        match found.as_slice() {
            [] => Err(SelectError::NotFound(wanted.to_string())),
            [one] => Ok(one.id),
            several => Err(SelectError::Ambiguous {
                name: wanted.name.clone(),
                schemas: several.iter().map(|entry| text(&entry.schema)).collect(),
            }),
        }
    }

    fn kind(&self, id: i64) -> &str {
        self.by_id.get(&id).map_or("", |entry| entry.kind.as_str())
    }

    /// A partition is attached by an entry that depends on its parent first and on itself second.
    fn add_partitions(&self, chosen: &mut BTreeSet<i64>) {
        loop {
            let before = chosen.len();
            for entry in self
                .toc
                .entries
                .iter()
                .filter(|entry| entry.kind == "TABLE ATTACH")
            {
                let tables: Vec<i64> = entry
                    .dependencies
                    .iter()
                    .copied()
                    .filter(|id| self.kind(*id) == TABLE)
                    .collect();
                let child = tables.iter().copied().find(|id| {
                    self.by_id.get(id).is_some_and(|table| {
                        table.name == entry.name && table.schema == entry.schema
                    })
                });
                if let Some(child) = child
                    && tables.iter().any(|id| *id != child && chosen.contains(id))
                {
                    chosen.insert(child);
                }
            }
            if chosen.len() == before {
                return;
            }
        }
    }

    /// Parts of the chosen tables, and parts of these parts (the comment on an index, the value of an owned sequence).
    fn add_parts(
        &self,
        chosen: &BTreeSet<i64>,
        ids: &mut BTreeSet<i64>,
        left_out: &mut Vec<String>,
    ) {
        loop {
            let before = ids.len();
            for entry in &self.toc.entries {
                if !ids.contains(&entry.id) && self.belongs(entry, chosen, ids) {
                    ids.insert(entry.id);
                }
            }
            if ids.len() == before {
                break;
            }
        }
        let foreign_keys = self
            .toc
            .entries
            .iter()
            .filter(|entry| entry.kind == FOREIGN_KEY && !ids.contains(&entry.id));
        left_out.extend(
            foreign_keys
                .filter(|entry| entry.dependencies.iter().any(|id| chosen.contains(id)))
                .map(|entry| text(&entry.name)),
        );
    }

    fn belongs(&self, entry: &TocEntry, chosen: &BTreeSet<i64>, ids: &BTreeSet<i64>) -> bool {
        if !entry.dependencies.iter().any(|id| ids.contains(id)) {
            return false;
        }
        let other_table = |id: &i64| self.kind(*id) == TABLE && !chosen.contains(id);
        match entry.kind.as_str() {
            "TABLE ATTACH" | "INDEX ATTACH" | FOREIGN_KEY => {
                let reaches_out = entry.dependencies.iter().any(other_table);
                !reaches_out
                    && entry
                        .dependencies
                        .iter()
                        .all(|id| self.kind(*id) != "INDEX" || ids.contains(id))
            }
            kind => PARTS.contains(&kind) && self.is_part_of(entry, ids),
        }
    }

    /// An entry is part of what it was made for; that comes first among what it depends on. Whatever else it needs may
    /// be chosen by chance (a trigger of another table that calls a chosen table's function).
    fn is_part_of(&self, entry: &TocEntry, ids: &BTreeSet<i64>) -> bool {
        let owner = |id: &&i64| {
            matches!(
                self.kind(**id),
                TABLE
                    | "INDEX"
                    | "CONSTRAINT"
                    | "SEQUENCE"
                    | "TRIGGER"
                    | "POLICY"
                    | "RULE"
                    | "STATISTICS"
                    | FOREIGN_KEY
            )
        };
        let owners: Vec<&i64> = entry.dependencies.iter().filter(owner).collect();
        // A comment, privilege or label depends on its one object, which may be of any kind: only those of ours count.
        !owners.is_empty()
            && owners
                .iter()
                .all(|id| ids.contains(id) || self.kind(**id) == "SEQUENCE")
    }

    /// Everything that the chosen entries need, as far as it is in the archive, and the values of sequences among it.
    fn add_needs(&self, ids: &mut BTreeSet<i64>) {
        let attached: BTreeSet<(&[u8], &[u8])> = self
            .toc
            .entries
            .iter()
            .filter(|entry| entry.kind == "TABLE ATTACH")
            .map(|entry| (entry.schema.as_slice(), entry.name.as_slice()))
            .collect();
        let mut open: Vec<i64> = ids.iter().copied().collect();
        while let Some(id) = open.pop() {
            let Some(entry) = self.by_id.get(&id) else {
                continue;
            };
            // A sequence needs the table that owns it only to be owned, a partition its parent only to be attached.
            let stands_alone = match entry.kind.as_str() {
                "SEQUENCE" => true,
                TABLE => attached.contains(&(entry.schema.as_slice(), entry.name.as_slice())),
                _ => false,
            };
            for need in &entry.dependencies {
                let wanted =
                    self.by_id.contains_key(need) && !(stands_alone && self.kind(*need) == TABLE);
                if wanted && ids.insert(*need) {
                    open.push(*need);
                }
            }
        }
        let values = self.toc.entries.iter().filter(|entry| {
            entry.kind == "SEQUENCE SET" && entry.dependencies.iter().any(|id| ids.contains(id))
        });
        let values: Vec<i64> = values.map(|entry| entry.id).collect();
        ids.extend(values);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toc(entries: &[(i64, &str, &str, &str, &[i64])]) -> Toc {
        let entry =
            |(id, kind, schema, name, dependencies): &(i64, &str, &str, &str, &[i64])| TocEntry {
                id: *id,
                kind: (*kind).to_owned(),
                schema: schema.as_bytes().to_vec(),
                name: name.as_bytes().to_vec(),
                dependencies: dependencies.to_vec(),
                ..TocEntry::default()
            };
        Toc {
            entries: entries.iter().map(entry).collect(),
        }
    }

    fn wanted(text: &str) -> WantedTable {
        WantedTable::parse(text).unwrap()
    }

    #[test]
    fn a_table_comes_with_its_parts_and_needs() {
        let toc = toc(&[
            (1, "SCHEMA", "", "s", &[]),
            (2, "TYPE", "s", "mood", &[1]),
            (3, "FUNCTION", "s", "touch()", &[1]),
            (4, "TABLE", "s", "a", &[1, 2]),
            (5, "SEQUENCE", "s", "a_id_seq", &[1, 4]),
            (6, "SEQUENCE OWNED BY", "s", "a_id_seq", &[5]),
            (7, "TABLE", "s", "b", &[1]),
            (8, "DEFAULT", "s", "a id", &[5, 4]),
            (9, "TABLE DATA", "s", "a", &[4]),
            (10, "TABLE DATA", "s", "b", &[7]),
            (11, "SEQUENCE SET", "s", "a_id_seq", &[5]),
            (12, "CONSTRAINT", "s", "a a_pkey", &[4]),
            (13, "FK CONSTRAINT", "s", "a a_b_fkey", &[4, 7]),
            (14, "TRIGGER", "s", "a t", &[4, 3]),
            (15, "TRIGGER", "s", "b t", &[7, 3]),
            (16, "COMMENT", "s", "TABLE a", &[4]),
            (17, "COMMENT", "s", "TABLE b", &[7]),
        ]);
        let selected = select(&toc, &[wanted("s.a")]).unwrap();
        assert_eq!(selected.ids, [1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 14, 16]);
        assert_eq!(selected.foreign_keys_left_out, ["a a_b_fkey"]);
        let both = select(&toc, &[wanted("a"), wanted("b")]).unwrap();
        assert_eq!(both.ids, (1..=17).collect::<Vec<i64>>());
        assert!(both.foreign_keys_left_out.is_empty());
    }

    #[test]
    fn partitions_come_with_their_parent() {
        let toc = toc(&[
            (1, "TABLE", "s", "p", &[]),
            (2, "TABLE", "s", "p1", &[1]),
            (3, "TABLE ATTACH", "s", "p1", &[1, 2]),
            (4, "TABLE DATA", "s", "p1", &[2]),
            (5, "INDEX", "s", "p_i", &[1]),
            (6, "INDEX", "s", "p1_i", &[2]),
            (7, "INDEX ATTACH", "s", "p1_i", &[5, 6]),
        ]);
        assert_eq!(
            select(&toc, &[wanted("p")]).unwrap().ids,
            [1, 2, 3, 4, 5, 6, 7]
        );
        assert_eq!(
            select(&toc, &[wanted("p1")]).unwrap().ids,
            [2, 4, 6],
            "alone it is a table of its own"
        );
    }

    #[test]
    fn what_is_not_there_or_not_clear_is_told() {
        let toc = toc(&[(1, "TABLE", "s", "a", &[]), (2, "TABLE", "t", "a", &[])]);
        assert_eq!(
            select(&toc, &[wanted("x")]).unwrap_err(),
            SelectError::NotFound("x".to_owned())
        );
        assert!(matches!(
            select(&toc, &[wanted("a")]),
            Err(SelectError::Ambiguous { .. })
        ));
    }
}

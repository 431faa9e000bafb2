//! Every field that `--json` prints is documented in JSON.md.

#![allow(clippy::expect_used)]

mod fake;

use std::collections::BTreeSet;

use fake::{Coordinator, RUN, SNAPSHOT, run};
use serde_json::Value;

const DOCUMENTED: &str = include_str!("../JSON.md");

/// Names in a value, without what belongs to others: a manifest, and the facts of a source.
fn names(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                found.insert(name.clone());
                if name != "manifest" && name != "facts" {
                    names(value, found);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| names(value, found)),
        _ => {}
    }
}

#[test]
fn every_field_is_documented() {
    let coordinator = Coordinator::start();
    let commands: [&[&str]; 16] = [
        &["status"],
        &["run", "list"],
        &["run", "show", RUN],
        &["run", "logs", RUN],
        &["run", "cancel", RUN],
        &["backup", "orders-db"],
        &["snapshot", "list"],
        &["snapshot", "show", SNAPSHOT],
        &["source", "list"],
        &["source", "show", "orders-db"],
        &["agent", "list"],
        &["agent", "invite", "db1"],
        &["agent", "revoke", "db1", "--yes"],
        &["vault", "list"],
        &["vault", "add", "local", "file:///srv/vault"],
        &["vault", "scan", "primary"],
    ];
    let mut found = BTreeSet::new();
    let mut ask = |arguments: &[&str]| {
        let arguments = [arguments, &["--json"]].concat();
        let said = run(coordinator.ctl(&arguments)).expect_code(0);
        let lines = said.json_lines();
        assert!(!lines.is_empty(), "{arguments:?}");
        lines.iter().for_each(|line| names(line, &mut found));
    };
    commands.iter().for_each(|arguments| ask(arguments));
    coordinator.with(|state| {
        state
            .events
            .insert(RUN.into(), vec![fake::end(1, fake::restored())]);
    });
    ask(&["restore", "orders-db", "--yes"]);
    let error = run(coordinator.ctl(&["run", "show", "ffff", "--json"]))
        .expect_code(5)
        .err;
    names(&serde_json::from_str(&error).expect("json"), &mut found);
    assert!(found.len() > 80, "{found:?}");
    for name in found {
        assert!(
            DOCUMENTED.contains(&format!("`{name}`")),
            "`{name}` is not in JSON.md"
        );
    }
}

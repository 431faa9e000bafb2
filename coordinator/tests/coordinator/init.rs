//! `init` makes what is missing and destroys nothing.

use std::os::unix::fs::PermissionsExt as _;

use holdfast_coordinator::init::init;

use crate::support::installation::contents;
use crate::support::{Database, Installation};

#[test]
fn twice_changes_nothing() {
    let at = Installation::new(Database::Sqlite);
    let before = contents(&at.dir());
    assert_eq!(before.len(), 6);
    let report = init(&at.options()).expect("init");
    assert!(report.made.is_empty(), "{report}");
    assert_eq!(report.kept.len(), 6);
    assert_eq!(contents(&at.dir()), before);
}

#[test]
fn keys_are_closed_to_others() {
    let at = Installation::new(Database::Sqlite);
    let mode = |path: &std::path::Path| {
        std::fs::metadata(path).expect("there").permissions().mode() & 0o777
    };
    assert_eq!(mode(&at.dir()), 0o700);
    for name in [
        "ca.pem",
        "coordinator.pem",
        "master.key",
        "operator/operator.pem",
    ] {
        assert_eq!(mode(&at.dir().join(name)), 0o600, "{name}");
    }
}

#[test]
fn what_is_missing_is_made_by_the_authority_that_is_there() {
    let at = Installation::new(Database::Sqlite);
    let before = contents(&at.dir());
    let lost = at.dir().join("operator/operator.pem");
    std::fs::remove_file(&lost).expect("removed");
    let report = init(&at.options()).expect("init");
    assert_eq!(report.made, std::slice::from_ref(&lost));
    for (path, bytes) in before.iter().filter(|(path, _)| **path != lost) {
        assert_eq!(
            &std::fs::read(path).expect("readable"),
            bytes,
            "{}",
            path.display()
        );
    }
    let identity = holdfast_identity::IdentityFiles::at(lost)
        .load()
        .expect("good")
        .expect("there");
    assert_eq!(identity.ca(), at.authority().certificate());
}

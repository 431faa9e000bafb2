//! What may not come in: libraries of TLS besides rustls on aws-lc, and licences that do not fit Apache-2.0.

use std::collections::BTreeSet;
use std::process::Command;

/// Each with what is used instead.
const UNWANTED: [(&str, &str); 6] = [
    ("native-tls", "rustls"),
    ("openssl", "rustls and aws-lc-rs"),
    ("openssl-src", "rustls and aws-lc-rs"),
    ("openssl-sys", "rustls and aws-lc-rs"),
    ("ring", "aws-lc-rs"),
    ("rustls-openssl", "rustls and aws-lc-rs"),
];

/// Licences under which parts of an Apache-2.0 work may be passed on, by their SPDX names.
const LICENCES: [&str; 13] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// A package and its licence.
type Package = (String, String);

/// All packages that are compiled into our programs and their builds, with the features they are really built with:
/// `cargo tree` knows these, `cargo metadata` takes every optional dependency in.
fn packages() -> BTreeSet<Package> {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "tree",
        "--workspace",
        "--locked",
        "--edges",
        "normal,build",
        "--target",
        "all",
        "--prefix",
        "none",
    ]);
    command
        .args(["--format", "{p}\t{l}"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "cargo tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    let package = |line: &str| {
        let (package, licence) = line.split_once('\t')?;
        let name = package.split(' ').next()?;
        Some((
            name.to_owned(),
            licence.trim_end_matches(" (*)").trim().to_owned(),
        ))
    };
    let packages: BTreeSet<Package> = lines.lines().filter_map(package).collect();
    for known in ["aws-lc-rs", "holdfast-vault", "tokio"] {
        assert!(
            packages.iter().any(|(name, _)| name == known),
            "{known} is not in what cargo tree says"
        );
    }
    packages
}

#[test]
fn no_second_tls_library_comes_in() {
    let found: Vec<String> = packages()
        .iter()
        .filter_map(|(package, _)| UNWANTED.iter().find(|(name, _)| package == name))
        .map(|(name, instead)| {
            format!("{name} (use {instead}; who wants it: cargo tree --target all -i {name})")
        })
        .collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_licence_fits() {
    let unfit: Vec<Package> = packages()
        .into_iter()
        .filter(|(_, licence)| !fits(licence))
        .collect();
    assert!(unfit.is_empty(), "{unfit:#?}");
}

/// Whether an SPDX expression can be met with the licences above. The slash is the old way to write OR.
fn fits(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ")
        .replace(" WITH ", "\u{1}WITH\u{1}");
    let words: Vec<String> = spaced
        .split_whitespace()
        .map(|word| word.replace('\u{1}', " "))
        .collect();
    let mut rest = words.as_slice();
    let result = either(&mut rest);
    result && rest.is_empty()
}

fn either(words: &mut &[String]) -> bool {
    let mut result = both(words);
    while words.first().is_some_and(|word| word == "OR") {
        *words = &words[1..];
        result |= both(words);
    }
    result
}

fn both(words: &mut &[String]) -> bool {
    let mut result = one(words);
    while words.first().is_some_and(|word| word == "AND") {
        *words = &words[1..];
        result &= one(words);
    }
    result
}

fn one(words: &mut &[String]) -> bool {
    let Some((word, rest)) = words.split_first() else {
        return false;
    };
    *words = rest;
    if word != "(" {
        return LICENCES.contains(&word.as_str());
    }
    let result = either(words);
    let closed = words.first().is_some_and(|word| word == ")");
    if closed {
        *words = &words[1..];
    }
    result && closed
}

#[test]
fn licence_expressions_are_understood() {
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "MIT/Apache-2.0",
        "ISC AND (Apache-2.0 OR GPL-2.0)",
        "Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(fits(good), "{good}");
    }
    for bad in [
        "",
        "GPL-3.0",
        "MIT AND GPL-2.0",
        "(MIT",
        "MIT MIT",
        "MIT AND (GPL-2.0 OR LGPL-2.1)",
    ] {
        assert!(!fits(bad), "{bad}");
    }
}

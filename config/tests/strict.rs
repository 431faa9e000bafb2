//! What a person who mistyped a configuration gets to read.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_config::{SecretSource, parse, parse_checked};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Agent {
    coordinator: String,
    #[serde(default)]
    source: Vec<Source>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Limits {
    #[serde(with = "holdfast_config::size")]
    memory: u64,
    #[serde(with = "holdfast_config::duration::option")]
    wait: Option<Duration>,
    port: u16,
    level: Level,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    #[default]
    Low,
    High,
}

#[derive(Debug, Deserialize)]
#[allow(dead_code)]
struct Source {
    name: String,
    #[serde(flatten)]
    kind: Kind,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[allow(dead_code)]
enum Kind {
    Postgres(Postgres),
    Files { folder: PathBuf },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Postgres {
    host: String,
    port: u16,
    #[serde(default)]
    databases: Vec<String>,
    password: Option<SecretSource>,
}

fn message(text: &str) -> String {
    match parse::<Agent>("agent.toml", text) {
        Ok(read) => panic!("read without complaint: {read:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_correct_file_is_read_whole() {
    let agent: Agent = parse(
        "agent.toml",
        r#"
        coordinator = "https://c.example:7443"
        labels = { site = "berlin" }
        [limits]
        memory = "16MiB"
        wait = "1h30m"
        port = 70
        level = "high"
        [[source]]
        name = "orders"
        kind = "postgres"
        host = "/run/postgresql"
        port = 5432
        password = { file = "/etc/pw" }
        [[source]]
        name = "pictures"
        kind = "files"
        folder = "/srv"
        "#,
    )
    .unwrap();
    assert_eq!(agent.limits.memory, 16 << 20);
    assert_eq!(agent.limits.wait, Some(Duration::from_secs(5400)));
    assert!(matches!(agent.limits.level, Level::High));
    assert_eq!(agent.labels["site"], "berlin");
    let Kind::Postgres(postgres) = &agent.source[0].kind else {
        panic!("{agent:?}")
    };
    assert_eq!(
        postgres.password,
        Some(SecretSource::File("/etc/pw".into()))
    );
}

#[test]
fn all_unknown_keys_are_named_at_once_with_place_and_nearest() {
    let text = "cordinator = 'x'\n\n[limits]\nprot = 1\n  memroy = 1\nzebra = 2\n";
    assert_eq!(
        message(text),
        "agent.toml:1:1: unknown key `cordinator` at the top level; did you mean `coordinator`?\n\
         agent.toml:1:1: `coordinator` is missing at the top level\n\
         agent.toml:4:1: unknown key `prot` in [limits]; did you mean `port`?\n\
         agent.toml:5:3: unknown key `memroy` in [limits]; did you mean `memory`?\n\
         agent.toml:6:1: unknown key `zebra` in [limits]; known are: memory, wait, port, level"
    );
}

#[test]
fn unknown_keys_in_a_tagged_enum_of_an_array_of_tables_are_found() {
    let text = "coordinator = 'x'\n[[source]]\nname = 'a'\nkind = 'files'\nfolder = '/'\n\
                [[source]]\nname = 'b'\nkind = 'postgres'\nhost = 'h'\nport = 1\ndatabses = ['x']\n";
    assert_eq!(
        message(text),
        "agent.toml:11:1: unknown key `databses` in [source[1]]; did you mean `databases`?"
    );
}

#[test]
fn a_key_that_no_type_reads_is_found_even_where_the_author_forgot_to_deny_it() {
    let text = "coordinator = 'x'\n[[source]]\nname = 'a'\nkind = 'files'\nfolder = '/'\nfoldr = '/x'\n\
                [source.more]\ndeep = 1\n";
    assert_eq!(
        message(text),
        "agent.toml:6:1: unknown key `foldr` in [source[0]]; nothing reads it\n\
         agent.toml:7:9: unknown key `more` in [source[0]]; nothing reads it"
    );
}

#[test]
fn wrong_types_name_the_place_and_not_the_text_found() {
    let text = "coordinator = 5\n";
    assert_eq!(
        message(text),
        "agent.toml:1:15: `coordinator` is the number 5; expected a text in quotes"
    );
    let text = "coordinator = 'x'\nlimits = { port = 'hunter2' }\n";
    assert_eq!(
        message(text),
        "agent.toml:2:19: `limits.port` is a text; expected a whole number from 0 to 65535"
    );
    let text = "coordinator = 'x'\n[limits]\nport = 70000\n";
    assert_eq!(
        message(text),
        "agent.toml:3:8: `limits.port` is the number 70000; expected a whole number from 0 to 65535"
    );
}

#[test]
fn wrong_types_inside_a_tagged_enum_name_their_own_line() {
    let text =
        "coordinator = 'x'\n[[source]]\nname = 'a'\nkind = 'postgres'\nhost = 'h'\nport = 70000\n";
    assert_eq!(
        message(text),
        "agent.toml:6:8: `source[0].port` is the number 70000; expected a whole number from 0 to 65535"
    );
    let text = "coordinator = 'x'\n[[source]]\nname = 'a'\nkind = 'postgrse'\n";
    assert_eq!(
        message(text),
        "agent.toml:4:8: `source[0].kind` cannot be \"postgrse\"; did you mean `postgres`?"
    );
    let text = "coordinator = 'x'\n[[source]]\nname = 'a'\nkind = 'postgres'\nhost = 'h'\n";
    assert_eq!(
        message(text),
        "agent.toml:2:1: `port` is missing in [source[0]]"
    );
}

#[test]
fn an_inline_secret_is_refused_and_not_repeated() {
    let text = "coordinator = 'x'\n[[source]]\nname = 'a'\nkind = 'postgres'\nhost = 'h'\nport = 1\n\
                password = 'hunter2'\n";
    assert_eq!(
        message(text),
        "agent.toml:7:12: `source[0].password` is a text; expected { file = \"/path\" } or \
         { env = \"NAME\" }, because a secret is not written in the configuration"
    );
}

#[test]
fn a_type_that_refuses_its_own_text_inside_a_tagged_enum_names_its_line() {
    #[derive(Debug, Deserialize)]
    #[serde(tag = "kind", rename_all = "lowercase")]
    #[allow(dead_code)]
    enum Task {
        Wait {
            name: String,
            #[serde(with = "holdfast_config::duration")]
            time: Duration,
        },
    }
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Tasks {
        task: Vec<Task>,
    }
    let text = "[[task]]\nkind = 'wait'\nname = 'a'\ntime = '90s'\n\
                [[task]]\nkind = 'wait'\nname = 'b'\n";
    let error = parse::<Tasks>("t.toml", text).unwrap_err().to_string();
    assert_eq!(error, "t.toml:5:1: `time` is missing in [task[1]]");
    let text = "kind = 'wait'\nname = '91'\ntime = '90'\n";
    let error = parse::<Task>("t.toml", text).unwrap_err().to_string();
    assert!(
        error.starts_with("t.toml:3:8: `time`: \"90\" is not"),
        "{error}"
    );
}

#[test]
fn words_durations_and_sizes_say_what_is_possible() {
    let text = "coordinator = 'x'\n[limits]\nlevel = 'hgih'\n";
    assert_eq!(
        message(text),
        "agent.toml:3:9: `limits.level` cannot be \"hgih\"; did you mean `high`?"
    );
    let text = "coordinator = 'x'\n[limits]\nwait = '90'\n";
    assert_eq!(
        message(text),
        "agent.toml:3:8: `limits.wait`: \"90\" is not a duration; write for example 90s, 15m, 1h30m or 30d"
    );
    let text = "coordinator = 'x'\n[limits]\nmemory = -1\n";
    assert_eq!(
        message(text),
        "agent.toml:3:10: `limits.memory`: a size is not negative"
    );
}

#[test]
fn broken_toml_names_its_line() {
    let message = message("coordinator = 'x'\n[limits\nport = 1\n");
    assert!(message.starts_with("agent.toml:2:"), "{message}");
    let message = self::message("coordinator = 'x'\ncoordinator = 'y'\n");
    assert!(
        message.starts_with("agent.toml:2:1: duplicate key"),
        "{message}"
    );
}

#[test]
fn a_callers_own_checks_speak_of_the_file() {
    let text = "coordinator = 'x'\n[[source]]\nname = 'a'\nkind = 'files'\nfolder = '/'\n\
                [[source]]\nname = 'a'\nkind = 'files'\nfolder = '/'\n";
    let error = parse_checked::<Agent>("agent.toml", text, |agent, problems| {
        assert_eq!(agent.source.len(), 2);
        problems.at("source[1].name", "another source has this name");
    })
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "agent.toml:7:1: `source[1].name`: another source has this name"
    );
}

#[test]
fn free_tables_take_any_key_and_columns_count_characters() {
    let text = "coordinator = 'x'\nlabels = { 'größe' = 'L', b = 2 }\n";
    assert_eq!(
        message(text),
        "agent.toml:2:31: `labels.b` is the number 2; expected a text in quotes"
    );
}

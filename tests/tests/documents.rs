//! What the documents and examples say is true of the programs: every command exists with its options, every example is
//! read without a complaint, every link leads somewhere, and no unit runs what an option would refuse.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use holdfast_tests::places::binary;
use holdfast_tests::{StoryFolder, http, ports, process, wait};

const PROGRAMS: [&str; 3] = ["holdfast-coordinator", "holdfast-agent", "holdfastctl"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// README and the like, and all of docs/.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.extend(
        [
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "tests/README.md",
        ]
        .map(|name| root().join(name)),
    );
    found
}

/// Commands of ours in a document: in blocks of code and between backquotes.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut found = Vec::new();
    let mut in_block = false;
    for line in joined.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.extend(line.split(['|', '&']).map(str::to_owned));
        }
    }
    // Between backquotes a line may end anywhere.
    let flowing = joined
        .split("```")
        .step_by(2)
        .collect::<String>()
        .replace('\n', " ");
    found.extend(flowing.split('`').skip(1).step_by(2).map(str::to_owned));
    found.iter().filter_map(|text| ours(text)).collect()
}

/// `runuser ... -- holdfast-agent join ... # why` is the command from our program's name on.
fn ours(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split('#').next()?.split_whitespace().collect();
    let at = words.iter().position(|word| PROGRAMS.contains(word))?;
    // An argument (`cp ... holdfastctl /usr/local/bin`) is no call of it.
    let called = at == 0 || matches!(words[at - 1], "--" | "$");
    let rest = &words[at..];
    let next = rest.get(1)?.trim_start_matches("--");
    (called && next.starts_with(|c: char| c.is_ascii_lowercase())).then(|| rest.join(" "))
}

#[test]
fn every_command_in_the_documents_exists() {
    let mut tried = 0;
    for document in documents() {
        for command in commands(&fs::read_to_string(&document).unwrap()) {
            let words = shell_words(&command);
            // Options are read from left to right: an unknown command or option before --help is an error.
            let output = Command::new(binary(&words[0]))
                .args(&words[1..])
                .arg("--help")
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "{}: `{command}` is not a command: {}",
                document.display(),
                String::from_utf8_lossy(&output.stderr)
            );
            tried += 1;
        }
    }
    assert!(
        tried > 40,
        "only {tried} commands were found in the documents"
    );
}

/// Words as a shell parts them, as far as documents go: quotes hold words together.
fn shell_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, ' ') => words.push(String::new()),
            (_, c) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty() && word != "...");
    words
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(file)
            };
            assert!(
                path.exists(),
                "{}: {target} leads nowhere",
                document.display()
            );
            if !heading.is_empty() {
                let there = fs::read_to_string(&path).unwrap();
                let headings = there
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .map(anchor);
                assert!(
                    headings.into_iter().any(|known| known == heading),
                    "{}: no heading {target}",
                    document.display()
                );
            }
        }
    }
}

/// How a heading is linked to: lower case, words parted by dashes.
fn anchor(line: &str) -> String {
    let title = line.trim_start_matches('#').trim().to_lowercase();
    let kept = title
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}

fn example(name: &str) -> String {
    fs::read_to_string(root().join("deploy/example").join(name)).unwrap()
}

/// An example with all that it shows as a default switched on, but for lines that begin with one of `except`.
fn with_defaults(text: &str, except: &[&str]) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if is_setting(rest) && !except.iter().any(|prefix| rest.starts_with(prefix)) => {
            rest
        }
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// `key = value` or `[table]`, and no sentence.
fn is_setting(text: &str) -> bool {
    let key = text.split(" = ").next().unwrap_or_default();
    (text.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        || text.starts_with('[')
}

#[test]
fn the_agents_example_is_right_with_and_without_its_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let text = example("agent.toml");
    let full = with_defaults(&text, &["password", "ca_file"]);
    assert!(
        full.contains("\npack_size = \"16MiB\"") && full.contains("\nstall_timeout = "),
        "{full}"
    );
    for text in [text, full] {
        let path = folder.path().join("agent.toml");
        fs::write(&path, text).unwrap();
        let output = Command::new(binary("holdfast-agent"))
            .args(["check-config", "--offline", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn the_coordinator_serves_by_its_example() {
    let folder = StoryFolder::new("examples");
    let state = folder.path("state");
    let (listen, health) = (ports::free(), ports::free());
    let made = Command::new(binary("holdfast-coordinator"))
        .args(["init", "--address", "backup.example.net:7600", "--dir"])
        .arg(&state)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let text = with_defaults(
        &example("coordinator.toml"),
        &["[database]", "url", "password"],
    );
    let text = text
        .replace("0.0.0.0:7600", &format!("127.0.0.1:{listen}"))
        .replace("127.0.0.1:7601", &format!("127.0.0.1:{health}"))
        .replace("/var/lib/holdfast", state.to_str().unwrap());
    assert!(text.contains("\nattempts = 3"), "{text}");
    let config = folder.path("coordinator.toml");
    fs::write(&config, text).unwrap();
    let mut command = process::command(&binary("holdfast-coordinator"), None);
    command.arg("serve").arg("--config").arg(&config);
    let log = folder.path("coordinator.log");
    let mut coordinator =
        holdfast_tests::Process::start("coordinator", command, &log, folder.transcript());
    wait::until_true("the coordinator to listen", wait::seconds(30), || {
        coordinator.assert_running();
        std::net::TcpStream::connect(("127.0.0.1", health)).is_ok()
            && std::net::TcpStream::connect(("127.0.0.1", listen)).is_ok()
    });
    assert!(
        http::request("GET", listen, "/").is_none(),
        "the one port speaks without TLS"
    );
}

#[test]
fn the_operators_example_lacks_nothing_but_the_identity() {
    let path = root().join("deploy/example/ctl.toml");
    let output = Command::new(binary("holdfastctl"))
        .arg("--config")
        .arg(&path)
        .arg("status")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("operator.pem"), "{said}");
}

#[test]
fn the_units_start_what_exists_and_do_not_restart_what_was_refused() {
    for name in ["coordinator", "agent"] {
        let unit =
            fs::read_to_string(root().join(format!("deploy/systemd/holdfast-{name}.service")))
                .unwrap();
        let setting = |key: &str| {
            unit.lines()
                .find_map(|line| line.strip_prefix(&format!("{key}=")))
                .unwrap_or_default()
        };
        let command = setting("ExecStart").trim_start_matches("/usr/local/bin/");
        let words = shell_words(command);
        let output = Command::new(binary(&words[0]))
            .args(&words[1..])
            .arg("--help")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert!(
            setting("RestartPreventExitStatus")
                .split(' ')
                .any(|code| code == "3"),
            "{name}"
        );
        assert_eq!(setting("NoNewPrivileges"), "yes", "{name}");
    }
}

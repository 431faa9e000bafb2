//! The last lines of a run: what it came to, where things are now, and what to do next.

use holdfast_proto::{convert::run_state, run::RunState, v1};
use v1::run_result::Result as Outcome;

use crate::exit::{Class, CommandError};
use crate::output::human::{clean, count, duration, share, short, size};
use crate::output::view;

/// A run that succeeded, in lines; anything else as the command's error.
pub fn conclude(run: &v1::Run) -> Result<Vec<String>, CommandError> {
    let outcome = run
        .result
        .as_ref()
        .and_then(|result| result.result.as_ref());
    match (run_state(run.state), outcome) {
        (Some(RunState::Succeeded), Some(Outcome::Backup(backup))) => Ok(backup_lines(run, backup)),
        (Some(RunState::Succeeded), Some(Outcome::Restore(restore))) => {
            Ok(restore_lines(run, restore))
        }
        (Some(RunState::Succeeded), Some(Outcome::DroppedCopy(name))) => {
            Ok(vec![format!("dropped {}", clean(name))])
        }
        (Some(RunState::Succeeded), _) => Ok(vec![format!("run {} succeeded", run.id)]),
        (Some(RunState::Cancelled), outcome) => Err(cancelled(run, outcome)),
        (Some(RunState::Failed), Some(Outcome::Failure(failure))) => Err(failed(run, failure)),
        (state, _) => Err(unexplained(run, state)),
    }
}

fn source(run: &v1::Run) -> String {
    clean(run.spec.as_ref().map_or("", |spec| &spec.source))
}

/// Seconds from hand-out to end.
fn took(run: &v1::Run) -> String {
    let started = match run.started_at_micros {
        0 => run.created_at_micros,
        started => started,
    };
    let micros = run.finished_at_micros.saturating_sub(started).max(0);
    match micros {
        0..10_000_000 => format!("{:.1} s", micros as f64 / 1e6),
        _ => duration(micros.unsigned_abs() / 1_000_000),
    }
}

fn backup_lines(run: &v1::Run, backup: &v1::BackupResult) -> Vec<String> {
    let mut lines = vec![
        format!("backed up {}: snapshot {}", source(run), backup.snapshot_id),
        format!(
            "  read {}, new {} ({} of what was read), stored {}; {} in {}",
            size(backup.read_bytes),
            size(backup.new_bytes),
            share(backup.new_bytes, backup.read_bytes),
            size(backup.stored_bytes),
            count(backup.files, "file"),
            took(run),
        ),
    ];
    lines.extend(warnings(&backup.warnings));
    lines
}

fn restore_lines(run: &v1::Run, restore: &v1::RestoreResult) -> Vec<String> {
    let spec = match run.spec.as_ref().and_then(|spec| spec.detail.as_ref()) {
        Some(v1::run_spec::Detail::Restore(spec)) => spec.clone(),
        _ => v1::RestoreSpec::default(),
    };
    let mut lines = vec![format!(
        "restored {} from snapshot {}: read {} in {}",
        source(run),
        short(&spec.snapshot_id),
        size(restore.read_bytes),
        took(run),
    )];
    for database in &restore.databases {
        lines.extend(database_lines(&source(run), database));
    }
    lines.extend(warnings(&restore.warnings));
    lines
}

fn database_lines(source: &str, database: &v1::RestoredDatabase) -> Vec<String> {
    let content = format!(
        "{}, {}",
        count(database.tables, "table"),
        count(database.rows, "row")
    );
    let name = clean(&database.name);
    let mut lines = match database.restored_as.as_str() {
        same if same == database.name => vec![format!("  {name}: {content}")],
        other => vec![format!("  {name}: {content}, as {}", clean(other))],
    };
    if !database.previous_as.is_empty() {
        let previous = clean(&database.previous_as);
        lines.push(format!("    as it was before: {previous}"));
        // A name that begins like an option would be taken for one.
        let dashes = if previous.starts_with('-') { "-- " } else { "" };
        lines.push(format!(
            "    once nobody needs it: holdfastctl source drop-copy {dashes}{source} {}",
            shell_word(&database.previous_as)
        ));
    }
    lines
}

fn warnings(warnings: &[String]) -> impl Iterator<Item = String> {
    warnings
        .iter()
        .map(|warning| format!("  warning: {}", clean(warning)))
}

/// A name as a shell takes it for one word.
pub fn shell_word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ':');
    if !name.is_empty() && name.chars().all(plain) {
        return name.to_owned();
    }
    if name.chars().any(char::is_control) {
        // The one way to write them that stays on a line: bash, zsh and ksh know it.
        let escaped: String = name
            .chars()
            .map(|c| match c {
                '\'' | '\\' => format!("\\{c}"),
                c if c.is_control() => c
                    .to_string()
                    .bytes()
                    .map(|b| format!("\\{b:03o}"))
                    .collect(),
                c => c.into(),
            })
            .collect();
        return format!("$'{escaped}'");
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

fn failed(run: &v1::Run, failure: &v1::Failure) -> CommandError {
    let class = match v1::FailureClass::try_from(failure.class) {
        Ok(v1::FailureClass::Refused) => Class::Refused,
        _ => Class::Failed,
    };
    let verb = if class == Class::Refused {
        "was refused"
    } else {
        "failed"
    };
    CommandError::new(
        class,
        format!("{} {verb}: {}", subject(run), clean(&failure.message)),
    )
    .hint(hint_or_logs(run, &failure.hint))
}

fn cancelled(run: &v1::Run, outcome: Option<&Outcome>) -> CommandError {
    let by = match outcome {
        Some(Outcome::CancelledBy(who)) if !who.is_empty() => format!(" by {}", clean(who)),
        _ => String::new(),
    };
    CommandError::new(
        Class::Cancelled,
        format!("{} was cancelled{by}", subject(run)),
    )
}

fn unexplained(run: &v1::Run, state: Option<RunState>) -> CommandError {
    let message = match state {
        Some(RunState::Lost) => format!(
            "{} is lost: its agent stopped answering, and nobody can say what became of it",
            subject(run)
        ),
        _ => format!("{} ended as {}", subject(run), view::state(run.state)),
    };
    CommandError::failed(message).hint(hint_or_logs(run, ""))
}

/// `the backup of orders-db (run 0190...)`.
pub fn subject(run: &v1::Run) -> String {
    let spec = run.spec.clone().unwrap_or_default();
    let what = match view::kind(&spec) {
        "restore" => "the restore into",
        "drop-copy" => "dropping the copy on",
        _ => "the backup of",
    };
    format!("{what} {} (run {})", clean(&spec.source), run.id)
}

fn hint_or_logs(run: &v1::Run, hint: &str) -> String {
    match hint {
        "" => format!("holdfastctl run logs {}", run.id),
        hint => clean(hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_shell() {
        assert_eq!(shell_word("app_before_0190"), "app_before_0190");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn the_command_that_drops_a_copy_can_be_pasted() {
        for name in [
            "app_b",
            "-d evil_b",
            "new\nline's \\ \u{85}_b",
            "x=y $z_b",
            "Bücher_b",
        ] {
            let database = v1::RestoredDatabase {
                name: "app".into(),
                restored_as: "app".into(),
                previous_as: name.into(),
                ..Default::default()
            };
            let lines = database_lines("orders-db", &database);
            let (_, command) = lines[2].split_once(": ").expect("a command");
            assert!(!command.contains(char::is_control), "{command:?}");
            let script = format!("printf '%s\\0' {command}");
            let said = std::process::Command::new("bash")
                .args(["-c", &script])
                .output();
            let words = String::from_utf8(said.expect("bash runs").stdout).expect("text");
            let words: Vec<&str> = words.trim_end_matches('\0').split('\0').collect();
            assert_eq!(words.last(), Some(&name), "{command}");
            let parsed = crate::cli::command().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{command}");
        }
    }
}

//! Help, completions and man pages: what a person sees before anything is asked of a coordinator.

#![allow(clippy::expect_used)]

mod fake;

use fake::{bare_ctl, run};

#[test]
fn the_help_names_the_commands_and_the_exit_codes() {
    let said = run(bare_ctl(&["--help"])).expect_code(0);
    insta::assert_snapshot!(said.out);
}

#[test]
fn the_help_of_what_matters_most_is_stable() {
    let said = run(bare_ctl(&["restore", "-h"])).expect_code(0);
    insta::assert_snapshot!(said.out);
}

#[test]
fn every_command_has_help_and_none_shows_a_way_to_pass_secrets() {
    let commands: [&[&str]; 20] = [
        &["status"],
        &["backup"],
        &["restore"],
        &["run", "list"],
        &["run", "show"],
        &["run", "logs"],
        &["run", "cancel"],
        &["snapshot", "list"],
        &["snapshot", "show"],
        &["snapshot", "files"],
        &["snapshot", "export"],
        &["source", "list"],
        &["source", "show"],
        &["source", "drop-copy"],
        &["agent", "list"],
        &["agent", "invite"],
        &["agent", "revoke"],
        &["vault", "add"],
        &["vault", "kit"],
        &["vault", "scan"],
    ];
    for command in commands {
        let arguments = [command, &["--help"]].concat();
        let said = run(bare_ctl(&arguments))
            .expect_code(0)
            .out_has(&["Exit codes:", "3  refused"]);
        assert!(
            !said.out.contains("--secret") && !said.out.contains("--access-key"),
            "{}",
            said.out
        );
    }
}

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let said = run(bare_ctl(&["completions", shell])).expect_code(0);
        assert!(said.out.contains("drop-copy"), "{shell}");
    }
    run(bare_ctl(&["completions", "tcl"])).expect_code(2);
}

#[test]
fn man_pages_are_written_for_each_command() {
    let folder = tempfile::tempdir().expect("temp");
    let target = folder.path().join("man1");
    run(bare_ctl(&["man", &target.display().to_string()])).expect_code(0);
    for page in [
        "holdfastctl.1",
        "holdfastctl-restore.1",
        "holdfastctl-vault-add.1",
    ] {
        let text = std::fs::read_to_string(target.join(page)).expect(page);
        assert!(text.contains("Exit codes"), "{page}");
    }
    run(bare_ctl(&["man", "/proc/nowhere"]))
        .expect_code(1)
        .err_has(&["/proc/nowhere"]);
}

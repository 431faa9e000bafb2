//! `snapshot list`, `files` and `export` on a real repository: with a coordinator's grant, and with the recovery kit alone.

#![allow(clippy::expect_used)]

mod fake;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use fake::{Coordinator, Vault, bare_ctl, run};
use secrecy::ExposeSecret;

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a program makes of a file on its standard output.
fn unpacked(program: &str, path: &Path) -> Vec<u8> {
    let output = Command::new(program)
        .args(["-dc".as_ref(), path.as_os_str()])
        .output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program} is needed for this test (apt-get install {program}): {error}")
    });
    assert!(output.status.success());
    output.stdout
}

#[test]
fn a_kit_is_enough_to_see_what_is_there() {
    let vault = Vault::new();
    let said = vault.offline(&["snapshot", "list"]).expect_code(0);
    let (newer, older) = (
        said.out.find(&vault.second[..8]),
        said.out.find(&vault.first[..8]),
    );
    assert!(
        newer.expect("listed") < older.expect("listed"),
        "{}",
        said.out
    );
    assert_eq!(said.err, "");
    let json = vault
        .offline(&["snapshot", "list", "--json", "--limit", "1"])
        .expect_code(0)
        .json();
    assert_eq!(json["snapshots"].as_array().expect("a list").len(), 1);
    assert_eq!(json["snapshots"][0]["epoch"], 1);
    assert_eq!(json["snapshots"][0]["standing"], serde_json::Value::Null);
    vault
        .offline(&["snapshot", "files", "latest"])
        .expect_code(0)
        .out_has(&[
            "manifest.json",
            "globals.sql",
            "databases/my%20app.dump",
            "11.4 MiB",
        ]);
    assert_eq!(vault.locks(), 0, "no lock stays behind");
}

#[test]
fn a_kit_is_enough_to_take_everything_out() {
    let vault = Vault::new();
    vault
        .offline(&["snapshot", "export", "latest", "out"])
        .expect_code(0)
        .out_has(&["out/databases/my%20app.dump"])
        .err_has(&[
            "psql -X -d postgres -f out/globals.sql",
            "pg_restore --create -d postgres 'out/databases/my%20app.dump'",
        ]);
    assert!(read(&vault.path("out/databases/my%20app.dump")) == vault.dump);
    assert_eq!(read(&vault.path("out/globals.sql")), b"CREATE ROLE ann;\n");
    assert_eq!(vault.names(), ["kit.txt", "out", "vault"]);
    assert_eq!(vault.locks(), 0);
}

#[test]
fn one_file_is_taken_out_plain_or_compressed() {
    let vault = Vault::new();
    let export = |target: &str, how: &str| {
        let arguments = [
            "snapshot",
            "export",
            &vault.second[..10],
            target,
            "--file",
            "databases/my%20app.dump",
            "--compress",
            how,
        ];
        vault.offline(&arguments).expect_code(0)
    };
    export("plain", "none");
    assert!(read(&vault.path("plain")) == vault.dump);
    export("app.gz", "gzip").err_has(&[]);
    assert!(unpacked("gzip", &vault.path("app.gz")) == vault.dump);
    export("app.zst", "zstd");
    assert!(unpacked("zstd", &vault.path("app.zst")) == vault.dump);
    let json = vault
        .offline(&[
            "snapshot",
            "export",
            "latest",
            "sub/g.sql",
            "--file",
            "/orders-db/globals.sql",
            "--json",
        ])
        .expect_code(0)
        .json();
    assert_eq!(json["files"][0]["from"], "globals.sql");
    assert_eq!(json["files"][0]["size_bytes"], 17);
}

#[test]
fn nothing_is_overwritten_without_force() {
    let vault = Vault::new();
    std::fs::write(vault.path("app"), "mine").expect("written");
    let file = [
        "snapshot",
        "export",
        "latest",
        "app",
        "--file",
        "globals.sql",
    ];
    vault
        .offline(&file)
        .expect_code(3)
        .err_has(&["app exists already", "--force"]);
    assert_eq!(read(&vault.path("app")), b"mine");
    vault
        .offline(&[&file[..], &["--force"]].concat())
        .expect_code(0);
    assert_eq!(read(&vault.path("app")), b"CREATE ROLE ann;\n");

    std::fs::create_dir(vault.path("out")).expect("made");
    vault
        .offline(&["snapshot", "export", "latest", "out"])
        .expect_code(0);
    std::fs::write(vault.path("out/globals.sql"), "mine").expect("written");
    std::fs::write(vault.path("out/other"), "mine").expect("written");
    let whole = ["snapshot", "export", "latest", "out"];
    vault
        .offline(&whole)
        .expect_code(3)
        .err_has(&["out is not empty"]);
    assert_eq!(read(&vault.path("out/globals.sql")), b"mine");
    vault
        .offline(&[&whole[..], &["--force"]].concat())
        .expect_code(0);
    assert_eq!(read(&vault.path("out/globals.sql")), b"CREATE ROLE ann;\n");
    assert_eq!(read(&vault.path("out/other")), b"mine");
}

#[test]
fn damage_leaves_no_file_behind() {
    let vault = Vault::new();
    let mut packs = Vec::new();
    for folder in std::fs::read_dir(vault.path("vault/orders-db/data")).expect("data") {
        let files = std::fs::read_dir(folder.expect("folder").path()).expect("packs");
        packs.extend(files.map(|file| file.expect("pack").path()));
    }
    let largest = packs
        .iter()
        .max_by_key(|path| std::fs::metadata(path).expect("there").len());
    let largest = largest.expect("a pack");
    let mut bytes = read(largest);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(largest, bytes).expect("damaged");
    vault
        .offline(&["snapshot", "export", "latest", "out"])
        .expect_code(1)
        .err_has(&["my%20app.dump", "damaged"]);
    assert_eq!(vault.names(), ["kit.txt", "vault"], "nothing half made");
    assert_eq!(vault.locks(), 0);
}

#[test]
fn what_is_not_in_the_vault_is_told() {
    let vault = Vault::new();
    vault
        .offline(&["snapshot", "files", "ffff0000"])
        .expect_code(5)
        .err_has(&["no snapshot \"ffff0000\" of orders-db"]);
    vault
        .offline(&[
            "snapshot",
            "export",
            "latest",
            "x",
            "--file",
            "databases/none.dump",
        ])
        .expect_code(5)
        .err_has(&["no file \"databases/none.dump\" among its 3 files"]);
    let mut command = bare_ctl(&[
        "snapshot", "list", "--kit", "kit.txt", "--source", "order-db",
    ]);
    command.current_dir(vault.folder.path());
    run(command)
        .expect_code(5)
        .err_has(&["sources when the kit was printed: orders-db"]);
    let mut other = vault.kit.clone();
    other.secret = "ee".repeat(32).into();
    std::fs::write(vault.path("kit.txt"), other.to_string()).expect("written");
    vault
        .offline(&["snapshot", "list"])
        .expect_code(1)
        .err_has(&["password does not open"]);
}

#[test]
fn a_kit_open_to_others_is_told_and_used() {
    let vault = Vault::new();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(vault.path("kit.txt"), open).expect("mode");
    vault
        .offline(&["snapshot", "list"])
        .expect_code(0)
        .err_has(&["warning: others on this host can read kit.txt"]);
}

#[test]
fn a_kit_of_a_bucket_needs_the_storages_credentials() {
    let vault = Vault::new();
    let text = vault
        .kit
        .to_string()
        .replace(&vault.kit.address.to_string(), "s3://backups/prod");
    let text = text.replace(
        "secret: ",
        "endpoint:   http://127.0.0.1:1\nregion:     us-east-1\npath style: yes\nsecret: ",
    );
    std::fs::write(vault.path("kit.txt"), text).expect("written");
    vault
        .offline(&["snapshot", "list"])
        .expect_code(2)
        .err_has(&["the storage's credentials are missing"]);
}

#[test]
fn with_a_coordinator_the_grant_opens_the_repository() {
    let (coordinator, vault) = (Coordinator::start(), Vault::new());
    coordinator.with(|state| state.read_grant = vault.grant());
    run(coordinator.ctl(&["snapshot", "files", &vault.second[..8]]))
        .expect_code(0)
        .out_has(&["databases/my%20app.dump"]);
    let said =
        run(coordinator.ctl(&["snapshot", "export", &vault.second[..8], "out"])).expect_code(0);
    assert!(read(&coordinator.file("out/databases/my%20app.dump")) == vault.dump);
    let password = vault.kit.password("orders-db");
    assert!(!format!("{}{}", said.out, said.err).contains(password.expose_secret()));
    let asked = coordinator.asked();
    assert!(
        asked[1].contains("purpose: \"snapshot export\""),
        "{asked:?}"
    );
}

#[test]
fn a_folder_of_another_host_is_not_taken_for_an_empty_vault() {
    let (coordinator, vault) = (Coordinator::start(), Vault::new());
    let mut grant = vault.grant();
    grant.grant.as_mut().expect("set").vault_address = "file:///srv/nowhere".into();
    coordinator.with(|state| state.read_grant = grant);
    run(coordinator.ctl(&["snapshot", "files", &vault.second[..8]]))
        .expect_code(4)
        .err_has(&["/srv/nowhere on its agent's host", "--kit FILE"]);
}

#[test]
fn an_interrupted_export_leaves_nothing() {
    let vault = Vault::new();
    let program = assert_cmd::cargo::cargo_bin!("holdfastctl");
    let child = Command::new(program)
        .args(["snapshot", "export", "latest", "out", "--compress", "gzip"])
        .args(["--kit", "kit.txt", "--source", "orders-db"])
        .current_dir(vault.folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    for _ in 0..2000 {
        if vault
            .names()
            .iter()
            .any(|name| name.starts_with(".holdfast-export-"))
        {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let stopped = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(stopped.expect("kill").success());
    let output = child.wait_with_output().expect("ended");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{err}");
    assert!(err.contains("cancelled; nothing was written"), "{err}");
    assert_eq!(vault.names(), ["kit.txt", "vault"]);
    assert_eq!(vault.locks(), 0, "the lock is given back");
}

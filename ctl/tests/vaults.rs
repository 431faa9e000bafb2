//! `vault`: credentials come by safe ways only, the recovery kit reaches the operator, and neither is ever shown elsewhere.

#![allow(clippy::expect_used)]

mod fake;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fake::{Coordinator, Said, run};
use tonic::Status;

const KEYS: &str = "[default]\naws_access_key_id = AKIDFILE\naws_secret_access_key = hush-file\n";

fn write(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).expect("written");
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).expect("mode");
}

fn add(coordinator: &Coordinator, more: &[&str]) -> Said {
    let mut arguments = vec!["vault", "add", "primary", "s3://backups/prod"];
    arguments.extend(more);
    run(coordinator.ctl(&arguments))
}

fn sent(coordinator: &Coordinator) -> Option<holdfast_proto::v1::AddVaultRequest> {
    coordinator
        .state
        .lock()
        .expect("lock")
        .add_vault_request
        .clone()
}

#[test]
fn credentials_of_a_file_reach_the_coordinator_and_nothing_else() {
    let coordinator = Coordinator::start();
    write(&coordinator.file("keys"), KEYS, 0o600);
    let more = [
        "--credentials-file",
        "keys",
        "--endpoint",
        "http://127.0.0.1:8333",
        "--region",
        "eu",
        "--role-arn",
        "arn:aws:iam::1:role/r",
        "--default",
    ];
    let said = add(&coordinator, &more).expect_code(0);
    let said = said.out_has(&[
        "ok  write",
        "NO  object lock",
        "added vault primary",
        "HOLDFAST RECOVERY KIT",
    ]);
    assert!(!said.out.contains("hush") && !said.err.contains("hush"));
    let request = sent(&coordinator).expect("sent");
    assert_eq!(request.access_key_id, "AKIDFILE");
    assert_eq!(request.secret_access_key, "hush-file");
    assert_eq!(
        (request.region.as_str(), request.make_default),
        ("eu", true)
    );
    assert_eq!(request.endpoint, "http://127.0.0.1:8333");
    assert_eq!(request.role_arn, "arn:aws:iam::1:role/r");
    assert_eq!(request.vault_secret, "");
}

#[test]
fn credentials_of_the_environment_are_taken_ours_first() {
    let coordinator = Coordinator::start();
    let with = |names: &[(&str, &str)]| {
        let mut command = coordinator.ctl(&["vault", "add", "primary", "s3://backups"]);
        command.envs(names.iter().copied());
        run(command)
    };
    let aws = [
        ("AWS_ACCESS_KEY_ID", "AKIDAWS"),
        ("AWS_SECRET_ACCESS_KEY", "hush-aws"),
    ];
    let ours = [
        ("HOLDFAST_ACCESS_KEY_ID", "AKIDOURS"),
        ("HOLDFAST_SECRET_ACCESS_KEY", "hush-ours"),
    ];
    with(&aws).expect_code(0);
    assert_eq!(
        sent(&coordinator).expect("sent").secret_access_key,
        "hush-aws"
    );
    with(&[aws, ours].concat()).expect_code(0);
    let request = sent(&coordinator).expect("sent");
    assert_eq!(request.secret_access_key, "hush-ours");
    assert_eq!(request.region, "us-east-1");
    with(&ours[..1])
        .expect_code(2)
        .err_has(&["HOLDFAST_SECRET_ACCESS_KEY is not"]);
    let session = [aws[0], aws[1], ("AWS_SESSION_TOKEN", "t")];
    with(&session)
        .expect_code(2)
        .err_has(&["a session's, which ends", "--role-arn"]);
}

#[test]
fn credentials_are_asked_for_by_name_when_there_are_none() {
    let coordinator = Coordinator::start();
    add(&coordinator, &[])
        .expect_code(2)
        .err_has(&["--credentials-file FILE", "HOLDFAST_ACCESS_KEY_ID"]);
    write(&coordinator.file("keys"), KEYS, 0o644);
    add(&coordinator, &["--credentials-file", "keys"])
        .expect_code(2)
        .err_has(&["keys"]);
    write(
        &coordinator.file("keys"),
        "aws_access_key_id = A\naws_secret = hush\n",
        0o600,
    );
    let said = add(&coordinator, &["--credentials-file", "keys"])
        .expect_code(2)
        .err_has(&["keys:2: unknown name"]);
    assert!(!said.err.contains("hush"), "{}", said.err);
    assert!(sent(&coordinator).is_none());
}

#[test]
fn credentials_as_arguments_are_refused_and_not_repeated() {
    let coordinator = Coordinator::start();
    for more in [
        &["--access-key-id", "AKID-hush"][..],
        &["--secret-access-key", "hush"],
        &["--secret-key=hush"],
        &["--password", "hush"],
        &["--endpoint", "http://AKID:hush@127.0.0.1:8333"],
    ] {
        let said = add(&coordinator, more).expect_code(2);
        let said = said.err_has(&["not taken from the command line", "--credentials-file FILE"]);
        assert!(!said.err.contains("hush"), "{}", said.err);
    }
    let said = run(coordinator.ctl(&["vault", "add", "primary", "s3://AKID:hush@backups/prod"]))
        .expect_code(2);
    assert!(!said.err.contains("hush"), "{}", said.err);
    assert_eq!(coordinator.asked(), Vec::<String>::new());
}

#[test]
fn a_folder_needs_no_credentials_and_takes_none() {
    let coordinator = Coordinator::start();
    let arguments = ["vault", "add", "local", "file:///srv/vault"];
    run(coordinator.ctl(&arguments)).expect_code(0);
    assert_eq!(sent(&coordinator).expect("sent").access_key_id, "");
    let with_region = [&arguments[..], &["--region", "eu"]].concat();
    run(coordinator.ctl(&with_region))
        .expect_code(2)
        .err_has(&["--region is for s3:// vaults"]);
    run(coordinator.ctl(&["vault", "add", "local", "/srv/vault"]))
        .expect_code(2)
        .err_has(&["expected s3://bucket/prefix or file:///folder"]);
    run(coordinator.ctl(&["vault", "add", "local"])).expect_code(2);
}

#[test]
fn the_kit_goes_into_a_private_file_when_asked() {
    let coordinator = Coordinator::start();
    let arguments = [
        "vault",
        "add",
        "local",
        "file:///srv/vault",
        "--kit-out",
        "kit.txt",
    ];
    let said = run(coordinator.ctl(&arguments)).expect_code(0);
    assert!(!said.out.contains("RECOVERY KIT"), "{}", said.out);
    let path = coordinator.file("kit.txt");
    assert_eq!(
        std::fs::read_to_string(&path).expect("read"),
        fake::kit().to_string()
    );
    assert_eq!(
        std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let asked = coordinator.asked().len();
    run(coordinator.ctl(&arguments))
        .expect_code(3)
        .err_has(&["kit.txt exists already"]);
    assert_eq!(
        coordinator.asked().len(),
        asked,
        "nothing was added without a place for its kit"
    );
}

#[test]
fn a_vault_that_was_not_added_leaves_no_empty_kit() {
    let coordinator = Coordinator::start();
    coordinator.with(|state| {
        state.errors.insert(
            "add_vault",
            Status::failed_precondition("the bucket is missing\nhint: make it"),
        );
    });
    run(coordinator.ctl(&[
        "vault",
        "add",
        "local",
        "file:///srv/vault",
        "--kit-out",
        "kit.txt",
    ]))
    .expect_code(3)
    .err_has(&["the bucket is missing", "hint: make it"]);
    assert!(!coordinator.file("kit.txt").exists());
    coordinator.with(|state| {
        state.errors.clear();
        state.add_vault.vault = None;
    });
    run(coordinator.ctl(&["vault", "add", "local", "file:///srv/vault"]))
        .expect_code(3)
        .out_has(&["NO  object lock"])
        .err_has(&["no vault was added"]);
}

#[test]
fn a_lost_coordinators_vault_is_taken_over_by_its_kit() {
    let coordinator = Coordinator::start();
    write(
        &coordinator.file("kit.txt"),
        &fake::kit().to_string(),
        0o600,
    );
    run(coordinator.ctl(&["vault", "add", "again", "--kit-file", "kit.txt"])).expect_code(0);
    let request = sent(&coordinator).expect("sent");
    assert_eq!(request.address, "file:///srv/vault");
    assert_eq!(request.vault_secret, "ab".repeat(32));
    write(
        &coordinator.file("torn.txt"),
        "HOLDFAST RECOVERY KIT\nvault: x\n",
        0o600,
    );
    run(coordinator.ctl(&["vault", "add", "again", "--kit-file", "torn.txt"]))
        .expect_code(2)
        .err_has(&["torn.txt: this is not a whole recovery kit"]);
}

#[test]
fn the_kit_is_printed_again_on_request() {
    let coordinator = Coordinator::start();
    let said = run(coordinator.ctl(&["vault", "kit", "primary"])).expect_code(0);
    assert_eq!(said.out.trim(), fake::kit().to_string().trim_end());
    let json = run(coordinator.ctl(&["vault", "kit", "primary", "--kit-out", "k", "--json"]))
        .expect_code(0)
        .json();
    assert_eq!(json["kit"], serde_json::Value::Null);
    assert_eq!(json["kit_file"], "k");
}

#[test]
fn a_scan_with_problems_is_not_a_success() {
    let coordinator = Coordinator::start();
    run(coordinator.ctl(&["vault", "scan", "primary"]))
        .expect_code(0)
        .out_has(&["primary: 5 snapshots in repositories of 2 sources; 3 new in the catalog"]);
    coordinator.with(|state| {
        state.scan.problems = vec!["orders-db: the password does not open it".into()]
    });
    run(coordinator.ctl(&["vault", "scan", "primary"]))
        .expect_code(1)
        .err_has(&[
            "not complete: 1 problem",
            "- orders-db: the password does not open it",
        ]);
    let said = run(coordinator.ctl(&["vault", "scan", "primary", "--json"])).expect_code(1);
    assert_eq!(
        said.json()["problems"][0],
        "orders-db: the password does not open it"
    );
}

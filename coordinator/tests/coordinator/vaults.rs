//! Adding vaults, their kits, and taking over what lies there.

use holdfast_proto::v1;
use holdfast_vault::{RecoveryKit, Repository, Storage};
use secrecy::ExposeSecret as _;
use tonic::Code;

use crate::support::installation::contents;
use crate::support::{Database, Installation, on_both};

fn request(name: &str, address: &str) -> v1::AddVaultRequest {
    v1::AddVaultRequest {
        name: name.into(),
        address: address.into(),
        ..Default::default()
    }
}

on_both!(a_folder_becomes_a_vault_with_its_kit);

async fn a_folder_becomes_a_vault_with_its_kit(database: Database) {
    let at = Installation::new(database);
    let running = at.start().await;
    let mut control = at.admin().await;
    let added = at.add_vault(&mut control, "main").await;
    let vault = added.vault.expect("a vault");
    assert!(vault.is_default, "the first is the default");
    assert_eq!(vault.credentials, "none");
    assert!(!vault.append_only && !vault.append_only_detail.is_empty());
    assert!(
        added
            .findings
            .iter()
            .any(|finding| finding.name == "read back" && finding.ok)
    );
    assert!(
        contents(&at.vault_folder("main")).is_empty(),
        "the probe leaves nothing"
    );

    let kit = RecoveryKit::parse(&added.kit).expect("a kit");
    let asked = v1::GetVaultKitRequest {
        name: "main".into(),
    };
    let again = control
        .get_vault_kit(asked)
        .await
        .expect("printed")
        .into_inner();
    let again = RecoveryKit::parse(&again.kit).expect("a kit");
    assert_eq!(kit.secret.expose_secret(), again.secret.expose_secret());

    at.add_vault(&mut control, "second").await;
    let vaults = control
        .list_vaults(v1::ListVaultsRequest {})
        .await
        .expect("listed")
        .into_inner()
        .vaults;
    let defaults: Vec<bool> = vaults.iter().map(|vault| vault.is_default).collect();
    assert_eq!(defaults, [true, false]);
    let third = v1::AddVaultRequest {
        make_default: true,
        ..request(
            "third",
            &format!("file://{}", at.vault_folder("third").display()),
        )
    };
    control.add_vault(third).await.expect("added");
    let vaults = control
        .list_vaults(v1::ListVaultsRequest {})
        .await
        .expect("listed")
        .into_inner()
        .vaults;
    let defaults: Vec<&str> = vaults
        .iter()
        .filter(|v| v.is_default)
        .map(|v| v.name.as_str())
        .collect();
    assert_eq!(defaults, ["third"]);

    running.stop().await;
    // The secret is nowhere in the state, and every look at it stands in the audit log.
    for (path, bytes) in contents(&at.dir()) {
        let secret = kit.secret.expose_secret().as_bytes();
        assert!(
            !bytes.windows(secret.len()).any(|w| w == secret),
            "{}",
            path.display()
        );
    }
    let (store, _lock) = crate::store_schema::open(&at).await;
    let mut connection = store.read().await.expect("readable");
    let rows = holdfast_coordinator::store::audit::list(&mut connection, 0, 100)
        .await
        .expect("listed");
    assert!(
        rows.iter()
            .any(|row| row.action == "vault.kit" && row.actor == "operator ann")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_vault_is_refused_and_leaves_nothing() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let main = format!("file://{}", at.vault_folder("main").display());
    let s3 = |change: fn(&mut v1::AddVaultRequest)| {
        let mut request = request("s3", "s3://bucket/prefix");
        request.endpoint = "http://127.0.0.1:9".into();
        request.access_key_id = "key".into();
        request.secret_access_key = "secret".into();
        change(&mut request);
        request
    };
    let cases = [
        (request("x", "ftp://host/x"), Code::InvalidArgument),
        (
            request("Not A Name", "file:///tmp/x"),
            Code::InvalidArgument,
        ),
        (
            request("main", "file:///tmp/other"),
            Code::FailedPrecondition,
        ),
        (request("other", &main), Code::FailedPrecondition),
        (
            request("x", "file:///proc/holdfast"),
            Code::FailedPrecondition,
        ),
        (s3(|r| r.secret_access_key.clear()), Code::InvalidArgument),
        (
            s3(|r| r.endpoint = "nonsense".into()),
            Code::InvalidArgument,
        ),
        (s3(|r| r.vault_secret = "12".into()), Code::InvalidArgument),
        (
            s3(|r| r.address = "file:///tmp/x".into()),
            Code::InvalidArgument,
        ),
    ];
    for (request, code) in cases {
        let refused = control
            .add_vault(request.clone())
            .await
            .expect_err("refused");
        assert_eq!(refused.code(), code, "{request:?}: {}", refused.message());
    }
    let vaults = control
        .list_vaults(v1::ListVaultsRequest {})
        .await
        .expect("listed")
        .into_inner()
        .vaults;
    assert_eq!(vaults.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_of_a_lost_state_is_taken_over_with_its_kit_only() {
    let lost = Installation::new(Database::Sqlite);
    let running = lost.start().await;
    let mut control = lost.admin().await;
    let kit = lost.add_vault(&mut control, "main").await.kit;
    let kit = RecoveryKit::parse(&kit).expect("a kit");
    running.stop().await;
    let storage = Storage::open(&kit.address, None, None).expect("open");
    Repository::create(storage.subfolder("orders"), &kit.password("orders"))
        .await
        .expect("made");

    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let address = kit.address.to_string();
    let refused = control
        .add_vault(request("main", &address))
        .await
        .expect_err("another's");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("orders"),
        "{}",
        refused.message()
    );
    let wrong = v1::AddVaultRequest {
        vault_secret: "0".repeat(64),
        ..request("main", &address)
    };
    let refused = control.add_vault(wrong).await.expect_err("another secret");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let right = v1::AddVaultRequest {
        vault_secret: kit.secret.expose_secret().into(),
        ..request("main", &address)
    };
    control.add_vault(right).await.expect("taken over");
    running.stop().await;
}

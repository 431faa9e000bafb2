//! Opening the state: one coordinator at a time, never an older program on newer tables.

use holdfast_coordinator::app::{EXIT_REFUSED, ServeError};
use holdfast_coordinator::store::{Store, StoreError};
use holdfast_proto::v1;

use crate::support::{Database, Installation, on_both};

/// Opens the state of an installation that is not serving.
pub async fn open(at: &Installation) -> (Store, impl Sized) {
    let place = at.load_config().place(&at.dir()).expect("a place");
    Store::open(&place).await.expect("opened")
}

on_both!(
    a_second_coordinator_is_refused,
    a_newer_schema_is_refused_and_not_touched,
    the_state_survives_a_restart,
);

async fn a_second_coordinator_is_refused(database: Database) {
    let at = Installation::new(database);
    let running = at.start().await;
    let error = at.start_refused().await;
    assert!(
        matches!(error, ServeError::Store(StoreError::InUse { .. })),
        "{error}"
    );
    assert_eq!(error.exit_code(), EXIT_REFUSED);
    assert!(error.to_string().contains("another coordinator"), "{error}");
    running.stop().await;
    at.start().await.stop().await;
}

async fn a_newer_schema_is_refused_and_not_touched(database: Database) {
    let at = Installation::new(database);
    {
        let (store, _lock) = open(&at).await;
        let mut tx = store.begin().await.expect("begun");
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             SELECT 9999, 'later', success, checksum, 1 FROM _sqlx_migrations WHERE version = 1",
        )
        .execute(&mut *tx)
        .await
        .expect("a later version");
        tx.commit().await.expect("committed");
        store.close().await;
    }
    let error = at.start_refused().await;
    assert!(
        matches!(
            error,
            ServeError::Store(StoreError::NewerSchema { found: 9999, .. })
        ),
        "{error}"
    );
    assert_eq!(error.exit_code(), EXIT_REFUSED);
    let text = error.to_string();
    assert!(
        text.contains("newer coordinator") && text.contains("hint: "),
        "{text}"
    );
}

async fn the_state_survives_a_restart(database: Database) {
    let at = Installation::new(database);
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let status = control
        .status(v1::StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    let word = if database == Database::Sqlite {
        "sqlite"
    } else {
        "postgres"
    };
    assert_eq!(status.database, word);
    running.stop().await;
    let running = at.start().await;
    let mut control = at.admin().await;
    let status = control
        .status(v1::StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    assert_eq!(status.vaults.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_master_key_opens_no_vault() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    at.add_vault(&mut at.admin().await, "main").await;
    running.stop().await;
    let key = at.dir().join("master.key");
    std::fs::remove_file(&key).expect("removed");
    holdfast_coordinator::init::init(&at.options()).expect("a new key");
    let running = at.start().await;
    let request = v1::GetVaultKitRequest {
        name: "main".into(),
    };
    let refused = at
        .admin()
        .await
        .get_vault_kit(request)
        .await
        .expect_err("sealed");
    assert!(
        refused.message().contains("master.key"),
        "{}",
        refused.message()
    );
    running.stop().await;
}

//! Joining and renewing.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use holdfast_agent::enroll::join;
use holdfast_agent::exit::Exit;
use holdfast_agent::renew::keep_renewed;
use holdfast_agent::state::StateFolder;
use holdfast_identity::{IdentitySlot, JoinSecret, JoinToken};
use uuid::Uuid;

use crate::coordinator::{FakeCoordinator, SOON};
use crate::harness::TestAgent;

#[tokio::test]
async fn a_token_becomes_an_identity_that_only_its_owner_can_read() {
    let coordinator = FakeCoordinator::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateFolder::at(folder.path().join("state"));
    let identity = join(&state, &coordinator.token(), false)
        .await
        .expect("joined");
    assert_eq!(identity.peer().name(), "db1");
    assert_eq!(state.address().expect("kept"), coordinator.address());
    let kept = state.identity().load().expect("readable").expect("kept");
    assert_eq!(kept.peer(), identity.peer());
    let mode = |path: &std::path::Path| {
        let meta = std::fs::metadata(path).expect("there");
        meta.permissions().mode() & 0o777
    };
    assert_eq!(mode(state.identity().path()), 0o600);
    assert_eq!(mode(state.path()), 0o700);
    // The key never left: the request carries a public key and a proof alone.
    let joins = coordinator.joins();
    assert_eq!(joins.len(), 1);
    let text = std::fs::read_to_string(state.identity().path()).expect("readable");
    assert!(text.contains("PRIVATE KEY"));
}

#[tokio::test]
async fn an_identity_that_works_is_replaced_only_by_force_and_an_expired_one_freely() {
    let coordinator = FakeCoordinator::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateFolder::at(folder.path());
    coordinator.certificates_last(Duration::from_secs(2));
    join(&state, &coordinator.token(), false)
        .await
        .expect("joined");
    let error = join(&state, &coordinator.token(), false)
        .await
        .expect_err("still valid");
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.to_string().contains("--force"), "{error}");
    assert_eq!(coordinator.joins().len(), 1, "the token was not spent");
    join(&state, &coordinator.token(), true)
        .await
        .expect("by force");
    tokio::time::sleep(Duration::from_secs(3)).await;
    join(&state, &coordinator.token(), false)
        .await
        .expect("expired");
}

#[tokio::test]
async fn a_token_is_spent_only_at_the_coordinator_it_pins() {
    let coordinator = FakeCoordinator::start().await;
    let other = FakeCoordinator::start().await;
    let token = JoinToken::new(
        coordinator.address(),
        other.token().pin(),
        Uuid::now_v7(),
        JoinSecret::from_bytes([7; 32]),
    );
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateFolder::at(folder.path());
    let error = join(&state, &token, false)
        .await
        .expect_err("another authority");
    assert_eq!(error.exit(), Exit::Refused);
    assert!(coordinator.joins().is_empty());
    assert!(!state.identity().exists());
}

#[tokio::test]
async fn a_used_token_and_a_silent_coordinator_are_told_apart() {
    let mut coordinator = FakeCoordinator::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let state = StateFolder::at(folder.path());
    let used = JoinToken::new(
        coordinator.address(),
        coordinator.token().pin(),
        Uuid::now_v7(),
        JoinSecret::from_bytes([8; 32]),
    );
    let error = join(&state, &used, false).await.expect_err("used");
    assert_eq!(error.exit(), Exit::Refused);
    assert!(error.to_string().contains("used already"), "{error}");
    assert!(error.to_string().contains("hint: "), "{error}");
    coordinator.go_away();
    let error = join(&state, &coordinator.token(), false)
        .await
        .expect_err("away");
    assert_eq!(error.exit(), Exit::NotReachable);
    assert!(!state.identity().exists());
}

#[tokio::test]
async fn a_certificate_renews_itself_under_a_session_that_goes_on() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    let short = coordinator.agent_identity("db1", Duration::from_secs(3));
    let serial = short.peer().serial().to_owned();
    agent.slot.replace(short.clone());
    let state = StateFolder::at(agent.folder.path());
    state.identity().save(&short).expect("saved");
    let slot: IdentitySlot = agent.slot.clone();
    tokio::spawn(keep_renewed(
        coordinator.address(),
        slot.clone(),
        state.identity(),
    ));
    let renewed = async {
        while slot.current().peer().serial() == serial {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(SOON, renewed).await.expect("renewed");
    assert_eq!(coordinator.renewals(), 1);
    let kept = state.identity().load().expect("readable").expect("kept");
    assert_eq!(kept.peer(), slot.current().peer());
    assert_eq!(kept.peer().id(), short.peer().id());
    session.begin(&crate::harness::drop_copy("orders-db")).await;
}

//! The link: hello, reconnect, displaced, revoked, versions, and what the sources say of themselves.

use std::sync::Arc;
use std::time::Duration;

use holdfast_agent::session::SessionEnd;
use holdfast_identity::IdentityFiles;
use holdfast_proto::v1::agent_message::Message as FromAgent;
use holdfast_proto::v1::coordinator_message::Message as ToAgent;
use holdfast_proto::{v1, version};
use tonic::Status;

use crate::coordinator::FakeCoordinator;
use crate::harness::{TestAgent, drop_copy};
use crate::source::{FakeSource, Manner};

#[tokio::test]
async fn the_agent_says_what_it_is_and_a_hung_source_holds_nobody_up() {
    let coordinator = FakeCoordinator::start().await;
    let hung = Arc::new(FakeSource::named("hung-db"));
    hung.describe_as("17.2", Duration::from_secs(600));
    let begun = tokio::time::Instant::now();
    let agent = TestAgent::with(&coordinator, &[hung]).await;
    let session = coordinator.welcomed().await;
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
    let hello = &session.hello;
    assert!(version::check(hello.version.as_ref()).is_ok());
    assert!(!hello.instance_id.is_empty() && !hello.hostname.is_empty() && hello.clock_micros > 0);
    let told: Vec<_> = hello
        .sources
        .iter()
        .map(|source| (source.name.as_str(), source.problem.is_empty()))
        .collect();
    assert_eq!(told, [("orders-db", true), ("hung-db", false)]);
    assert_eq!(hello.sources[0].kind, "postgres");
    assert_eq!(hello.sources[0].methods, ["dump"]);
    agent.shutdown.cancel();
    assert_eq!(agent.end().await, SessionEnd::Shutdown);
}

#[tokio::test]
async fn a_source_that_changed_is_announced_again_and_an_unchanged_one_is_not() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    let quiet = session.listen(Duration::from_secs(1)).await;
    assert_eq!(quiet, []);
    agent.source.describe_as("18.1", Duration::ZERO);
    let sources = session
        .wait(|message| match message {
            FromAgent::SourcesChanged(changed) => Some(changed.sources.clone()),
            _ => None,
        })
        .await;
    assert_eq!(sources[0].facts["version"], "18.1");
}

#[tokio::test]
async fn a_lost_link_is_made_again_by_the_same_instance_naming_its_runs() {
    let mut coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    let run = drop_copy("orders-db");
    session.begin(&run).await;
    coordinator.go_away();
    tokio::time::sleep(Duration::from_millis(500)).await;
    coordinator.come_back();
    let mut again = coordinator.welcomed().await;
    assert_eq!(again.hello.instance_id, session.hello.instance_id);
    let held = v1::HeldRun {
        run_id: run.run_id.clone(),
        epoch: 1,
        state: v1::RunState::Running.into(),
    };
    assert_eq!(again.hello.held_runs, [held]);
    // The start may have been lost with the old link, so it is said again; the work was not interrupted.
    assert_eq!(again.started().await.run_id, run.run_id);
    agent.source.go();
    let request = again.commit_request().await;
    again.permit(&request, 60).await;
    let result = again.result().await;
    assert_eq!(
        result,
        v1::run_result::Result::DroppedCopy("app_before".into())
    );
    assert!(!agent.source.done().contains(&"drop cancelled".to_owned()));
}

#[tokio::test]
async fn a_held_run_that_is_not_kept_is_ended() {
    let mut coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    coordinator.go_away();
    coordinator.come_back();
    let mut again = coordinator.session().await;
    again.welcome(Vec::new()).await;
    agent.source.has_done("drop cancelled").await;
    let heard = again.listen(Duration::from_millis(500)).await;
    assert!(
        !heard.iter().any(|m| matches!(m, FromAgent::RunFinished(_))),
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_displaced_agent_ends_its_work_and_does_not_come_back() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    session
        .send(ToAgent::Displaced(v1::Displaced {
            by_host: "clone".into(),
            by_address: "10.0.0.9".into(),
        }))
        .await;
    agent.source.has_done("drop cancelled").await;
    let by = "clone (10.0.0.9)".to_owned();
    assert_eq!(agent.end().await, SessionEnd::Displaced { by });
    coordinator.nobody_comes().await;
}

#[tokio::test]
async fn a_revoked_agent_ends_whether_told_in_the_session_or_at_the_door() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    session
        .end(Status::permission_denied("agent db1 was revoked"))
        .await;
    agent.source.has_done("drop cancelled").await;
    let SessionEnd::Revoked { reason } = agent.end().await else {
        panic!("not revoked")
    };
    assert!(reason.contains("agent db1 was revoked"), "{reason}");

    coordinator.revoke();
    let agent = TestAgent::start(&coordinator).await;
    let SessionEnd::Revoked { reason } = agent.end().await else {
        panic!("not revoked")
    };
    assert!(reason.contains("revoked"), "{reason}");
}

#[tokio::test]
async fn another_version_is_tried_again_slowly() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    for _ in 0..2 {
        let mut session = coordinator.session().await;
        let newer = v1::Version {
            major: version::MAJOR + 1,
            ..version::own()
        };
        session.welcome_as(newer, Vec::new()).await;
        let session = coordinator.session().await;
        session
            .end(Status::failed_precondition("update the agent"))
            .await;
    }
    // An update of the coordinator mends it, without anybody touching the agent.
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    assert!(!agent.has_ended());
}

#[tokio::test]
async fn an_agent_that_was_joined_again_takes_up_its_new_identity() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let session = coordinator.welcomed().await;
    let joined = coordinator.reissued(&agent.slot.current());
    let files = IdentityFiles::in_folder(agent.folder.path());
    files.save(&joined).expect("saved");
    session
        .end(Status::unauthenticated("the certificate is not known"))
        .await;
    coordinator.welcomed().await;
    assert_eq!(agent.slot.current().peer(), joined.peer());
}

#[tokio::test]
async fn a_session_that_ends_with_its_old_certificate_goes_on_with_the_renewed_one_at_once() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::with_pace(&coordinator, Duration::from_secs(600)).await;
    let session = coordinator.welcomed().await;
    agent
        .slot
        .replace(coordinator.reissued(&agent.slot.current()));
    session
        .end(Status::unauthenticated("the certificate has expired"))
        .await;
    coordinator.welcomed().await;
}

#[tokio::test]
async fn what_a_newer_coordinator_says_is_passed_over() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    session.send_nothing().await;
    session.begin(&drop_copy("orders-db")).await;
    assert!(!agent.has_ended());
}

#[tokio::test]
async fn leases_are_renewed_for_what_is_held() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    let run = drop_copy("orders-db");
    session.begin(&run).await;
    // The lease is 3 s, so three renewals take two to three seconds.
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        let named = session
            .wait(|message| match message {
                FromAgent::LeaseRenewal(renewal) => Some(renewal.runs.clone()),
                _ => None,
            })
            .await;
        assert_eq!(named.len(), 1);
        assert_eq!(
            (named[0].run_id.as_str(), named[0].epoch),
            (run.run_id.as_str(), 1)
        );
    }
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    // A coordinator that is silent about leases interrupts nothing.
    agent.source.go();
    session.commit_request().await;
}

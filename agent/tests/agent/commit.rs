//! Permission, acknowledgement, and a coordinator that is away at the worst moment.

use std::time::Duration;

use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message as FromAgent;
use holdfast_proto::v1::coordinator_message::Message as ToAgent;

use crate::coordinator::{A_WHILE, FakeCoordinator};
use crate::harness::{TestAgent, drop_copy};
use crate::source::Manner;

const DROPPED: &str = "dropped app_before";

fn dropped() -> v1::run_result::Result {
    v1::run_result::Result::DroppedCopy("app_before".into())
}

#[tokio::test]
async fn nothing_is_changed_before_the_permission() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    let run = drop_copy("orders-db");
    session.begin(&run).await;
    let request = session.commit_request().await;
    assert_eq!((&request.run_id, request.epoch), (&run.run_id, 1));
    assert_eq!(
        (request.snapshot_id.as_str(), request.snapshot_bytes),
        ("", 0)
    );
    tokio::time::sleep(A_WHILE).await;
    assert!(!agent.source.done().contains(&DROPPED.to_owned()));
    session.permit(&request, 60).await;
    assert_eq!(session.result().await, dropped());
    assert!(agent.source.done().contains(&DROPPED.to_owned()));
}

#[tokio::test]
async fn a_refusal_changes_nothing() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    let request = session.commit_request().await;
    session
        .send(ToAgent::CommitDecision(v1::CommitDecision {
            run_id: request.run_id,
            epoch: 1,
            permitted: false,
            reason: "epoch 2 has the run".into(),
            ..Default::default()
        }))
        .await;
    let failure = session.failure().await;
    assert_eq!(failure.class(), v1::FailureClass::Retryable);
    assert!(
        failure.message.contains("epoch 2 has the run"),
        "{failure:?}"
    );
    assert!(!agent.source.done().contains(&DROPPED.to_owned()));
}

#[tokio::test]
async fn a_permission_that_comes_too_late_changes_nothing() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    let request = session.commit_request().await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    // Counted from when it was asked, this one is over.
    session.permit(&request, 1).await;
    let failure = session.failure().await;
    assert_eq!(failure.class(), v1::FailureClass::Retryable);
    assert!(failure.message.contains("too late"), "{failure:?}");
    assert!(!agent.source.done().contains(&DROPPED.to_owned()));
}

#[tokio::test]
async fn a_coordinator_that_is_away_at_the_commit_is_asked_again() {
    let mut coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    let run = drop_copy("orders-db");
    session.begin(&run).await;
    coordinator.go_away();
    agent.source.go();
    // Longer than the permission will last: it counts from the question over the new link.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!agent.source.done().contains(&DROPPED.to_owned()));
    coordinator.come_back();
    let mut again = coordinator.welcomed().await;
    let request = again.commit_request().await;
    assert_eq!(
        (request.run_id.as_str(), request.epoch),
        (run.run_id.as_str(), 1)
    );
    again.permit(&request, 2).await;
    assert_eq!(again.result().await, dropped());
}

#[tokio::test]
async fn a_question_whose_answer_was_lost_is_put_again() {
    let mut coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    let first = session.commit_request().await;
    coordinator.go_away();
    coordinator.come_back();
    let mut again = coordinator.welcomed().await;
    let second = again.commit_request().await;
    assert_eq!(first, second);
    again.permit(&second, 60).await;
    assert_eq!(again.result().await, dropped());
    let drops = agent
        .source
        .done()
        .iter()
        .filter(|done| *done == DROPPED)
        .count();
    assert_eq!(drops, 1);
}

#[tokio::test]
async fn a_result_is_told_until_it_is_acknowledged_and_then_forgotten() {
    let mut coordinator = FakeCoordinator::start().await;
    let _agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    let run = drop_copy("orders-db");
    session.begin(&run).await;
    let request = session.commit_request().await;
    session.permit(&request, 60).await;
    let first = session.finished().await;
    for _ in 0..2 {
        coordinator.go_away();
        coordinator.come_back();
        let mut again = coordinator.session().await;
        let held = &again.hello.held_runs;
        assert_eq!(held.len(), 1);
        assert_eq!(held[0].state(), v1::RunState::Succeeded);
        // Even when the coordinator does not count on it any more: it may record an orphan.
        again.welcome(Vec::new()).await;
        assert_eq!(again.finished().await, first);
    }
    coordinator.go_away();
    coordinator.come_back();
    let mut last = coordinator.welcomed().await;
    last.finished().await;
    last.acknowledge(&run.run_id, 1).await;
    last.listen(A_WHILE).await;
    coordinator.go_away();
    coordinator.come_back();
    let after = coordinator.welcomed().await;
    assert_eq!(after.hello.held_runs, []);
}

#[tokio::test]
async fn the_last_words_come_before_the_result() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Fail);
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    let failure = session.failure().await;
    assert_eq!(failure.class(), v1::FailureClass::Permanent);
    assert_eq!(failure.message, "pg_dump ended with code 1");
    assert_eq!(failure.hint, "look at its words");
    let words: Vec<_> = session
        .passed
        .iter()
        .filter_map(|message| match message {
            FromAgent::RunLog(log) => Some(&log.lines),
            _ => None,
        })
        .flatten()
        .collect();
    let last = words.last().expect("log lines before the result");
    assert_eq!(
        (last.origin.as_str(), last.text.as_str()),
        ("pg_dump", "last words")
    );
    let phase = session
        .passed
        .iter()
        .rev()
        .find_map(|message| match message {
            FromAgent::RunProgress(told) => told.progress.as_ref(),
            _ => None,
        });
    assert_eq!(
        phase.map(|progress| progress.phase.as_str()),
        Some("nearly there")
    );
}

//! Runs that end early, wait for each other, or lose what they need.

use std::sync::Arc;
use std::time::Duration;

use holdfast_agent::session::SessionEnd;
use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message as FromAgent;
use holdfast_proto::v1::coordinator_message::Message as ToAgent;

use crate::coordinator::{A_WHILE, FakeCoordinator, FakeSession};
use crate::harness::{TestAgent, drop_copy, grant};
use crate::source::{FakeSource, Manner};

async fn cancel(session: &mut FakeSession, run: &v1::RunAssignment) {
    session
        .send(ToAgent::Cancel(v1::CancelRun {
            run_id: run.run_id.clone(),
            epoch: run.epoch,
            requested_by: "anna".into(),
        }))
        .await;
}

async fn lose(session: &mut FakeSession, run: &v1::RunAssignment) {
    session
        .send(ToAgent::LeaseLost(v1::LeaseLost {
            run_id: run.run_id.clone(),
            epoch: run.epoch,
            reason: "it lapsed".into(),
        }))
        .await;
}

fn finished(messages: &[FromAgent]) -> usize {
    messages
        .iter()
        .filter(|m| matches!(m, FromAgent::RunFinished(_)))
        .count()
}

fn lasting(run: v1::RunAssignment, seconds: i64) -> v1::RunAssignment {
    let issued = 1_000_000;
    v1::RunAssignment {
        grant: Some(v1::Grant {
            issued_at_micros: issued,
            expires_at_micros: issued + seconds * 1_000_000,
            ..grant("/nowhere".as_ref())
        }),
        ..run
    }
}

#[tokio::test]
async fn a_cancelled_run_ends_and_says_by_whom() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    let run = drop_copy("orders-db");
    session.begin(&run).await;
    cancel(&mut session, &run).await;
    let by = v1::run_result::Result::CancelledBy("anna".into());
    assert_eq!(session.result().await, by);
    agent.source.has_done("drop cancelled").await;
}

#[tokio::test]
async fn a_run_that_waits_for_its_permission_can_be_cancelled() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    let run = drop_copy("orders-db");
    session.begin(&run).await;
    session.commit_request().await;
    cancel(&mut session, &run).await;
    let by = v1::run_result::Result::CancelledBy("anna".into());
    assert_eq!(session.result().await, by);
    assert!(
        !agent
            .source
            .done()
            .iter()
            .any(|done| done.starts_with("dropped"))
    );
}

#[tokio::test]
async fn a_lost_lease_ends_the_work_silently_and_the_next_attempt_waits_for_that() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    let first = drop_copy("orders-db");
    session.begin(&first).await;
    lose(&mut session, &first).await;
    let second = v1::RunAssignment {
        epoch: 2,
        ..first.clone()
    };
    session.assign(&second).await;
    let started = session.started().await;
    assert_eq!(
        (started.run_id.as_str(), started.epoch),
        (first.run_id.as_str(), 2)
    );
    let done = agent.source.done();
    let ended = done.iter().position(|done| done == "drop cancelled");
    let begun = done.iter().rposition(|done| done == "drop begins");
    assert!(ended < begun && ended.is_some(), "{done:?}");
    assert_eq!(finished(&session.passed), 0);
    agent.source.go();
    let request = session.commit_request().await;
    assert_eq!(request.epoch, 2);
}

#[tokio::test]
async fn a_later_attempt_supersedes_an_earlier_one_even_without_word_of_the_lease() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    let first = drop_copy("orders-db");
    session.begin(&first).await;
    let second = v1::RunAssignment {
        epoch: 2,
        ..first.clone()
    };
    session.begin(&second).await;
    agent.source.has_done("drop cancelled").await;
    // The first one, told again by mistake, changes nothing.
    session.assign(&first).await;
    let heard = session.listen(A_WHILE).await;
    assert!(
        !heard
            .iter()
            .any(|m| matches!(m, FromAgent::RunStarted(s) if s.epoch == 1)),
        "{heard:?}"
    );
}

#[tokio::test]
async fn runs_of_one_source_wait_for_each_other_and_four_work_at_once() {
    let coordinator = FakeCoordinator::start().await;
    let more: Vec<_> = (1..=4)
        .map(|n| Arc::new(FakeSource::named(&format!("db{n}"))))
        .collect();
    let agent = TestAgent::with(&coordinator, &more).await;
    agent.source.behave(Manner::Wait);
    for source in &more {
        source.behave(Manner::Wait);
    }
    let mut session = coordinator.welcomed().await;
    let first = drop_copy("orders-db");
    session.begin(&first).await;
    let second = drop_copy("orders-db");
    session.assign(&second).await;
    for source in ["db1", "db2", "db3"] {
        session.begin(&drop_copy(source)).await;
    }
    let fifth = drop_copy("db4");
    session.assign(&fifth).await;
    let heard = session.listen(A_WHILE).await;
    assert!(
        !heard.iter().any(|m| matches!(m, FromAgent::RunStarted(_))),
        "{heard:?}"
    );
    // Its end lets the oldest one that may begin do so: the second of its own source.
    cancel(&mut session, &first).await;
    assert_eq!(session.started().await.run_id, second.run_id);
    cancel(&mut session, &second).await;
    assert_eq!(session.started().await.run_id, fifth.run_id);
}

#[tokio::test]
async fn a_grant_is_renewed_at_half_its_life() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    let run = lasting(drop_copy("orders-db"), 4);
    session.begin(&run).await;
    let begun = tokio::time::Instant::now();
    for _ in 0..2 {
        let request = session
            .wait(|message| match message {
                FromAgent::GrantRequest(request) => Some(request.clone()),
                _ => None,
            })
            .await;
        assert_eq!(request.run_id, run.run_id);
        session
            .send(ToAgent::Grant(v1::GrantIssued {
                run_id: run.run_id.clone(),
                epoch: 1,
                grant: run.grant.clone(),
            }))
            .await;
    }
    tokio::time::sleep_until(begun + Duration::from_secs(5)).await;
    // Longer than the first grant lasted, and the run is alive.
    agent.source.go();
    session.commit_request().await;
}

#[tokio::test]
async fn a_run_ends_with_a_grant_that_nobody_renews() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    session.begin(&lasting(drop_copy("orders-db"), 2)).await;
    session.commit_request().await;
    let failure = session.failure().await;
    assert_eq!(failure.class(), v1::FailureClass::Retryable);
    assert!(failure.message.contains("credentials"), "{failure:?}");
    assert!(
        !agent
            .source
            .done()
            .iter()
            .any(|done| done.starts_with("dropped"))
    );
}

#[tokio::test]
async fn a_run_ends_at_its_deadline() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    let run = v1::RunAssignment {
        deadline_seconds: 1,
        ..drop_copy("orders-db")
    };
    session.begin(&run).await;
    let failure = session.failure().await;
    assert_eq!(failure.class(), v1::FailureClass::Permanent);
    assert!(failure.message.contains("deadline"), "{failure:?}");
    agent.source.has_done("drop cancelled").await;
}

#[tokio::test]
async fn what_cannot_be_done_here_is_told_and_disturbs_nobody() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    session.assign(&drop_copy("other-db")).await;
    let failure = session.failure().await;
    assert_eq!(failure.class(), v1::FailureClass::Permanent);
    assert!(
        failure.message.contains("other-db") && failure.hint.contains("orders-db"),
        "{failure:?}"
    );
    let mut malformed = drop_copy("orders-db");
    malformed.spec = None;
    session.assign(&malformed).await;
    let failure = session.failure().await;
    assert!(failure.message.contains("spec"), "{failure:?}");
    agent.source.behave(Manner::Panic);
    session.begin(&drop_copy("orders-db")).await;
    let failure = session.failure().await;
    assert!(failure.message.contains("internal"), "{failure:?}");
    agent.source.behave(Manner::Plain);
    session.begin(&drop_copy("orders-db")).await;
    session.commit_request().await;
}

#[tokio::test]
async fn shutting_down_ends_the_runs_and_reports_them() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    let run = drop_copy("orders-db");
    session.begin(&run).await;
    agent.shutdown.cancel();
    let failure = session.failure().await;
    assert_eq!(failure.class(), v1::FailureClass::Retryable);
    assert!(failure.message.contains("agent was stopped"), "{failure:?}");
    assert!(!agent.has_ended());
    session.acknowledge(&run.run_id, 1).await;
    assert_eq!(agent.end().await, SessionEnd::Shutdown);
}

#[tokio::test]
async fn shutting_down_is_bounded_whatever_the_run_and_the_coordinator_do() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Deaf);
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    let begun = tokio::time::Instant::now();
    agent.shutdown.cancel();
    assert_eq!(agent.end().await, SessionEnd::Shutdown);
    assert!(
        begun.elapsed() < Duration::from_secs(28),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn what_dead_runs_left_is_swept_once_before_the_first_run() {
    let mut coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    session.commit_request().await;
    let done = agent.source.done();
    assert_eq!(
        done[..2],
        ["swept, 0 alive".to_owned(), "drop begins".to_owned()]
    );
    coordinator.go_away();
    coordinator.come_back();
    let mut again = coordinator.welcomed().await;
    again.commit_request().await;
    let sweeps = agent
        .source
        .done()
        .iter()
        .filter(|done| done.starts_with("swept"))
        .count();
    assert_eq!(sweeps, 1);
}

#[tokio::test]
async fn a_talkative_child_is_heard_to_its_end_with_the_gap_told() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Talk(10_000));
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    session.commit_request().await;
    let mut lines = Vec::new();
    for message in session
        .listen(Duration::from_secs(8))
        .await
        .into_iter()
        .chain(session.passed)
    {
        match message {
            FromAgent::RunLog(log) => lines.extend(log.lines),
            FromAgent::RunProgress(_) | FromAgent::LeaseRenewal(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(
        lines
            .iter()
            .any(|line| line.text.contains("earlier lines are missing")),
        "{}",
        lines.len()
    );
    assert!(lines.iter().any(|line| line.text == "line 9999"));
    assert!(lines.len() < 3_000, "{}", lines.len());
}

#[tokio::test]
async fn progress_comes_at_most_twice_a_second() {
    let coordinator = FakeCoordinator::start().await;
    let agent = TestAgent::start(&coordinator).await;
    agent.source.behave(Manner::Wait);
    let mut session = coordinator.welcomed().await;
    session.begin(&drop_copy("orders-db")).await;
    let heard = session.listen(Duration::from_secs(3)).await;
    let told = heard
        .iter()
        .filter(|m| matches!(m, FromAgent::RunProgress(_)))
        .count();
    assert!(told <= 7, "{told}");
}

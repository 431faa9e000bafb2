//! The life of a run over a real session: handed out, lapsed, retried, cancelled, ended.

use std::time::Duration;

use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message as Said;
use holdfast_proto::v1::coordinator_message::Message;
use tonic::Code;

use crate::support::agent::{FakeAgent, FakeSession};
use crate::support::{
    Control, Database, Installation, Running, backup_result, failed, on_both, run_of, snapshot_id,
    snapshots, start_backup, until,
};

struct Stage {
    at: Installation,
    running: Running,
    control: Control,
    agent: FakeAgent,
    session: FakeSession,
}

async fn stage_with(at: Installation) -> Stage {
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let session = agent.connect(&at).await;
    Stage {
        at,
        running,
        control,
        agent,
        session,
    }
}

async fn stage(database: Database) -> Stage {
    stage_with(Installation::new(database)).await
}

on_both!(
    a_backup_from_start_to_end,
    a_silent_agents_run_is_handed_out_again_under_the_next_epoch,
);

async fn a_backup_from_start_to_end(database: Database) {
    let mut s = stage(database).await;
    let run = start_backup(&mut s.control, "orders").await;
    assert_eq!(run.requested_by, "ann");
    let given = s.session.begin().await;
    assert_eq!((given.run_id.as_str(), given.epoch), (run.id.as_str(), 1));
    assert!(given.deadline_seconds > 86_000 && given.deadline_seconds <= 86_400);
    let grant = given.grant.expect("a grant");
    assert_eq!(grant.repository, "orders");
    assert_eq!(
        grant.vault_address,
        format!("file://{}", s.at.vault_folder("main").display())
    );
    assert_eq!(grant.repository_password.len(), 64);
    until(&mut s.control, &run.id, v1::RunState::Running).await;

    let id = snapshot_id('a');
    let decision = s.session.ask_commit(&run.id, 1, &id).await;
    assert!(decision.permitted, "{}", decision.reason);
    assert_eq!(decision.valid_for_seconds, 1);
    assert_eq!(
        run_of(&mut s.control, &run.id).await.state(),
        v1::RunState::Committing
    );
    s.session.finish(&run.id, 1, backup_result(&id)).await;

    let done = run_of(&mut s.control, &run.id).await;
    assert_eq!(done.state(), v1::RunState::Succeeded);
    assert!(done.finished_at_micros >= done.started_at_micros);
    let catalog = snapshots(&mut s.control, false).await;
    assert_eq!(catalog.len(), 1);
    assert_eq!(catalog[0].standing(), v1::SnapshotStanding::Committed);
    assert_eq!(
        (catalog[0].id.as_str(), catalog[0].run_id.as_str()),
        (id.as_str(), run.id.as_str())
    );
    // Said again after a reconnect: acknowledged, and nothing changes.
    s.session.finish(&run.id, 1, backup_result(&id)).await;
    assert_eq!(snapshots(&mut s.control, true).await, catalog);
    s.running.stop().await;
}

async fn a_silent_agents_run_is_handed_out_again_under_the_next_epoch(database: Database) {
    let mut s = stage(database).await;
    let run = start_backup(&mut s.control, "orders").await;
    s.session.begin().await;
    // No renewal: the lease lapses, the agent is told, and gets the run again under the next epoch.
    let lost = s.session.wait(|message| match message {
        Message::LeaseLost(lost) => Some(lost),
        _ => None,
    });
    let lost = lost.await;
    assert_eq!((lost.run_id.as_str(), lost.epoch), (run.id.as_str(), 1));
    let again = s.session.begin().await;
    assert_eq!((again.run_id.as_str(), again.epoch), (run.id.as_str(), 2));
    let reason = s
        .session
        .renew(&run.id, 1)
        .await
        .expect_err("epoch 1 is over");
    assert!(reason.contains("epoch 2"), "{reason}");
    assert_eq!(s.session.renew(&run.id, 2).await, Ok(()));
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_lease_does_not_lapse() {
    let mut s = stage(Database::Sqlite).await;
    let run = start_backup(&mut s.control, "orders").await;
    s.session.begin().await;
    for _ in 0..8 {
        assert_eq!(s.session.renew(&run.id, 1).await, Ok(()));
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let run = run_of(&mut s.control, &run.id).await;
    assert_eq!((run.state(), run.epoch), (v1::RunState::Running, 1));
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_leases_lapse_too_often_is_lost() {
    let mut s = stage(Database::Sqlite).await;
    let run = start_backup(&mut s.control, "orders").await;
    for epoch in 1..=3 {
        assert_eq!(s.session.begin().await.epoch, epoch);
    }
    let lost = until(&mut s.control, &run.id, v1::RunState::Lost).await;
    assert_eq!(lost.attempt, 3);
    let status = s
        .control
        .status(v1::StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    assert!(
        status
            .attention
            .iter()
            .any(|line| line.contains("was lost")),
        "{:?}",
        status.attention
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again_after_a_pause_and_fails_in_the_end() {
    let mut s = stage(Database::Sqlite).await;
    let run = start_backup(&mut s.control, "orders").await;
    let mut pauses = Vec::new();
    for epoch in 1..=3 {
        let waited = tokio::time::Instant::now();
        assert_eq!(s.session.begin().await.epoch, epoch);
        pauses.push(waited.elapsed());
        s.session
            .finish(&run.id, epoch, failed(v1::FailureClass::Retryable))
            .await;
    }
    // 200 ms and 400 ms, the second half of each at random.
    assert!(pauses[1] >= Duration::from_millis(100), "{pauses:?}");
    assert!(pauses[2] >= Duration::from_millis(200), "{pauses:?}");
    let done = run_of(&mut s.control, &run.id).await;
    assert_eq!((done.state(), done.attempt), (v1::RunState::Failed, 3));
    assert_eq!(
        done.result.and_then(|result| result.result),
        Some(failed(v1::FailureClass::Retryable))
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_pass_fails_at_once() {
    let mut s = stage(Database::Sqlite).await;
    for class in [v1::FailureClass::Permanent, v1::FailureClass::Refused] {
        let run = start_backup(&mut s.control, "orders").await;
        s.session.begin().await;
        s.session.finish(&run.id, 1, failed(class)).await;
        let done = run_of(&mut s.control, &run.id).await;
        assert_eq!((done.state(), done.attempt), (v1::RunState::Failed, 1));
    }
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_run_says_what_it_waits_for_and_is_cancelled_at_once() {
    let mut s = stage(Database::Sqlite).await;
    let first = start_backup(&mut s.control, "orders").await;
    s.session.begin().await;
    let second = start_backup(&mut s.control, "orders").await;
    assert!(
        second.waiting_for.contains(&first.id),
        "{}",
        second.waiting_for
    );
    let request = v1::CancelRunRequest {
        run_id: second.id.clone(),
    };
    let cancelled = s
        .control
        .cancel_run(request.clone())
        .await
        .expect("cancelled")
        .into_inner();
    assert_eq!(cancelled.state(), v1::RunState::Cancelled);
    let again = s
        .control
        .cancel_run(request)
        .await
        .expect_err("it has ended");
    assert_eq!(again.code(), Code::FailedPrecondition);
    drop(s.session);
    let third = start_backup(&mut s.control, "orders").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    s.control
        .cancel_run(v1::CancelRunRequest {
            run_id: first.id.clone(),
        })
        .await
        .expect("asked");
    // The agent is away: the reaper cancels when the lease lapses.
    until(&mut s.control, &first.id, v1::RunState::Cancelled).await;
    let third = run_of(&mut s.control, &third.id).await;
    assert!(
        third.waiting_for.contains("agent db1 to connect"),
        "{}",
        third.waiting_for
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_run_is_cancelled_by_its_agent_and_gets_no_permission_meanwhile() {
    let mut s = stage(Database::Sqlite).await;
    let run = start_backup(&mut s.control, "orders").await;
    s.session.begin().await;
    until(&mut s.control, &run.id, v1::RunState::Running).await;
    let request = v1::CancelRunRequest {
        run_id: run.id.clone(),
    };
    let asked = s
        .control
        .cancel_run(request)
        .await
        .expect("asked")
        .into_inner();
    assert_eq!(asked.state(), v1::RunState::Running);
    let told = s.session.wait(|message| match message {
        Message::Cancel(cancel) => Some(cancel),
        _ => None,
    });
    assert_eq!(told.await.requested_by, "ann");
    let decision = s.session.ask_commit(&run.id, 1, &snapshot_id('a')).await;
    assert!(
        !decision.permitted && decision.reason.contains("ann"),
        "{decision:?}"
    );
    // Told again after a reconnect, in case the first word was lost.
    let held = [crate::support::agent::held(&run.id, 1)];
    let mut session = s.agent.connect_holding(&s.at, &held).await;
    session
        .wait(|message| matches!(message, Message::Cancel(_)).then_some(()))
        .await;
    let who = v1::run_result::Result::CancelledBy("ann".into());
    session.finish(&run.id, 1, who).await;
    let done = run_of(&mut s.control, &run.id).await;
    assert_eq!(done.state(), v1::RunState::Cancelled);
    assert!(snapshots(&mut s.control, true).await.is_empty());
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committing_run_cannot_be_cancelled() {
    let mut s = stage(Database::Sqlite).await;
    let run = start_backup(&mut s.control, "orders").await;
    s.session.begin().await;
    assert!(
        s.session
            .ask_commit(&run.id, 1, &snapshot_id('a'))
            .await
            .permitted
    );
    let refused = s
        .control
        .cancel_run(v1::CancelRunRequest { run_id: run.id })
        .await;
    assert_eq!(
        refused.expect_err("refused").code(),
        Code::FailedPrecondition
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_takes_too_long_fails() {
    let runs = "[runs]\nlease = \"1s\"\nbackup_deadline = \"1s\"\n";
    let mut s = stage_with(Installation::with(Database::Sqlite, runs)).await;
    let run = start_backup(&mut s.control, "orders").await;
    s.session.begin().await;
    let renewing = async {
        loop {
            if s.session.renew(&run.id, 1).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(8), renewing)
        .await
        .expect("the lease is taken away");
    let done = run_of(&mut s.control, &run.id).await;
    assert_eq!(done.state(), v1::RunState::Failed);
    let text = format!("{:?}", done.result);
    assert!(text.contains("longer than 1s"), "{text}");
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_without_its_run_gets_it_again_at_once() {
    let runs = "[runs]\nlease = \"60s\"\n";
    let mut s = stage_with(Installation::with(Database::Sqlite, runs)).await;
    let run = start_backup(&mut s.control, "orders").await;
    s.session.begin().await;
    drop(s.session);
    let mut session = s.agent.cloned_process().connect(&s.at).await;
    assert!(session.welcome.kept_runs.is_empty());
    let again = session.begin().await;
    assert_eq!((again.run_id.as_str(), again.epoch), (run.id.as_str(), 2));
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_works_on_four_runs_and_one_a_source() {
    let at = Installation::with(Database::Sqlite, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let names = ["s1", "s2", "s3", "s4", "s5"];
    let agent = FakeAgent::join(&mut control, "db1", &names).await;
    let mut session = agent.connect(&at).await;
    let mut runs = Vec::new();
    for name in names {
        runs.push(start_backup(&mut control, name).await);
    }
    for _ in 0..4 {
        session.begin().await;
    }
    let fifth = run_of(&mut control, &runs[4].id).await;
    assert_eq!(fifth.state(), v1::RunState::Queued);
    assert!(
        fifth.waiting_for.contains("one of the runs of agent db1"),
        "{}",
        fifth.waiting_for
    );
    session
        .finish(&runs[0].id, 1, failed(v1::FailureClass::Permanent))
        .await;
    assert_eq!(session.begin().await.run_id, runs[4].id);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_is_renewed_on_request() {
    let mut s = stage(Database::Sqlite).await;
    let run = start_backup(&mut s.control, "orders").await;
    s.session.begin().await;
    let ask = |epoch| {
        Said::GrantRequest(v1::GrantRequest {
            run_id: run.id.clone(),
            epoch,
        })
    };
    s.session.send(ask(1)).await;
    let issued = s.session.wait(|message| match message {
        Message::Grant(issued) => Some(issued),
        _ => None,
    });
    assert!(issued.await.grant.is_some());
    s.session.send(ask(7)).await;
    s.session
        .wait(|message| matches!(message, Message::LeaseLost(_)).then_some(()))
        .await;
    s.running.stop().await;
}

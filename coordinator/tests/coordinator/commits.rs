//! The fence: only one epoch of a run commits, and what comes without permission or late is an orphan.

use std::time::Duration;

use holdfast_proto::v1;
use holdfast_proto::v1::coordinator_message::Message;

use crate::support::agent::{FakeAgent, FakeSession, held};
use crate::support::{
    Control, Database, Installation, Running, backup_result, on_both, run_of, snapshot_id,
    snapshots, start_backup, until,
};

struct Stage {
    at: Installation,
    running: Running,
    control: Control,
    agent: FakeAgent,
    session: FakeSession,
    run: v1::Run,
}

/// A backup that has begun.
async fn stage(database: Database, runs: &str) -> Stage {
    let at = Installation::with(database, runs);
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let mut session = agent.connect(&at).await;
    let run = start_backup(&mut control, "orders").await;
    assert_eq!(session.begin().await.epoch, 1);
    Stage {
        at,
        running,
        control,
        agent,
        session,
        run,
    }
}

const SHORT: &str = "[runs]\nlease = \"1s\"\ncommit_window = \"1s\"\nretry_pause = \"100ms\"\n";

async fn standing_of(control: &mut Control, id: &str) -> v1::SnapshotStanding {
    let all = snapshots(control, true).await;
    all.iter()
        .find(|snapshot| snapshot.id == id)
        .expect("in the catalog")
        .standing()
}

on_both!(a_stale_epoch_is_refused_and_its_snapshot_is_an_orphan);

async fn a_stale_epoch_is_refused_and_its_snapshot_is_an_orphan(database: Database) {
    let mut s = stage(database, SHORT).await;
    // The agent was stopped for longer than its lease; the run goes on under epoch 2.
    assert_eq!(s.session.begin().await.epoch, 2);
    let (old, new) = (snapshot_id('a'), snapshot_id('b'));
    let decision = s.session.ask_commit(&s.run.id, 1, &old).await;
    assert!(
        !decision.permitted && decision.reason.contains("epoch 2"),
        "{decision:?}"
    );
    // It wrote nevertheless.
    s.session.finish(&s.run.id, 1, backup_result(&old)).await;
    assert_eq!(
        standing_of(&mut s.control, &old).await,
        v1::SnapshotStanding::Orphan
    );
    assert_eq!(
        run_of(&mut s.control, &s.run.id).await.state(),
        v1::RunState::Running
    );

    assert!(s.session.ask_commit(&s.run.id, 2, &new).await.permitted);
    s.session.finish(&s.run.id, 2, backup_result(&new)).await;
    let counted = snapshots(&mut s.control, false).await;
    assert_eq!(counted.len(), 1);
    assert_eq!(
        (counted[0].id.as_str(), counted[0].epoch),
        (new.as_str(), 2)
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_without_permission_fails_the_run_and_does_not_count() {
    let mut s = stage(Database::Sqlite, SHORT).await;
    let id = snapshot_id('a');
    s.session.finish(&s.run.id, 1, backup_result(&id)).await;
    assert_eq!(
        run_of(&mut s.control, &s.run.id).await.state(),
        v1::RunState::Failed
    );
    assert_eq!(
        standing_of(&mut s.control, &id).await,
        v1::SnapshotStanding::Orphan
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_snapshot_than_the_permitted_one_is_refused() {
    let mut s = stage(Database::Sqlite, SHORT).await;
    let (one, two) = (snapshot_id('a'), snapshot_id('b'));
    assert!(s.session.ask_commit(&s.run.id, 1, &one).await.permitted);
    assert!(
        s.session.ask_commit(&s.run.id, 1, &one).await.permitted,
        "the same answer again"
    );
    assert!(!s.session.ask_commit(&s.run.id, 1, &two).await.permitted);
    s.session.finish(&s.run.id, 1, backup_result(&two)).await;
    assert_eq!(
        run_of(&mut s.control, &s.run.id).await.state(),
        v1::RunState::Failed
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committing_run_is_not_handed_out_before_its_window_and_a_lease_are_over() {
    let runs = "[runs]\nlease = \"1s\"\ncommit_window = \"2s\"\nretry_pause = \"100ms\"\n";
    let mut s = stage(Database::Sqlite, runs).await;
    let id = snapshot_id('a');
    let permitted = tokio::time::Instant::now();
    assert!(s.session.ask_commit(&s.run.id, 1, &id).await.permitted);
    let again = s.session.assignment().await;
    assert!(
        permitted.elapsed() >= Duration::from_millis(2900),
        "{:?}",
        permitted.elapsed()
    );
    // The next epoch is told what it may find, and reports it.
    assert_eq!(
        (again.epoch, again.permitted_snapshot_id.as_str()),
        (2, id.as_str())
    );
    s.session.finish(&s.run.id, 2, backup_result(&id)).await;
    assert_eq!(
        run_of(&mut s.control, &s.run.id).await.state(),
        v1::RunState::Succeeded
    );
    assert_eq!(
        standing_of(&mut s.control, &id).await,
        v1::SnapshotStanding::Committed
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_former_epoch_committed_in_time_counts_once_the_next_one_finds_it() {
    let mut s = stage(Database::Sqlite, SHORT).await;
    let id = snapshot_id('a');
    assert!(s.session.ask_commit(&s.run.id, 1, &id).await.permitted);
    let again = s.session.begin().await;
    // The former epoch's word comes late.
    s.session.finish(&s.run.id, 1, backup_result(&id)).await;
    assert_eq!(
        standing_of(&mut s.control, &id).await,
        v1::SnapshotStanding::Orphan
    );
    s.session
        .finish(&s.run.id, again.epoch, backup_result(&id))
        .await;
    assert_eq!(
        standing_of(&mut s.control, &id).await,
        v1::SnapshotStanding::Committed
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_fails_while_it_commits_waits_for_its_permission_to_end() {
    let runs = "[runs]\nlease = \"1s\"\ncommit_window = \"2s\"\nretry_pause = \"100ms\"\n";
    let mut s = stage(Database::Sqlite, runs).await;
    let permitted = tokio::time::Instant::now();
    assert!(
        s.session
            .ask_commit(&s.run.id, 1, &snapshot_id('a'))
            .await
            .permitted
    );
    let failure = crate::support::failed(v1::FailureClass::Retryable);
    s.session.finish(&s.run.id, 1, failure).await;
    assert_eq!(s.session.assignment().await.epoch, 2);
    assert!(
        permitted.elapsed() >= Duration::from_millis(1900),
        "{:?}",
        permitted.elapsed()
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_interrupts_no_run() {
    let runs = "[runs]\nlease = \"3s\"\ncommit_window = \"3s\"\n";
    let mut s = stage(Database::Sqlite, runs).await;
    until(&mut s.control, &s.run.id, v1::RunState::Running).await;
    s.running.stop().await;
    assert!(
        s.session.end().await.is_err(),
        "the session ends with a reason"
    );
    // Down for longer than a lease, then up: nothing lapses before it has been up for one.
    tokio::time::sleep(Duration::from_millis(3200)).await;
    let running = s.at.start().await;
    let mut control = s.at.admin().await;
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(
        run_of(&mut control, &s.run.id).await.state(),
        v1::RunState::Running
    );

    let mut session = s.agent.connect_holding(&s.at, &[held(&s.run.id, 1)]).await;
    assert_eq!(session.welcome.kept_runs.len(), 1);
    let id = snapshot_id('a');
    assert!(session.ask_commit(&s.run.id, 1, &id).await.permitted);
    session.finish(&s.run.id, 1, backup_result(&id)).await;
    let done = run_of(&mut control, &s.run.id).await;
    assert_eq!((done.state(), done.epoch), (v1::RunState::Succeeded, 1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_snapshot_has_the_time_and_host_that_it_says_itself() {
    let mut s = stage(Database::Sqlite, "").await;
    let id = snapshot_id('a');
    assert!(s.session.ask_commit(&s.run.id, 1, &id).await.permitted);
    let mut result = backup_result(&id);
    if let v1::run_result::Result::Backup(backup) = &mut result {
        backup.snapshot_time_micros = 1_767_323_045_000_000;
        backup.snapshot_host = "db-1".into();
    }
    s.session.finish(&s.run.id, 1, result).await;
    let all = snapshots(&mut s.control, false).await;
    let told = (all[0].time_micros, all[0].host.as_str());
    assert_eq!(told, (1_767_323_045_000_000, "db-1"));
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_was_lost_with_the_coordinator_is_given_again() {
    let runs = "[runs]\nlease = \"3s\"\ncommit_window = \"3s\"\n";
    let mut s = stage(Database::Sqlite, runs).await;
    let id = snapshot_id('a');
    assert!(s.session.ask_commit(&s.run.id, 1, &id).await.permitted);
    s.running.stop().await;
    let running = s.at.start().await;
    let mut control = s.at.admin().await;
    let mut session = s.agent.connect_holding(&s.at, &[held(&s.run.id, 1)]).await;
    let decision = session.ask_commit(&s.run.id, 1, &id).await;
    assert!(decision.permitted, "{}", decision.reason);
    session.finish(&s.run.id, 1, backup_result(&id)).await;
    assert_eq!(
        run_of(&mut control, &s.run.id).await.state(),
        v1::RunState::Succeeded
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_a_silent_agents_run_lapses_a_lease_later() {
    let runs = "[runs]\nlease = \"2s\"\n";
    let mut s = stage(Database::Sqlite, runs).await;
    until(&mut s.control, &s.run.id, v1::RunState::Running).await;
    s.running.stop().await;
    let up = tokio::time::Instant::now();
    let running = s.at.start().await;
    let mut control = s.at.admin().await;
    until(&mut control, &s.run.id, v1::RunState::Queued).await;
    assert!(up.elapsed() >= Duration::from_secs(2), "{:?}", up.elapsed());
    // The agent that comes back afterwards is told to stop.
    let mut session = s.agent.connect_holding(&s.at, &[held(&s.run.id, 1)]).await;
    assert!(session.welcome.kept_runs.is_empty());
    let again = session.wait(|message| match message {
        Message::Assignment(assignment) => Some(assignment),
        _ => None,
    });
    assert_eq!(again.await.epoch, 2);
    running.stop().await;
}

//! Watching a run: nothing missed, nothing twice, and its final form at the end.

use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message as Said;
use holdfast_proto::v1::run_event::Event;
use tonic::{Code, Streaming};

use crate::support::agent::FakeAgent;
use crate::support::{
    Control, Database, Installation, backup_result, on_both, snapshot_id, start_backup, until,
};

async fn watch(control: &mut Control, run: &str, after: u64) -> Streaming<v1::RunEvent> {
    let request = v1::WatchRunRequest {
        run_id: run.into(),
        after_sequence: after,
    };
    control
        .watch_run(request)
        .await
        .expect("watched")
        .into_inner()
}

async fn all(mut events: Streaming<v1::RunEvent>) -> Vec<v1::RunEvent> {
    let mut seen = Vec::new();
    while let Some(event) = events.message().await.expect("an event") {
        seen.push(event);
    }
    seen
}

fn written(events: &[v1::RunEvent]) -> Vec<u64> {
    let kept = events.iter().filter(|event| match &event.event {
        Some(Event::State(_) | Event::Log(_)) => true,
        Some(Event::Progress(progress)) => !progress.phase.is_empty() && progress.read_bytes == 0,
        _ => false,
    });
    kept.map(|event| event.sequence).collect()
}

on_both!(a_watcher_sees_everything_once_whenever_it_comes);

async fn a_watcher_sees_everything_once_whenever_it_comes(database: Database) {
    let at = Installation::with(database, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let mut session = agent.connect(&at).await;
    let run = start_backup(&mut control, "orders").await;
    let early = tokio::spawn(all(watch(&mut control, &run.id, 0).await));
    session.begin().await;
    until(&mut control, &run.id, v1::RunState::Running).await;
    let middle = tokio::spawn(all(watch(&mut control, &run.id, 0).await));
    for phase in ["dumping app", "dumping app", "dumping other"] {
        let progress = v1::Progress {
            phase: phase.into(),
            ..Default::default()
        };
        session
            .send(Said::RunProgress(v1::RunProgress {
                run_id: run.id.clone(),
                epoch: 1,
                progress: Some(progress),
            }))
            .await;
    }
    let line = |text: &str| v1::LogLine {
        time_micros: 1,
        origin: "pg_dump".into(),
        text: text.into(),
    };
    session
        .send(Said::RunLog(v1::RunLog {
            run_id: run.id.clone(),
            epoch: 1,
            lines: vec![line("one"), line(&"x".repeat(10_000))],
        }))
        .await;
    let id = snapshot_id('a');
    assert!(session.ask_commit(&run.id, 1, &id).await.permitted);
    session.finish(&run.id, 1, backup_result(&id)).await;

    let late = all(watch(&mut control, &run.id, 0).await).await;
    for seen in [
        early.await.expect("seen"),
        middle.await.expect("seen"),
        late.clone(),
    ] {
        let states: Vec<i32> = seen
            .iter()
            .filter_map(|event| match event.event {
                Some(Event::State(state)) => Some(state),
                _ => None,
            })
            .collect();
        let expected = [
            v1::RunState::Queued,
            v1::RunState::Assigned,
            v1::RunState::Running,
            v1::RunState::Committing,
            v1::RunState::Succeeded,
        ];
        assert_eq!(states, expected.map(i32::from));
        let logs: Vec<&v1::LogLine> = seen
            .iter()
            .filter_map(|event| match &event.event {
                Some(Event::Log(line)) => Some(line),
                _ => None,
            })
            .collect();
        assert_eq!(logs.len(), 2);
        assert_eq!(logs[0].text, "one");
        assert_eq!(logs[1].text.len(), 4096, "long lines are cut");
        let Some(Event::Ended(ended)) = seen.last().and_then(|event| event.event.clone()) else {
            panic!("the last event is the end: {seen:?}");
        };
        assert_eq!(
            (ended.id.as_str(), ended.state()),
            (run.id.as_str(), v1::RunState::Succeeded)
        );
    }
    let numbers = written(&late);
    assert_eq!(
        numbers,
        (1..=numbers.len() as u64).collect::<Vec<_>>(),
        "numbered without gaps"
    );
    assert_eq!(numbers.len(), 9, "five states, two phases, two lines");
    // From the middle on.
    let rest = all(watch(&mut control, &run.id, 7).await).await;
    assert_eq!(written(&rest), [8, 9]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_nothing_is_told() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let request = v1::WatchRunRequest {
        run_id: "0123abcd".into(),
        after_sequence: 0,
    };
    let refused = control.watch_run(request).await.expect_err("no such run");
    assert_eq!(refused.code(), Code::NotFound);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_of_a_waiting_run_ends_with_the_coordinator() {
    let at = Installation::with(Database::Sqlite, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    drop(agent.connect(&at).await);
    let run = start_backup(&mut control, "orders").await;
    let mut events = watch(&mut control, &run.id, 1).await;
    let stopping = tokio::spawn(running.stop());
    let ended = events.message().await.expect_err("told why");
    assert_eq!(ended.code(), Code::Unavailable);
    stopping.await.expect("stopped");
}

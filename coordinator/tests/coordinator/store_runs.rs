//! Changes of a run in the state: conditional, with their event, or not at all.

use holdfast_coordinator::model::run::Step;
use holdfast_coordinator::model::snapshot::SnapshotStanding;
use holdfast_coordinator::store::runs::{self, RunRecord};
use holdfast_coordinator::store::snapshots::{self, Filter, SnapshotRecord};
use holdfast_coordinator::store::{Store, invites, run_events};
use holdfast_proto::ids::{AgentId, Epoch, RunId, TokenId};
use holdfast_proto::run::RunState;
use holdfast_proto::v1;

use crate::support::{Database, Installation, backup_spec, on_both, snapshot_id};

fn run() -> RunRecord {
    RunRecord {
        id: RunId::new(),
        source: "orders".into(),
        vault: "main".into(),
        agent: AgentId::new(),
        spec: backup_spec("orders"),
        requested_by: "ann".into(),
        idempotency_key: None,
        traceparent: String::new(),
        after_run: None,
        state: RunState::Queued,
        epoch: Epoch::NONE,
        attempt: 0,
        created_micros: 1,
        started_micros: 0,
        finished_micros: 0,
        not_before_micros: 0,
        cancelled_by: None,
        permitted_epoch: Epoch::NONE,
        permitted_snapshot: None,
        progress: v1::Progress::default(),
        result: None,
        last_sequence: 1,
    }
}

async fn added(store: &Store, run: &RunRecord) {
    let mut tx = store.begin().await.expect("begun");
    runs::add(&mut tx, run).await.expect("added");
    tx.commit().await.expect("committed");
}

on_both!(
    a_run_comes_back_as_it_was_written,
    a_step_from_where_the_run_no_longer_stands_changes_nothing,
    of_two_writers_one_wins,
    a_change_without_commit_leaves_nothing,
    lists_are_filtered,
    a_committed_snapshot_never_becomes_less,
    an_invitation_is_used_once,
);

async fn a_run_comes_back_as_it_was_written(database: Database) {
    let at = Installation::new(database);
    let (store, _lock) = crate::store_schema::open(&at).await;
    let mut run = run();
    run.idempotency_key = Some("key".into());
    run.after_run = Some(RunId::new());
    run.traceparent = "00-trace".into();
    added(&store, &run).await;
    let mut tx = store.begin().await.expect("begun");
    let assigned = runs::advance(&mut tx, &run, Step::Assign, 7, |run| {
        run.epoch = Epoch(1);
        run.attempt = 1;
        run.started_micros = 7;
        run.cancelled_by = Some("bob".into());
        run.permitted_epoch = Epoch(1);
        run.permitted_snapshot = Some(snapshot_id('a').parse().expect("an id"));
        run.progress.phase = "dumping".into();
    });
    let assigned = assigned.await.expect("written").expect("allowed");
    tx.commit().await.expect("committed");
    let mut connection = store.read().await.expect("readable");
    let read = runs::get(&mut connection, run.id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(read, assigned);
    assert_eq!((read.state, read.last_sequence), (RunState::Assigned, 2));
    let by_key = runs::by_idempotency_key(&mut connection, "key")
        .await
        .expect("read");
    assert_eq!(by_key.map(|run| run.id), Some(run.id));
    let prefix = &run.id.to_string()[..13];
    assert_eq!(
        runs::by_prefix(&mut connection, prefix, 5)
            .await
            .expect("read")
            .len(),
        1
    );
    assert!(
        runs::by_prefix(&mut connection, "%", 5)
            .await
            .expect("read")
            .is_empty()
    );
}

async fn a_step_from_where_the_run_no_longer_stands_changes_nothing(database: Database) {
    let at = Installation::new(database);
    let (store, _lock) = crate::store_schema::open(&at).await;
    let queued = run();
    added(&store, &queued).await;
    let mut tx = store.begin().await.expect("begun");
    let assign = |run: &mut RunRecord| run.epoch = run.epoch.next();
    let one = runs::advance(&mut tx, &queued, Step::Assign, 2, assign)
        .await
        .expect("written")
        .expect("allowed");
    // The state is another, then the epoch is.
    assert_eq!(
        runs::advance(&mut tx, &queued, Step::Assign, 3, assign)
            .await
            .expect("asked"),
        None
    );
    let requeued = runs::advance(&mut tx, &one, Step::Requeue, 4, |_| {})
        .await
        .expect("written")
        .expect("allowed");
    let two = runs::advance(&mut tx, &requeued, Step::Assign, 5, assign)
        .await
        .expect("written")
        .expect("allowed");
    assert_eq!(two.epoch, Epoch(2));
    assert_eq!(
        runs::advance(&mut tx, &one, Step::Start, 6, |_| {})
            .await
            .expect("asked"),
        None
    );
    // What the model forbids is not even tried.
    assert_eq!(
        runs::advance(&mut tx, &two, Step::Succeed, 7, |_| {})
            .await
            .expect("asked"),
        None
    );
    let events = run_events::list(&mut tx, queued.id, 0, 100)
        .await
        .expect("listed");
    let numbers: Vec<u64> = events.iter().map(|event| event.sequence).collect();
    assert_eq!(
        numbers,
        [1, 2, 3, 4],
        "one event for each change that happened"
    );
    tx.commit().await.expect("committed");
}

async fn of_two_writers_one_wins(database: Database) {
    let at = Installation::new(database);
    let (store, _lock) = crate::store_schema::open(&at).await;
    let queued = run();
    added(&store, &queued).await;
    let attempt = |step| {
        let (store, queued) = (store.clone(), queued.clone());
        async move {
            let mut tx = store.begin().await.expect("begun");
            let won = runs::advance(&mut tx, &queued, step, 2, |_| {})
                .await
                .expect("asked")
                .is_some();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            tx.commit().await.expect("committed");
            won
        }
    };
    let tries = [Step::Assign, Step::Cancel, Step::Assign, Step::Fail].map(attempt);
    let won = futures::future::join_all(tries).await;
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
}

async fn a_change_without_commit_leaves_nothing(database: Database) {
    let at = Installation::new(database);
    let (store, _lock) = crate::store_schema::open(&at).await;
    let queued = run();
    added(&store, &queued).await;
    let mut tx = store.begin().await.expect("begun");
    runs::advance(&mut tx, &queued, Step::Cancel, 2, |_| {})
        .await
        .expect("written")
        .expect("allowed");
    drop(tx);
    let mut tx = store.begin().await.expect("begun");
    let read = runs::get(&mut tx, queued.id)
        .await
        .expect("read")
        .expect("there");
    assert_eq!(read, queued);
    assert_eq!(
        run_events::list(&mut tx, queued.id, 0, 10)
            .await
            .expect("listed")
            .len(),
        1
    );
}

async fn lists_are_filtered(database: Database) {
    let at = Installation::new(database);
    let (store, _lock) = crate::store_schema::open(&at).await;
    let (mut one, mut two) = (run(), run());
    (one.created_micros, two.created_micros) = (10, 20);
    two.source = "users".into();
    added(&store, &one).await;
    added(&store, &two).await;
    let mut tx = store.begin().await.expect("begun");
    runs::advance(&mut tx, &one, Step::Cancel, 30, |_| {})
        .await
        .expect("written")
        .expect("allowed");
    let mut ids = async |source: &str, states: &[RunState], limit| {
        let filter = runs::Filter {
            source: source.into(),
            states: states.into(),
            limit,
        };
        let found = runs::list(&mut tx, &filter).await.expect("listed");
        found.into_iter().map(|run| run.id).collect::<Vec<_>>()
    };
    assert_eq!(ids("", &[], 10).await, [two.id, one.id], "newest first");
    assert_eq!(ids("", &[], 1).await, [two.id]);
    assert_eq!(ids("orders", &[], 10).await, [one.id]);
    assert_eq!(
        ids("", &[RunState::Cancelled, RunState::Lost], 10).await,
        [one.id]
    );
    assert_eq!(ids("", &[RunState::Queued], 10).await, [two.id]);
    assert_eq!(runs::unfinished(&mut tx).await.expect("listed").len(), 1);
    assert_eq!(
        runs::newest_of_each_source(&mut tx)
            .await
            .expect("listed")
            .len(),
        2
    );
}

fn snapshot(standing: SnapshotStanding) -> SnapshotRecord {
    SnapshotRecord {
        vault: "main".into(),
        source: "orders".into(),
        id: snapshot_id('a').parse().expect("an id"),
        kind: "postgres".into(),
        method: "dump".into(),
        time_micros: 5,
        host: String::new(),
        run_id: "r".into(),
        epoch: Epoch(1),
        standing,
        read_bytes: 10,
        new_bytes: 5,
        stored_bytes: 3,
        tags: vec!["run:r".into()],
        manifest: "{}".into(),
    }
}

async fn a_committed_snapshot_never_becomes_less(database: Database) {
    let at = Installation::new(database);
    let (store, _lock) = crate::store_schema::open(&at).await;
    let mut tx = store.begin().await.expect("begun");
    let all = Filter {
        include_orphans: true,
        limit: 10,
        ..Default::default()
    };
    snapshots::put(&mut tx, &snapshot(SnapshotStanding::Orphan))
        .await
        .expect("put");
    assert_eq!(
        snapshots::counts(&mut tx, "orders", "")
            .await
            .expect("counted"),
        (0, 1)
    );
    snapshots::put(&mut tx, &snapshot(SnapshotStanding::Committed))
        .await
        .expect("put");
    let mut later = snapshot(SnapshotStanding::Orphan);
    later.host = "db-host".into();
    later.read_bytes = 0;
    later.manifest = String::new();
    snapshots::put(&mut tx, &later).await.expect("put");
    let found = snapshots::list(&mut tx, &all).await.expect("listed");
    let mut expected = snapshot(SnapshotStanding::Committed);
    expected.host = "db-host".into();
    assert_eq!(found, [expected], "nothing that is known gets lost");
    assert_eq!(
        snapshots::counts(&mut tx, "", "main")
            .await
            .expect("counted"),
        (1, 0)
    );
    assert_eq!(
        snapshots::by_prefix(&mut tx, "aaaa", "orders", 5)
            .await
            .expect("found")
            .len(),
        1
    );
    assert!(
        snapshots::by_prefix(&mut tx, "%", "", 5)
            .await
            .expect("found")
            .is_empty()
    );
}

async fn an_invitation_is_used_once(database: Database) {
    let at = Installation::new(database);
    let (store, _lock) = crate::store_schema::open(&at).await;
    let mut tx = store.begin().await.expect("begun");
    let invite = invites::Invite {
        token: TokenId::new(),
        agent_name: "db1".into(),
        secret_hash: vec![0, 1, 255],
        created_by: "ann".into(),
        created_micros: 1,
        expires_micros: 100,
        used_micros: 0,
    };
    invites::add(&mut tx, &invite).await.expect("added");
    assert_eq!(
        invites::get(&mut tx, invite.token).await.expect("read"),
        Some(invite.clone())
    );
    assert!(
        !invites::use_up(&mut tx, invite.token, 100)
            .await
            .expect("asked"),
        "too late"
    );
    assert!(
        invites::use_up(&mut tx, invite.token, 50)
            .await
            .expect("asked")
    );
    assert!(
        !invites::use_up(&mut tx, invite.token, 51)
            .await
            .expect("asked"),
        "used"
    );
    assert!(invites::open(&mut tx, 50).await.expect("listed").is_empty());
}

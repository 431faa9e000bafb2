//! Starting runs: what is resolved, what is refused, what goes first.

use holdfast_proto::v1;
use tonic::{Code, Request};

use crate::support::agent::{FakeAgent, FakeSession};
use crate::support::{
    Control, Database, Installation, Running, backup_result, backup_spec, failed, restore_spec,
    run_of, snapshot_id, start_backup, start_request, until,
};

struct Stage {
    running: Running,
    control: Control,
    session: FakeSession,
    at: Installation,
}

async fn stage() -> Stage {
    let at = Installation::with(Database::Sqlite, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders", "copy"]).await;
    let session = agent.connect(&at).await;
    Stage {
        running,
        control,
        session,
        at,
    }
}

impl Stage {
    async fn back_up(&mut self, source: &str, id: &str) -> v1::Run {
        let run = start_backup(&mut self.control, source).await;
        self.session.begin().await;
        assert!(self.session.ask_commit(&run.id, 1, id).await.permitted);
        self.session.finish(&run.id, 1, backup_result(id)).await;
        run_of(&mut self.control, &run.id).await
    }

    async fn start(
        &mut self,
        request: v1::StartRunRequest,
    ) -> Result<v1::StartRunResponse, tonic::Status> {
        self.control
            .start_run(request)
            .await
            .map(tonic::Response::into_inner)
    }
}

fn restore_of(run: &v1::Run) -> &v1::RestoreSpec {
    match run.spec.as_ref().and_then(|spec| spec.detail.as_ref()) {
        Some(v1::run_spec::Detail::Restore(restore)) => restore,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told() {
    let mut s = stage().await;
    let unknown = s
        .start(start_request(backup_spec("nothing")))
        .await
        .expect_err("no source");
    assert_eq!(unknown.code(), Code::NotFound);
    assert!(
        unknown.message().contains("\nhint: "),
        "{}",
        unknown.message()
    );
    let mut spec = backup_spec("orders");
    spec.vault = "elsewhere".into();
    let unknown = s.start(start_request(spec)).await.expect_err("no vault");
    assert_eq!(unknown.code(), Code::NotFound);
    let mut spec = backup_spec("orders");
    spec.detail = Some(v1::run_spec::Detail::Backup(v1::BackupSpec {
        method: "magic".into(),
    }));
    let unknown = s.start(start_request(spec)).await.expect_err("no method");
    assert_eq!(unknown.code(), Code::InvalidArgument);
    assert!(unknown.message().contains("dump"), "{}", unknown.message());
    let none = s
        .start(start_request(restore_spec("orders")))
        .await
        .expect_err("no snapshot");
    assert_eq!(none.code(), Code::NotFound);
    let empty = s
        .start(v1::StartRunRequest::default())
        .await
        .expect_err("no spec");
    assert_eq!(empty.code(), Code::InvalidArgument);
    let request = v1::StartRunRequest {
        agent: "db9".into(),
        ..start_request(backup_spec("orders"))
    };
    assert_eq!(
        s.start(request).await.expect_err("another agent").code(),
        Code::NotFound
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_starts_nothing_new() {
    let mut s = stage().await;
    let request = v1::StartRunRequest {
        idempotency_key: "once".into(),
        ..start_request(backup_spec("orders"))
    };
    let first = s
        .start(request.clone())
        .await
        .expect("started")
        .run
        .expect("a run");
    let second = s
        .start(request)
        .await
        .expect("answered")
        .run
        .expect("a run");
    assert_eq!(first.id, second.id);
    let runs = s
        .control
        .list_runs(v1::ListRunsRequest::default())
        .await
        .expect("listed");
    assert_eq!(runs.into_inner().runs.len(), 1);
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_chosen_by_latest_prefix_and_time() {
    let mut s = stage().await;
    let (old, new) = (snapshot_id('a'), snapshot_id('b'));
    let first = s.back_up("orders", &old).await;
    s.back_up("orders", &new).await;
    let between = jiff::Timestamp::from_microsecond(first.finished_at_micros).expect("a time");
    for (choice, expected) in [
        (String::new(), &new),
        ("latest".into(), &new),
        ("aaaaaa".into(), &old),
        (old.clone(), &old),
        (between.to_string(), &old),
    ] {
        let request = v1::StartRunRequest {
            snapshot: choice.clone(),
            ..start_request(restore_spec("orders"))
        };
        let started = s.start(request).await.expect("started").run.expect("a run");
        assert_eq!(&restore_of(&started).snapshot_id, expected, "{choice}");
        assert_eq!(started.spec.expect("a spec").vault, "main");
    }
    for (choice, code) in [
        ("1999-01-01T00:00:00Z", Code::NotFound),
        ("yesterday", Code::InvalidArgument),
        ("cccc", Code::NotFound),
        ("aa", Code::InvalidArgument),
    ] {
        let request = v1::StartRunRequest {
            snapshot: choice.into(),
            ..start_request(restore_spec("orders"))
        };
        assert_eq!(
            s.start(request).await.expect_err(choice).code(),
            code,
            "{choice}"
        );
    }
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_restored_by_id_only() {
    let mut s = stage().await;
    let run = start_backup(&mut s.control, "orders").await;
    s.session.begin().await;
    let orphan = snapshot_id('c');
    s.session.finish(&run.id, 1, backup_result(&orphan)).await;
    let latest = s
        .start(start_request(restore_spec("orders")))
        .await
        .expect_err("none counts");
    assert_eq!(latest.code(), Code::NotFound);
    let request = v1::StartRunRequest {
        snapshot: orphan.clone(),
        ..start_request(restore_spec("orders"))
    };
    let started = s.start(request).await.expect("started").run.expect("a run");
    assert_eq!(restore_of(&started).snapshot_id, orphan);
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_into_another_source_reads_the_first_ones_repository() {
    let mut s = stage().await;
    let id = snapshot_id('a');
    s.back_up("orders", &id).await;
    let mut spec = restore_spec("orders");
    spec.source = "copy".into();
    let request = v1::StartRunRequest {
        agent: "db1".into(),
        ..start_request(spec)
    };
    let started = s.start(request).await.expect("started").run.expect("a run");
    let given = s.session.begin().await;
    assert_eq!(given.run_id, started.id);
    let grant = given.grant.expect("a grant");
    assert_eq!(grant.repository, "orders");
    // The password is the other source's, and the audit log says so.
    let backup = start_backup(&mut s.control, "orders").await;
    let own = s.session.begin().await;
    assert_eq!(own.run_id, backup.id);
    assert_eq!(
        own.grant.expect("a grant").repository_password,
        grant.repository_password
    );
    s.running.stop().await;
    let (store, _lock) = crate::store_schema::open(&s.at).await;
    let mut connection = store.read().await.expect("readable");
    let rows = holdfast_coordinator::store::audit::list(&mut connection, 0, 1000)
        .await
        .expect("listed");
    let told = rows
        .iter()
        .find(|row| row.subject == started.id)
        .expect("audited");
    assert!(
        told.detail.contains("with the password of source orders"),
        "{}",
        told.detail
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_drops_what_was_there_backs_it_up_first() {
    let mut s = stage().await;
    s.back_up("orders", &snapshot_id('a')).await;
    let mut spec = restore_spec("orders");
    if let Some(v1::run_spec::Detail::Restore(restore)) = &mut spec.detail {
        restore.drop_old = true;
    }
    let started = s.start(start_request(spec.clone())).await.expect("started");
    let (run, safety) = (
        started.run.expect("a run"),
        started.safety_run.expect("a safety backup"),
    );
    assert_eq!(run.after_run_id, safety.id);
    assert!(run.waiting_for.contains(&safety.id), "{}", run.waiting_for);
    assert_eq!(s.session.begin().await.run_id, safety.id);
    let id = snapshot_id('d');
    assert!(s.session.ask_commit(&safety.id, 1, &id).await.permitted);
    s.session.finish(&safety.id, 1, backup_result(&id)).await;
    assert_eq!(s.session.begin().await.run_id, run.id);
    let decision = s.session.ask_commit(&run.id, 1, "").await;
    assert!(decision.permitted, "{}", decision.reason);
    let restored = v1::run_result::Result::Restore(v1::RestoreResult::default());
    s.session.finish(&run.id, 1, restored).await;
    assert_eq!(
        run_of(&mut s.control, &run.id).await.state(),
        v1::RunState::Succeeded
    );

    // A safety backup that fails takes the restore with it.
    let started = s.start(start_request(spec.clone())).await.expect("started");
    let (run, safety) = (
        started.run.expect("a run"),
        started.safety_run.expect("a safety backup"),
    );
    s.session.begin().await;
    s.session
        .finish(&safety.id, 1, failed(v1::FailureClass::Permanent))
        .await;
    let run = until(&mut s.control, &run.id, v1::RunState::Failed).await;
    assert!(
        format!("{:?}", run.result).contains("safety backup"),
        "{run:?}"
    );

    // And none is made where the operator says so.
    let request = v1::StartRunRequest {
        no_safety: true,
        ..start_request(spec)
    };
    assert!(
        s.start(request)
            .await
            .expect("started")
            .safety_run
            .is_none()
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_a_copy_needs_no_grant() {
    let mut s = stage().await;
    let spec = v1::RunSpec {
        kind: v1::RunKind::DropCopy.into(),
        source: "orders".into(),
        vault: String::new(),
        detail: Some(v1::run_spec::Detail::DropCopy(v1::DropCopySpec {
            database: "app_before_1".into(),
        })),
    };
    let run = s
        .start(start_request(spec))
        .await
        .expect("started")
        .run
        .expect("a run");
    let given = s.session.begin().await;
    assert!(given.grant.is_none());
    assert!(s.session.ask_commit(&run.id, 1, "").await.permitted);
    let done = v1::run_result::Result::DroppedCopy("app_before_1".into());
    s.session.finish(&run.id, 1, done).await;
    assert_eq!(
        run_of(&mut s.control, &run.id).await.state(),
        v1::RunState::Succeeded
    );
    s.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_trace_goes_with_the_run() {
    let mut s = stage().await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut request = Request::new(start_request(backup_spec("orders")));
    request
        .metadata_mut()
        .insert("traceparent", trace.parse().expect("ascii"));
    s.control.start_run(request).await.expect("started");
    assert_eq!(s.session.begin().await.traceparent, trace);
    s.running.stop().await;
}

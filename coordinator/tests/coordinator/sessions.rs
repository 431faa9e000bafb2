//! Sessions: clones, reconnects, strangers' runs, slow readers.

use std::time::Duration;

use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message as Said;
use holdfast_proto::v1::coordinator_message::Message;
use tonic::Code;

use crate::support::agent::{FakeAgent, held};
use crate::support::{Database, Installation, run_of, start_backup, until};

#[tokio::test(flavor = "multi_thread")]
async fn another_process_with_the_same_certificate_displaces_the_first() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let mut first = agent.connect(&at).await;
    let mut clone = agent.cloned_process();
    clone.sources = agent.sources.clone();
    let mut hello = clone.hello(&[]);
    hello.hostname = "elsewhere".into();
    let _second = clone.connect_with(&at, hello).await.expect("a session");

    let displaced = first.wait(|message| match message {
        Message::Displaced(displaced) => Some(displaced),
        _ => None,
    });
    assert_eq!(displaced.await.by_host, "elsewhere");
    assert_eq!(
        first.next().await.expect("no error"),
        None,
        "the session ends"
    );
    let status = control
        .status(v1::StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    let line = &status.attention[0];
    assert!(
        line.contains("db1 was displaced") && line.contains("elsewhere"),
        "{line}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_process_reconnects_silently() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let mut first = agent.connect(&at).await;
    let _second = agent.connect(&at).await;
    assert_eq!(
        first.next().await.expect("no error"),
        None,
        "ended, not displaced"
    );
    let agents = control
        .list_agents(v1::ListAgentsRequest {})
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(agents.agents[0].state(), v1::AgentState::Connected);
    let status = control
        .status(v1::StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    assert!(
        !status
            .attention
            .iter()
            .any(|line| line.contains("displaced"))
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_names_another_agents_run_is_refused() {
    let at = Installation::with(Database::Sqlite, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let one = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let two = FakeAgent::join(&mut control, "db2", &["users"]).await;
    let mut session = one.connect(&at).await;
    let run = start_backup(&mut control, "orders").await;
    session.begin().await;
    until(&mut control, &run.id, v1::RunState::Running).await;

    let result = Some(v1::RunResult {
        result: Some(crate::support::failed(v1::FailureClass::Permanent)),
    });
    let (run_id, epoch) = (run.id.clone(), 1);
    let claims = [
        Said::RunFinished(v1::RunFinished {
            run_id: run_id.clone(),
            epoch,
            result,
        }),
        Said::RunStarted(v1::RunStarted {
            run_id: run_id.clone(),
            epoch,
        }),
        Said::CommitRequest(v1::CommitRequest {
            run_id: run_id.clone(),
            epoch,
            snapshot_id: crate::support::snapshot_id('a'),
            snapshot_bytes: 1,
        }),
        Said::GrantRequest(v1::GrantRequest {
            run_id: run_id.clone(),
            epoch,
        }),
        Said::LeaseRenewal(v1::LeaseRenewal {
            runs: vec![held(&run_id, 1)],
        }),
        Said::RunLog(v1::RunLog {
            run_id: run_id.clone(),
            epoch,
            lines: Vec::new(),
        }),
        Said::RunProgress(v1::RunProgress {
            run_id: run_id.clone(),
            epoch,
            progress: None,
        }),
    ];
    for claim in claims {
        let mut stranger = two.connect(&at).await;
        stranger.send(claim.clone()).await;
        let refused = stranger.end().await.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied, "{claim:?}");
    }
    // Named in a hello it is simply not kept.
    let stranger = two.connect_holding(&at, &[held(&run.id, 1)]).await;
    assert!(stranger.welcome.kept_runs.is_empty());
    assert_eq!(
        run_of(&mut control, &run.id).await.state(),
        v1::RunState::Running
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_belongs_to_one_agent() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let one = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let two = FakeAgent::join(&mut control, "db2", &["orders", "users", "Not A Name"]).await;
    let first = one.connect(&at).await;
    assert!(first.welcome.rejected_sources.is_empty());
    let second = two.connect(&at).await;
    let rejected = &second.welcome.rejected_sources;
    assert_eq!(rejected.len(), 2);
    assert!(rejected["orders"].contains("db1"), "{rejected:?}");
    // Once its agent is revoked, another may have it.
    control
        .revoke_agent(v1::RevokeAgentRequest { name: "db1".into() })
        .await
        .expect("revoked");
    let second = two.connect(&at).await;
    assert!(!second.welcome.rejected_sources.contains_key("orders"));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_another_contract_version_is_refused() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let mut hello = agent.hello(&[]);
    if let Some(version) = &mut hello.version {
        version.major += 1;
    }
    let refused = agent
        .connect_with(&at, hello)
        .await
        .map(|_| ())
        .expect_err("refused");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused.message().contains("update the older"),
        "{}",
        refused.message()
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_agent_delays_no_other() {
    let at = Installation::with(Database::Sqlite, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let stuck = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let lively = FakeAgent::join(&mut control, "db2", &["users"]).await;
    let silent = stuck.connect(&at).await;
    let mut session = lively.connect(&at).await;
    // Answers pile up for one that never reads: HTTP/2's window, then the queue, then it waits alone.
    for _ in 0..64 {
        let renewal = v1::LeaseRenewal {
            runs: vec![held(&uuid::Uuid::now_v7().to_string(), 1); 200],
        };
        let sent = silent.send(Said::LeaseRenewal(renewal));
        if tokio::time::timeout(Duration::from_millis(200), sent)
            .await
            .is_err()
        {
            break;
        }
    }
    let run = start_backup(&mut control, "users").await;
    let begun = tokio::time::timeout(Duration::from_secs(3), session.begin()).await;
    assert_eq!(begun.expect("at once").run_id, run.id);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_far_off_is_told() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let mut hello = agent.hello(&[]);
    hello.clock_micros += 3_600_000_000;
    let _session = agent.connect_with(&at, hello).await.expect("a session");
    let status = control
        .status(v1::StatusRequest {})
        .await
        .expect("status")
        .into_inner();
    let told = status
        .attention
        .iter()
        .any(|line| line.contains("clock of agent db1") && line.contains("ahead"));
    assert!(told, "{:?}", status.attention);
    running.stop().await;
}

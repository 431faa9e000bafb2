//! Invitations, joining, renewals, revocation.

use std::time::Duration;

use holdfast_identity::{
    CaCertificate, Certificate, ClientTls, IdentitySlot, JoinSecret, JoinToken, NewKey,
};
use holdfast_proto::v1;
use holdfast_proto::v1::agent_service_client::AgentServiceClient;
use tonic::Code;

use crate::support::agent::{FakeAgent, invite, join};
use crate::support::{Database, Installation, on_both, start_backup};

on_both!(
    a_token_lets_one_agent_in_once,
    a_revoked_agent_is_out_at_once
);

async fn a_token_lets_one_agent_in_once(database: Database) {
    let at = Installation::new(database);
    let running = at.start().await;
    let mut control = at.admin().await;
    let token = invite(&mut control, "db1").await;
    assert_eq!(token.address(), &at.address());
    let agents = control
        .list_agents(v1::ListAgentsRequest {})
        .await
        .expect("listed")
        .into_inner();
    assert_eq!(agents.agents[0].state(), v1::AgentState::Invited);

    let identity = join(&token, "whatever-it-says").await.expect("joined");
    assert_eq!(
        identity.peer().name(),
        "db1",
        "the name is the invitation's"
    );
    let again = join(&token, "db1").await.expect_err("used");
    assert_eq!(again.code(), Code::PermissionDenied);
    assert!(
        again.message().contains("used already"),
        "{}",
        again.message()
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_with_a_guessed_secret_or_id_is_refused_and_not_used_up() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let token = invite(&mut control, "db1").await;
    let guess = |id, secret| JoinToken::new(token.address().clone(), token.pin(), id, secret);
    let wrong_secret = guess(token.id(), JoinSecret::generate().expect("random"));
    let wrong_id = guess(uuid::Uuid::now_v7(), token.secret().clone());
    for wrong in [wrong_secret, wrong_id] {
        let refused = join(&wrong, "db1").await.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied);
        assert!(
            refused.message().contains("not known"),
            "{}",
            refused.message()
        );
    }
    join(&token, "db1").await.expect("still good");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let request = v1::InviteAgentRequest {
        name: "db1".into(),
        expires_in_seconds: 1,
    };
    let invited = control
        .invite_agent(request)
        .await
        .expect("invited")
        .into_inner();
    let token: JoinToken = invited.token.parse().expect("a token");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let refused = join(&token, "db1").await.expect_err("refused");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(
        refused.message().contains("expired"),
        "{}",
        refused.message()
    );
    for name in ["", "A b", "../x"] {
        let request = v1::InviteAgentRequest {
            name: name.into(),
            expires_in_seconds: 0,
        };
        let refused = control.invite_agent(request).await.expect_err("no name");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_joins_again_keeps_its_id_and_its_old_certificate_is_refused() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let first = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let second = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    assert_eq!(first.identity.peer().id(), second.identity.peer().id());
    let tls = ClientTls::with_identity(IdentitySlot::new(first.identity)).expect("TLS");
    assert!(tls.connect(&at.address()).await.is_err());
    second.connect(&at).await;
    running.stop().await;
}

async fn a_revoked_agent_is_out_at_once(database: Database) {
    let at = Installation::with(database, "");
    let running = at.start().await;
    let mut control = at.admin().await;
    at.add_vault(&mut control, "main").await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let mut session = agent.connect(&at).await;
    let run = start_backup(&mut control, "orders").await;
    session.begin().await;

    let request = v1::RevokeAgentRequest { name: "db1".into() };
    let revoked = control
        .revoke_agent(request)
        .await
        .expect("revoked")
        .into_inner();
    assert_eq!(revoked.cancelled_run_ids, [run.id]);
    let told = revoked.remaining.join("\n");
    assert!(
        told.contains("password of the repository orders in vault main"),
        "{told}"
    );
    assert!(told.contains("folder of vault main"), "{told}");
    let ended = session.end().await.expect_err("the session ends");
    assert_eq!(ended.code(), Code::PermissionDenied);
    let connect = |identity| {
        let tls = ClientTls::with_identity(IdentitySlot::new(identity)).expect("TLS");
        let address = at.address();
        async move { tls.connect(&address).await.map(|_| ()) }
    };
    assert!(connect(agent.identity.clone()).await.is_err());
    // Also after a restart.
    running.stop().await;
    let running = at.start().await;
    let mut control = at.admin().await;
    assert!(connect(agent.identity.clone()).await.is_err());
    // A new invitation lets it in again; the old certificate stays out.
    let back = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    assert_eq!(back.identity.peer().id(), agent.identity.peer().id());
    back.connect(&at).await;
    assert!(connect(agent.identity).await.is_err());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_and_operators_renew_their_certificates() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let agent = FakeAgent::join(&mut control, "db1", &["orders"]).await;
    let key = NewKey::generate("anything").expect("a key");
    let request = v1::RenewRequest {
        csr: key.request_der().to_vec(),
    };
    let mut client = AgentServiceClient::new(at.channel(agent.identity.clone()).await);
    let renewed = client.renew(request).await.expect("renewed").into_inner();
    let certificate = Certificate::from_pem(&renewed.certificate_pem).expect("a certificate");
    assert_eq!(
        certificate.peer().subject(),
        agent.identity.peer().subject()
    );
    assert_ne!(certificate.peer().serial(), agent.identity.peer().serial());
    let ca = CaCertificate::from_pem(&renewed.ca_pem).expect("an authority");
    let identity = key.with_certificate(certificate, ca).expect("they fit");
    FakeAgent { identity, ..agent }.connect(&at).await;

    let key = NewKey::generate("anything").expect("a key");
    let request = v1::RenewRequest {
        csr: key.request_der().to_vec(),
    };
    let renewed = control.renew(request).await.expect("renewed").into_inner();
    let certificate = Certificate::from_pem(&renewed.certificate_pem).expect("a certificate");
    assert_eq!(certificate.peer().name(), "ann");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_coordinator_renews_its_own_certificate_while_it_serves() {
    let at = Installation::with(Database::Sqlite, "[certificates]\ncoordinator = \"6s\"\n");
    // What `init` made lives for a year; this one is short.
    std::fs::remove_file(at.dir().join("coordinator.pem")).expect("removed");
    let running = at.start().await;
    let files = holdfast_identity::IdentityFiles::at(at.dir().join("coordinator.pem"));
    let serial = || {
        let identity = files.load().expect("readable").expect("there");
        identity.peer().serial().to_owned()
    };
    let (first, mut control) = (serial(), at.admin().await);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while serial() == first {
        assert!(tokio::time::Instant::now() < deadline, "never renewed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The connection of before still works, and so does a new one after the first certificate has run out.
    control
        .status(v1::StatusRequest {})
        .await
        .expect("still connected");
    tokio::time::sleep(Duration::from_secs(4)).await;
    at.admin()
        .await
        .status(v1::StatusRequest {})
        .await
        .expect("connected anew");
    running.stop().await;
}

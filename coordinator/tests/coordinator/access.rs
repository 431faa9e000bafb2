//! Who may call what, over real connections.

use std::time::Duration;

use holdfast_identity::{
    CertificateAuthority, ClientTls, Identity, IdentitySlot, OperatorRole, Role, Subject, Validity,
};
use holdfast_proto::v1;
use holdfast_proto::v1::agent_service_client::AgentServiceClient;
use holdfast_proto::v1::control_service_client::ControlServiceClient;
use jiff::{SignedDuration, Timestamp};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use uuid::Uuid;

use crate::support::agent::FakeAgent;
use crate::support::{Database, Installation};

async fn anonymous(at: &Installation) -> Channel {
    let tls = ClientTls::anonymous(at.authority().certificate()).expect("TLS");
    tls.connect(&at.address()).await.expect("connected")
}

async fn call_status(channel: Channel) -> Result<(), Status> {
    let mut client = ControlServiceClient::new(channel);
    client.status(v1::StatusRequest {}).await.map(|_| ())
}

async fn call_health(channel: Channel) -> Result<(), Status> {
    let request = HealthCheckRequest::default();
    HealthClient::new(channel).check(request).await.map(|_| ())
}

async fn call_reflection(channel: Channel) -> Result<(), Status> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(channel);
    let answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await?;
    answers.into_inner().message().await.map(|_| ())
}

async fn call_session(channel: Channel) -> Result<(), Status> {
    let mut client = AgentServiceClient::new(channel);
    client
        .session(tokio_stream::iter(Vec::<v1::AgentMessage>::new()))
        .await
        .map(|_| ())
}

async fn call_agent_renew(channel: Channel) -> Result<(), Status> {
    let request = v1::RenewRequest { csr: Vec::new() };
    AgentServiceClient::new(channel)
        .renew(request)
        .await
        .map(|_| ())
}

async fn call_join(channel: Channel) -> Result<(), Status> {
    let request = v1::JoinRequest {
        version: Some(holdfast_proto::version::own()),
        ..Default::default()
    };
    AgentServiceClient::new(channel)
        .join(request)
        .await
        .map(|_| ())
}

fn code(outcome: Result<(), Status>) -> Code {
    outcome.map_or_else(|status| status.code(), |()| Code::Ok)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_only_join_answers() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let channel = anonymous(&at).await;
    assert_eq!(
        code(call_status(channel.clone()).await),
        Code::Unauthenticated
    );
    assert_eq!(
        code(call_health(channel.clone()).await),
        Code::Unauthenticated
    );
    assert_eq!(
        code(call_reflection(channel.clone()).await),
        Code::Unauthenticated
    );
    assert_eq!(
        code(call_session(channel.clone()).await),
        Code::Unauthenticated
    );
    assert_eq!(
        code(call_agent_renew(channel.clone()).await),
        Code::Unauthenticated
    );
    // It answers: the token is no good.
    assert_eq!(code(call_join(channel).await), Code::PermissionDenied);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_certificate_opens_its_own_side() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    let mut control = at.admin().await;
    let agent = FakeAgent::join(&mut control, "db1", &[]).await;
    let agent = at.channel(agent.identity).await;
    assert_eq!(
        code(call_status(agent.clone()).await),
        Code::PermissionDenied
    );
    assert_eq!(
        code(call_health(agent.clone()).await),
        Code::PermissionDenied
    );
    assert_eq!(
        code(call_reflection(agent.clone()).await),
        Code::PermissionDenied
    );
    // Let in; the empty request is what is wrong.
    assert_eq!(
        code(call_agent_renew(agent.clone()).await),
        Code::InvalidArgument
    );
    assert_eq!(code(call_session(agent).await), Code::InvalidArgument);

    let operator = at
        .channel(at.operator_identity(OperatorRole::Admin, "bob"))
        .await;
    assert_eq!(
        code(call_session(operator.clone()).await),
        Code::PermissionDenied
    );
    assert_eq!(
        code(call_agent_renew(operator.clone()).await),
        Code::PermissionDenied
    );
    assert_eq!(code(call_status(operator.clone()).await), Code::Ok);
    assert_eq!(code(call_health(operator.clone()).await), Code::Ok);
    assert_eq!(code(call_reflection(operator).await), Code::Ok);

    let other = at.channel(at.identity(Role::Coordinator, "other")).await;
    assert_eq!(
        code(call_status(other.clone()).await),
        Code::PermissionDenied
    );
    assert_eq!(code(call_session(other).await), Code::PermissionDenied);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_bound_what_operators_do() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    for role in OperatorRole::ALL {
        let mut control = at.control(at.operator_identity(role, "bob")).await;
        let code_of = |denied: bool| {
            if denied {
                Code::PermissionDenied
            } else {
                Code::NotFound
            }
        };
        // Looking: everybody.
        let run = v1::GetRunRequest {
            run_id: "01234567".into(),
        };
        let got = control.get_run(run).await.expect_err("no such run").code();
        assert_eq!(got, Code::NotFound, "{role}");
        // Running: operators and admins.
        let run = v1::CancelRunRequest {
            run_id: "01234567".into(),
        };
        let got = control
            .cancel_run(run)
            .await
            .expect_err("no such run")
            .code();
        assert_eq!(got, code_of(role < OperatorRole::Operator), "{role}");
        // The house: admins.
        let agent = v1::RevokeAgentRequest {
            name: "nobody".into(),
        };
        let got = control
            .revoke_agent(agent)
            .await
            .expect_err("no such agent")
            .code();
        assert_eq!(got, code_of(role < OperatorRole::Admin), "{role}");
        let kit = v1::GetVaultKitRequest {
            name: "none".into(),
        };
        let got = control
            .get_vault_kit(kit)
            .await
            .expect_err("no such vault")
            .code();
        assert_eq!(got, code_of(role < OperatorRole::Admin), "{role}");
    }
    running.stop().await;
}

async fn connects(at: &Installation, identity: Identity) -> bool {
    let tls = ClientTls::with_identity(IdentitySlot::new(identity)).expect("TLS");
    tls.connect(&at.address()).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_or_expired_gets_no_connection() {
    let at = Installation::new(Database::Sqlite);
    let running = at.start().await;
    // The stranger trusts our coordinator, so that only the coordinator's refusal is seen.
    let other = CertificateAuthority::create("other", Timestamp::now()).expect("made");
    let subject =
        Subject::new(Role::Operator(OperatorRole::Admin), Uuid::now_v7(), "eve").expect("a name");
    let validity = Validity::starting(Timestamp::now(), Duration::from_secs(3600)).expect("valid");
    let stranger = other.issue(&subject, validity).expect("issued");
    assert!(!connects(&at, stranger).await);

    let hours = |hours| Timestamp::now() - SignedDuration::from_hours(hours);
    let past = Validity::between(hours(48), hours(1)).expect("valid");
    let expired = at.authority().issue(&subject, past).expect("issued");
    assert!(!connects(&at, expired).await);
    let good = at.operator_identity(OperatorRole::Viewer, "bob");
    assert!(connects(&at, good).await);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_outlives_its_certificate_is_refused_and_its_session_ends() {
    let at = Installation::with(Database::Sqlite, "[certificates]\nagent = \"2s\"\n");
    let running = at.start().await;
    let mut control = at.admin().await;
    let agent = FakeAgent::join(&mut control, "db1", &[]).await;
    let channel = at.channel(agent.identity.clone()).await;
    let mut session = agent.connect(&at).await;
    let ended = session.end().await.expect_err("it ends");
    assert_eq!(ended.code(), Code::Unauthenticated);
    assert_eq!(code(call_agent_renew(channel).await), Code::Unauthenticated);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_answers_without_a_certificate_on_its_own_port() {
    let port = crate::support::installation::free_port();
    let at = Installation::new(Database::Sqlite);
    let text = std::fs::read_to_string(at.config()).expect("configuration");
    let text = format!("health_listen = \"127.0.0.1:{port}\"\n{text}");
    std::fs::write(at.config(), text).expect("configuration");
    let running = at.start().await;
    let endpoint = Channel::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    let channel = endpoint.connect().await.expect("connected");
    assert_eq!(code(call_health(channel.clone()).await), Code::Ok);
    assert_eq!(code(call_status(channel).await), Code::Unimplemented);
    running.stop().await;
}

#[test]
fn health_is_refused_on_an_address_that_others_reach() {
    let at = Installation::with(Database::Sqlite, "");
    let text = std::fs::read_to_string(at.config()).expect("configuration");
    std::fs::write(
        at.config(),
        format!("health_listen = \"0.0.0.0:1\"\n{text}"),
    )
    .expect("written");
    let error = holdfast_coordinator::config::Config::load(&at.config()).expect_err("refused");
    assert!(error.to_string().contains("loopback"), "{error}");
}

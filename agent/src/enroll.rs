//! Joining: a token becomes an identity.
//!
//! The order: everything that can be wrong on this host is found before the token is spent (it works once). The key
//! is made here and never leaves; the coordinator must show the authority the token pins, before it sees the
//! token's secret; what comes back is checked to belong together before it replaces anything.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::time::Duration;

use holdfast_config::read_secret;
use holdfast_identity::{
    CaCertificate, Certificate, ClientError, ClientTls, ConnectError, Identity, JoinToken, NewKey,
    Role,
};
use holdfast_proto::v1::agent_service_client::AgentServiceClient;
use holdfast_proto::{v1, version};
use jiff::Timestamp;
use secrecy::SecretString;

use crate::exit::{CommandError, Exit};
use crate::state::StateFolder;

/// Longest token read from standard input, in bytes.
const MAX_TOKEN_BYTES: u64 = 4096;
/// How long the coordinator may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Joins the coordinator that `token` names, and keeps the identity in `state`.
pub async fn join(
    state: &StateFolder,
    token: &JoinToken,
    force: bool,
) -> Result<Identity, CommandError> {
    refuse_to_overwrite(state, force)?;
    state.prepare()?;
    let key = NewKey::generate("agent").map_err(CommandError::failed)?;
    let answer = spend(token, key.request_der()).await?;
    let identity = assemble(token, key, &answer)?;
    state.save(token.address(), &identity)?;
    Ok(identity)
}

/// Reads a token from `file`, or from standard input.
pub fn read_token(file: Option<&Path>) -> Result<JoinToken, CommandError> {
    let text = match file {
        Some(file) => read_secret(file).map_err(CommandError::usage)?,
        None => read_from_stdin()?,
    };
    JoinToken::parse(&text).map_err(CommandError::usage)
}

fn read_from_stdin() -> Result<SecretString, CommandError> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!(
            "Paste the token that `holdfastctl agent invite NAME` printed, then press Enter:"
        );
        let mut line = String::new();
        stdin.read_line(&mut line).map_err(cannot_read)?;
        return Ok(line.into());
    }
    let mut text = String::new();
    stdin
        .lock()
        .take(MAX_TOKEN_BYTES)
        .read_to_string(&mut text)
        .map_err(cannot_read)?;
    if text.trim().is_empty() {
        return Err(CommandError::new(
            Exit::Usage,
            "no token on standard input",
            "holdfastctl agent invite NAME | holdfast-agent join --config agent.toml; or use --token-file",
        ));
    }
    Ok(text.into())
}

fn cannot_read(error: std::io::Error) -> CommandError {
    CommandError::usage(format!(
        "cannot read the token from standard input: {error}"
    ))
}

/// An identity that still works is not given away by a slip.
fn refuse_to_overwrite(state: &StateFolder, force: bool) -> Result<(), CommandError> {
    if force {
        return Ok(());
    }
    let hint = "to join anew all the same: holdfast-agent join --force";
    match state.identity().load() {
        Ok(None) => Ok(()),
        Ok(Some(identity)) if identity.is_expired(Timestamp::now()) => Ok(()),
        Ok(Some(identity)) => Err(CommandError::new(
            Exit::Refused,
            format!(
                "this agent has joined already, as {:?}, and its certificate is good until {} ({})",
                identity.peer().name(),
                identity.peer().not_after(),
                state.identity().path().display()
            ),
            hint,
        )),
        Err(error) => Err(CommandError::new(Exit::Refused, error, hint)),
    }
}

async fn spend(token: &JoinToken, csr: &[u8]) -> Result<v1::JoinResponse, CommandError> {
    let tls = ClientTls::pinned(token.pin()).map_err(CommandError::failed)?;
    let channel = tls.connect(token.address()).await.map_err(not_connected)?;
    let mut request = tonic::Request::new(v1::JoinRequest {
        token_id: token.id().to_string(),
        token_secret: token.secret().expose_bytes().to_vec(),
        csr: csr.to_vec(),
        version: Some(version::own()),
    });
    request.set_timeout(ANSWER_DEADLINE);
    let answer = AgentServiceClient::new(channel).join(request).await;
    Ok(answer
        .map_err(|status| refused(token, &status))?
        .into_inner())
}

fn not_connected(error: ClientError) -> CommandError {
    let exit = match &error {
        ClientError::Connect(inner) => match ConnectError::find(inner) {
            Some(found) if !found.is_worth_retrying() => Exit::Refused,
            _ => Exit::NotReachable,
        },
        ClientError::Identity(_) => Exit::Failed,
    };
    CommandError::new(exit, error, "")
}

fn refused(token: &JoinToken, status: &tonic::Status) -> CommandError {
    use tonic::Code;
    let (exit, hint) = match status.code() {
        Code::Unavailable | Code::DeadlineExceeded => (
            Exit::NotReachable,
            "see whether the coordinator runs, and try again",
        ),
        Code::FailedPrecondition => (Exit::Refused, ""),
        Code::PermissionDenied | Code::Unauthenticated | Code::NotFound | Code::AlreadyExists => (
            Exit::Refused,
            "a token works once and not for long: ask for a new one (holdfastctl agent invite NAME)",
        ),
        _ => (Exit::Failed, ""),
    };
    let said = status.message();
    // The coordinator's own hint, when there is one, is the better one.
    let hint = if said.contains("\nhint: ") { "" } else { hint };
    CommandError::new(
        exit,
        format!("{} did not let this agent join: {said}", token.address()),
        hint,
    )
}

/// Checks that key, certificate and authority belong together, and that the authority is the pinned one.
fn assemble(
    token: &JoinToken,
    key: NewKey,
    answer: &v1::JoinResponse,
) -> Result<Identity, CommandError> {
    let ca = CaCertificate::from_pem(&answer.ca_pem).map_err(CommandError::failed)?;
    if ca.pin() != token.pin() {
        return Err(CommandError::new(
            Exit::Refused,
            "the coordinator answered with another authority than the token pins",
            "ask for a new invitation, and check with whoever runs the coordinator",
        ));
    }
    let certificate =
        Certificate::from_pem(&answer.certificate_pem).map_err(CommandError::failed)?;
    if certificate.peer().role() != Role::Agent {
        return Err(CommandError::failed(
            "the coordinator answered with a certificate that is not an agent's",
        ));
    }
    key.with_certificate(certificate, ca)
        .map_err(CommandError::failed)
}

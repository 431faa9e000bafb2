//! Who a certificate belongs to: its subject when it is issued, the peer when it is presented.
//!
//! Promise: role and id are read from one place only, the URI among the certificate's alternative names
//! (`holdfast://agent/<uuid>`, `holdfast://coordinator/<uuid>`, `holdfast://operator/<uuid>/<role>`), and the
//! name from its one common name (CN). A certificate with none or several of either is nobody's.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use uuid::Uuid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::IdentityError;

/// Longest name, in bytes: RFC 5280's upper bound of a common name (`ub-common-name`).
const MAX_NAME_BYTES: usize = 64;

/// What an operator may do; each role may do what the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OperatorRole {
    /// May look.
    Viewer,
    /// May back up, restore and cancel.
    Operator,
    /// May invite, revoke, and change vaults and policies.
    Admin,
}

impl OperatorRole {
    /// All roles, the weakest first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word used in certificates and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for OperatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OperatorRole {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| format!("{text:?} is no role; roles are viewer, operator and admin"))
    }
}

/// Which side of the house a certificate opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// An agent beside a service.
    Agent,
    /// A coordinator.
    Coordinator,
    /// A person or a script with `holdfastctl`.
    Operator(OperatorRole),
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent => f.write_str("agent"),
            Self::Coordinator => f.write_str("coordinator"),
            Self::Operator(role) => write!(f, "operator ({role})"),
        }
    }
}

/// Whom a certificate is issued to. Made by the authority, never taken from a signing request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject {
    role: Role,
    id: Uuid,
    name: String,
}

impl Subject {
    /// A subject; the name is 1 to 64 bytes of letters, digits, `.`, `_`, `-` and `@`.
    pub fn new(role: Role, id: Uuid, name: impl Into<String>) -> Result<Self, IdentityError> {
        let name = name.into();
        check_name(&name)?;
        Ok(Self { role, id, name })
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The id, which stays when certificates are renewed.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The name a person gave.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn uri(&self) -> String {
        match self.role {
            Role::Agent => format!("holdfast://agent/{}", self.id),
            Role::Coordinator => format!("holdfast://coordinator/{}", self.id),
            Role::Operator(role) => format!("holdfast://operator/{}/{role}", self.id),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.role, self.name)
    }
}

/// Checks a name that is to stand in a certificate.
pub fn check_name(name: &str) -> Result<(), IdentityError> {
    let refuse = |reason| {
        Err(IdentityError::Name {
            name: name.chars().take(MAX_NAME_BYTES).collect(),
            reason,
        })
    };
    if name.is_empty() {
        return refuse("it is empty");
    }
    if name.len() > MAX_NAME_BYTES {
        return refuse("it is longer than 64 bytes");
    }
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse("it does not begin with a letter or a digit (a to z, A to Z, 0 to 9)");
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if !name.chars().all(allowed) {
        return refuse("only a to z, A to Z, 0 to 9, '.', '_', '-' and '@' may stand in it");
    }
    Ok(())
}

/// The other end of a connection, as its verified certificate names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    subject: Subject,
    serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

impl PeerIdentity {
    /// Reads the identity out of a certificate (DER). Signature and dates are **not** checked here: TLS did.
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let (rest, certificate) = X509Certificate::from_der(der)
            .map_err(|error| IdentityError::malformed("the certificate")(error.to_string()))?;
        if !rest.is_empty() {
            let reason = "it is followed by other bytes".to_owned();
            return Err(IdentityError::malformed("the certificate")(reason));
        }
        let (role, id) = parse_uri(&only_uri(&certificate)?)?;
        Ok(Self {
            subject: Subject::new(role, id, only_common_name(&certificate)?)?,
            serial: hex::encode(without_sign_byte(certificate.raw_serial())),
            not_before: timestamp(certificate.validity().not_before.timestamp())?,
            not_after: timestamp(certificate.validity().not_after.timestamp())?,
        })
    }

    /// Role, id and name together.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// What the certificate opens.
    pub fn role(&self) -> Role {
        self.subject.role
    }

    /// The id of the agent, the operator or the coordinator.
    pub fn id(&self) -> Uuid {
        self.subject.id
    }

    /// The name of the agent, the operator or the coordinator.
    pub fn name(&self) -> &str {
        &self.subject.name
    }

    /// The certificate's serial number in lower-case hex: what revocation of one certificate names.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// Valid from here on (backdated 24 h when it was issued).
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// Not valid any more after this. A connection made before may live longer: whoever serves it checks.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// True when the certificate has run out at `now`.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now > self.not_after
    }
}

fn only_uri(certificate: &X509Certificate<'_>) -> Result<String, IdentityError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| not_ours(format!("its alternative names cannot be read ({error})")))?
        .ok_or_else(|| not_ours("it has no alternative names"))?;
    let mut uris = names
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => Ok(uri.to_owned()),
        (None, _) => Err(not_ours("it has no URI among its alternative names")),
        (Some(_), Some(_)) => Err(not_ours("it has several URIs among its alternative names")),
    }
}

fn only_common_name(certificate: &X509Certificate<'_>) -> Result<String, IdentityError> {
    let mut names = certificate.subject().iter_common_name();
    match (names.next(), names.next()) {
        (Some(name), None) => name
            .as_str()
            .map(str::to_owned)
            .map_err(|error| not_ours(format!("its common name cannot be read ({error})"))),
        (None, _) => Err(not_ours("it has no common name")),
        (Some(_), Some(_)) => Err(not_ours("it has several common names")),
    }
}

fn parse_uri(uri: &str) -> Result<(Role, Uuid), IdentityError> {
    let unknown = || not_ours("its URI is not one of ours");
    let mut parts = uri
        .strip_prefix("holdfast://")
        .ok_or_else(unknown)?
        .split('/');
    let kind = parts.next().ok_or_else(unknown)?;
    let id = parts.next().and_then(|id| Uuid::parse_str(id).ok());
    let role = match (kind, parts.next()) {
        ("agent", None) => Some(Role::Agent),
        ("coordinator", None) => Some(Role::Coordinator),
        ("operator", Some(role)) => role.parse().ok().map(Role::Operator),
        _ => None,
    };
    match (role, id, parts.next()) {
        (Some(role), Some(id), None) => Ok((role, id)),
        _ => Err(unknown()),
    }
}

fn not_ours(reason: impl Into<String>) -> IdentityError {
    IdentityError::NotOurs {
        reason: reason.into(),
    }
}

/// DER puts a zero byte before a positive number whose highest bit is set.
fn without_sign_byte(serial: &[u8]) -> &[u8] {
    match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        _ => serial,
    }
}

fn timestamp(seconds: i64) -> Result<Timestamp, IdentityError> {
    Timestamp::from_second(seconds)
        .map_err(|error| IdentityError::malformed("the certificate")(error.to_string()))
}

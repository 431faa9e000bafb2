//! Keys, certificates, join tokens and the TLS of every connection between our own processes.
//!
//! One certificate authority per installation. Agents, operators and coordinators hold a certificate of it
//! that says what they are ([`Role`]), under which id, and by which name. A newcomer gets a [`JoinToken`], makes
//! its own key ([`NewKey`]), and sends a request; the authority signs the key and nothing else of it.
//!
//! ```text
//! coordinator                                   agent or operator
//! CertificateAuthority::create
//!   .issue_coordinator -> IdentitySlot
//! ServerTls::new, incoming, http2_server
//! JoinToken::new(..).reveal()      -- token ->  JoinToken::parse, ClientTls::pinned(..).connect
//! CertificateRequest::from_der     <- request - NewKey::generate
//! CertificateAuthority::sign       -- signed -> NewKey::with_certificate -> IdentityFiles::save
//! peer_of(request.extensions())    <- requests- ClientTls::with_identity(slot).channel
//! ```

mod address;
mod authority;
mod certificate;
mod error;
mod files;
mod identity;
mod pem;
mod random;
mod request;
mod slot;
mod subject;
mod tls;
mod token;
mod validity;

pub use address::{AddressError, CoordinatorAddress};
pub use authority::CertificateAuthority;
pub use certificate::{CaCertificate, CaPin, Certificate};
pub use error::IdentityError;
pub use files::IdentityFiles;
pub use identity::Identity;
pub use request::{CertificateRequest, NewKey};
pub use slot::IdentitySlot;
pub use subject::{OperatorRole, PeerIdentity, Role, Subject, check_name};
pub use tls::{
    AdmitPeer, ClientError, ClientTls, ConnectError, ConnectInfo, HANDSHAKE_DEADLINE,
    KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, Refusal, ServerTls, TlsConn, TlsIncoming, http2_server,
    incoming, peer_of,
};
pub use token::{JoinSecret, JoinSecretHash, JoinToken, TokenError};
pub use validity::{BACKDATED, Validity};

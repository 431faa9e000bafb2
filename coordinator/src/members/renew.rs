//! A new certificate for whoever holds a good one: same id, same name, same role.

use holdfast_identity::{PeerIdentity, Role};
use holdfast_proto::v1;

use super::join::record;
use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::store::{agents, audit};

/// Signs the caller's new key.
pub async fn renew(
    coordinator: &Coordinator,
    peer: &PeerIdentity,
    request: &v1::RenewRequest,
) -> Result<v1::RenewResponse> {
    let certificate = coordinator.pki.sign(&request.csr, peer.subject())?;
    let now = now_micros();
    let kind = match peer.role() {
        Role::Agent => "agent",
        Role::Operator(_) => "operator",
        Role::Coordinator => "coordinator",
    };
    let holder = format!("{kind} {}", peer.name());
    let mut tx = coordinator.store.begin().await?;
    let expires = record(&mut tx, &certificate, &holder, now).await?;
    if let (Role::Agent, Ok(id)) = (peer.role(), peer.id().to_string().parse()) {
        agents::renewed(&mut tx, id, expires).await?;
    }
    audit::add(
        &mut tx,
        now,
        &holder,
        "certificate.renew",
        peer.name(),
        peer.serial(),
    )
    .await?;
    tx.commit().await?;
    Ok(v1::RenewResponse {
        certificate_pem: certificate.to_pem(),
        ca_pem: coordinator.pki.authority().certificate().to_pem(),
    })
}

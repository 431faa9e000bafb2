//! The certificate's renewal at two thirds of its life, without a restart.
//!
//! A new key is made for each certificate. The file is written before the slot is exchanged, so that a crash in
//! between leaves an identity that works; the old certificate stays good until its own end.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use holdfast_identity::{
    CaCertificate, Certificate, ClientTls, CoordinatorAddress, Identity, IdentityFiles,
    IdentitySlot, NewKey,
};
use holdfast_proto::v1;
use holdfast_proto::v1::agent_service_client::AgentServiceClient;
use jiff::Timestamp;

/// The wall clock may jump, so the date is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// How long the coordinator may take to answer.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// Renews the identity in `slot` for as long as the process lives.
pub async fn keep_renewed(address: CoordinatorAddress, slot: IdentitySlot, files: IdentityFiles) {
    let mut pauses = pauses();
    loop {
        let wait = until_renewal(&slot.current());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
            continue;
        }
        match renew(&address, &slot, &files).await {
            Ok(until) => {
                tracing::info!(%until, "renewed the agent's certificate");
                pauses = self::pauses();
            }
            Err(error) => {
                let pause = pauses.next().unwrap_or(LOOK_EVERY);
                tracing::warn!(%error, ?pause, "cannot renew the agent's certificate yet");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// From a few seconds, for certificates that live for minutes, to an hour.
fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_secs(5))
        .with_max_delay(LOOK_EVERY)
        .with_jitter()
        .without_max_times()
        .build()
}

fn until_renewal(identity: &Identity) -> Duration {
    let left = identity.renew_at().duration_since(Timestamp::now());
    Duration::try_from(left)
        .unwrap_or(Duration::ZERO)
        .min(LOOK_EVERY)
}

/// One renewal; answers until when the new certificate holds.
pub async fn renew(
    address: &CoordinatorAddress,
    slot: &IdentitySlot,
    files: &IdentityFiles,
) -> anyhow::Result<Timestamp> {
    let current = slot.current();
    let key = NewKey::generate(current.peer().name())?;
    let channel = ClientTls::with_identity(slot.clone())?
        .connect(address)
        .await?;
    let mut request = tonic::Request::new(v1::RenewRequest {
        csr: key.request_der().to_vec(),
    });
    request.set_timeout(ANSWER_DEADLINE);
    let answer = AgentServiceClient::new(channel).renew(request).await;
    let answer = answer
        .map_err(|status| anyhow::anyhow!("the coordinator refused: {}", status.message()))?
        .into_inner();
    let ca = CaCertificate::from_pem(&answer.ca_pem)?;
    let certificate = Certificate::from_pem(&answer.certificate_pem)?;
    let identity = key.with_certificate(certificate, ca)?;
    anyhow::ensure!(
        identity.peer().subject() == current.peer().subject()
            && identity.ca().pin() == current.ca().pin(),
        "the coordinator answered with a certificate for somebody else, or of another authority"
    );
    let until = identity.peer().not_after();
    files.save(&identity)?;
    slot.replace(identity);
    Ok(until)
}

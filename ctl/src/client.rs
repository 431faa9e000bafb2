//! The connection to the coordinator.
//!
//! Order: read the configuration, connect (so that "not reachable" and "refused" are told as that), renew the operator's
//! certificate when two thirds of its life are over, then call. Every call has a deadline and carries the trace context.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use holdfast_identity::{
    CaCertificate, Certificate, ClientTls, CoordinatorAddress, IdentitySlot, NewKey,
};
use holdfast_proto::v1::{self, control_service_client::ControlServiceClient};
use jiff::Timestamp;
use tonic::service::{Interceptor, interceptor::InterceptedService};
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::config::Config;
use crate::exit::CommandError;

/// Deadline of calls that only look things up or write a row.
pub const QUICK: Duration = Duration::from_secs(30);

/// Deadline of calls that make the coordinator talk to a storage server.
pub const PROBING: Duration = Duration::from_secs(300);

/// Deadline of a scan over all of a vault.
pub const SCANNING: Duration = Duration::from_secs(3600);

/// Largest answer taken, in bytes: lists of snapshots carry their manifests.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// The generated client as it is used here.
pub type Control = ControlServiceClient<InterceptedService<Channel, TraceContext>>;

/// Puts the current span's W3C traceparent into each request.
#[derive(Debug, Clone, Copy)]
pub struct TraceContext;

impl Interceptor for TraceContext {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        holdfast_telemetry::grpc::inject(request.metadata_mut());
        Ok(request)
    }
}

/// A connected operator.
#[derive(Clone)]
pub struct Client {
    control: Control,
    address: CoordinatorAddress,
}

impl Client {
    /// Connects as the operator whom the configuration names.
    pub async fn connect(config: Option<&Path>) -> Result<Self, CommandError> {
        let config = Config::load(config)?;
        let slot = IdentitySlot::new(config.identity.clone());
        let channel = ClientTls::with_identity(slot)?
            .connect(&config.address)
            .await?;
        let control = ControlServiceClient::with_interceptor(channel, TraceContext)
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        let client = Self {
            control,
            address: config.address.clone(),
        };
        if config.identity.needs_renewal(Timestamp::now()) {
            client.renew_or_warn(&config).await;
        }
        Ok(client)
    }

    /// Makes one call within `deadline`.
    pub async fn call<T, F, Fut>(&self, deadline: Duration, call: F) -> Result<T, CommandError>
    where
        F: FnOnce(Control) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        self.try_call(deadline, call)
            .await
            .map_err(|status| self.explain(&status))
    }

    /// The same with the coordinator's own answer as the error, for callers that try again.
    pub async fn try_call<T, F, Fut>(&self, deadline: Duration, call: F) -> Result<T, Status>
    where
        F: FnOnce(Control) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        match tokio::time::timeout(deadline, call(self.control.clone())).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "no answer within {} s",
                deadline.as_secs()
            ))),
        }
    }

    /// A status as the operator's error.
    pub fn explain(&self, status: &Status) -> CommandError {
        CommandError::from_status(&self.address, status)
    }

    /// A certificate that could not be renewed today is good for another third of its life: the command goes on.
    async fn renew_or_warn(&self, config: &Config) {
        if let Err(error) = self.renew(config).await {
            tracing::warn!(
                expires = %config.identity.peer().not_after(),
                "cannot renew the operator's certificate in {}: {}",
                config.files.path().display(),
                error.message
            );
        }
    }

    async fn renew(&self, config: &Config) -> Result<(), CommandError> {
        let key = NewKey::generate(config.identity.peer().name())?;
        let csr = key.request_der().to_vec();
        let answer = self
            .call(QUICK, |mut control| async move {
                control.renew(v1::RenewRequest { csr }).await
            })
            .await?;
        let certificate = Certificate::from_pem(&answer.certificate_pem)?;
        let ca = CaCertificate::from_pem(&answer.ca_pem)?;
        config.files.save(&key.with_certificate(certificate, ca)?)?;
        Ok(())
    }
}

//! The S3 client as we need it: our credentials, the server's time, one hash, no retries of its own.
//!
//! - Credentials are asked for at every request and never cached, so that a renewed session takes effect at once.
//! - Requests are signed by this machine's clock plus an offset, which an answer that complains of a skew sets to
//!   the server's own time: a host whose clock is off can still back up.
//! - The payload's hash in the signature is the object's SHA-256, which was computed already.
//! - Retries belong to [`super::super::retry`].

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_s3::config::{
    BehaviorVersion, ConfigBag, Credentials, IdentityCache, Intercept, Region,
    RequestChecksumCalculation, ResponseChecksumValidation, RuntimeComponents,
    SharedCredentialsProvider, StalledStreamProtectionConfig, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_sdk_s3::error::BoxError;
use aws_sigv4::http_request::SignableBody;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_async::time::{SharedTimeSource, TimeSource};
use aws_smithy_http_client::{Connector, tls};
use aws_smithy_runtime_api::client::http::HttpConnectorSettings;
use secrecy::ExposeSecret;

use crate::address::S3Endpoint;
use crate::credentials::{CredentialsCell, S3Credentials};
use crate::id::Id;

/// How long a TCP connect with its TLS handshake may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// An idle connection is given up before a server's own, usually longer, patience ends.
const POOL_IDLE: Duration = Duration::from_secs(20);

/// This machine's clock, corrected by what the server said.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServerClock {
    ahead_ms: Arc<AtomicI64>,
}

impl ServerClock {
    /// Takes the server's time from the answer's `Date`. Returns the seconds by which this machine is ahead.
    pub(crate) fn learn(&self, answer: &HttpResponse) -> Option<i64> {
        let date = jiff::fmt::rfc2822::parse(answer.headers().get("date")?).ok()?;
        let server = date.timestamp().as_millisecond();
        let ahead = jiff::Timestamp::now().as_millisecond() - server;
        self.ahead_ms.store(ahead, Ordering::Relaxed);
        Some(ahead / 1000)
    }
}

impl TimeSource for ServerClock {
    fn now(&self) -> SystemTime {
        let ahead = self.ahead_ms.load(Ordering::Relaxed);
        let distance = Duration::from_millis(ahead.unsigned_abs());
        let own = SystemTime::now();
        let corrected = if ahead < 0 {
            own.checked_add(distance)
        } else {
            own.checked_sub(distance)
        };
        corrected.unwrap_or(own)
    }
}

/// Says which SHA-256 a payload has, so that signing does not compute it again.
#[derive(Debug)]
pub(super) struct KnownPayload(pub(super) Id);

#[aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint]
impl Intercept for KnownPayload {
    fn name(&self) -> &'static str {
        "KnownPayload"
    }

    fn modify_before_signing(
        &self,
        _: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let mut config = bag
            .load::<SigV4OperationSigningConfig>()
            .cloned()
            .ok_or("the request is not signed with version 4")?;
        config.signing_options.payload_override = Some(SignableBody::Precomputed(self.0.to_hex()));
        bag.interceptor_state().store_put(config);
        Ok(())
    }
}

#[derive(Debug)]
struct CellCredentials(CredentialsCell);

impl aws_credential_types::provider::ProvideCredentials for CellCredentials {
    fn provide_credentials<'a>(
        &'a self,
    ) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        aws_credential_types::provider::future::ProvideCredentials::ready(Ok(credentials_of(
            &self.0.current(),
        )))
    }
}

pub(crate) fn credentials_of(ours: &S3Credentials) -> Credentials {
    let token = ours.session_token.as_ref();
    Credentials::new(
        ours.access_key_id.clone(),
        ours.secret_access_key.expose_secret(),
        token.map(|token| token.expose_secret().to_owned()),
        None,
        "holdfast",
    )
}

/// TLS by rustls on aws-lc, with the system's certificates.
const TLS: tls::Provider = tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc);

/// Connections for a client.
pub(crate) fn http_client() -> aws_sdk_s3::config::SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(POOL_IDLE)
        .tls_provider(TLS)
        .build_https()
}

/// Connections for requests that somebody else has signed.
pub(super) fn connector() -> Connector {
    let settings = HttpConnectorSettings::builder()
        .connect_timeout(CONNECT_LIMIT)
        .build();
    Connector::builder()
        .connector_settings(settings)
        .sleep_impl(TokioSleep::new())
        .tls_provider(TLS)
        .build()
}

/// A client of the server at `endpoint`.
pub(super) fn connect(
    endpoint: &S3Endpoint,
    credentials: CredentialsCell,
    clock: &ServerClock,
) -> aws_sdk_s3::Client {
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(endpoint.region.clone()))
        .force_path_style(endpoint.path_style)
        .credentials_provider(SharedCredentialsProvider::new(CellCredentials(credentials)))
        .identity_cache(IdentityCache::no_cache())
        .http_client(http_client())
        .time_source(SharedTimeSource::new(clock.clone()))
        .timeout_config(
            TimeoutConfig::builder()
                .connect_timeout(CONNECT_LIMIT)
                .build(),
        )
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    config.set_endpoint_url(endpoint.endpoint.clone());
    aws_sdk_s3::Client::from_conf(config.build())
}

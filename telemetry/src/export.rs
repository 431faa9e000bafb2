//! The way to the collector: one batching provider for each signal that has an endpoint.
//!
//! Each provider hands batches to a thread of its own over a bounded queue (2,048 spans or records unless
//! `OTEL_BSP_*`, `OTEL_BLRP_*` say otherwise); a full queue drops. So a collector that hangs costs this process
//! nothing but what it did not see.

use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry::{KeyValue, global};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{
    LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tonic::transport::{Certificate, ClientTlsConfig};
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

use crate::environment::OtelEnvironment;
use crate::{TelemetryError, process_metrics};

/// The providers of the signals that are sent.
#[derive(Debug)]
pub struct Exporters {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
}

impl Exporters {
    /// Connects lazily: a collector that is away does not fail this.
    pub fn build(
        service: &'static str,
        environment: &OtelEnvironment,
    ) -> Result<Self, TelemetryError> {
        let resource = resource(service, environment);
        let exporters = Self {
            traces: build_traces(environment, &resource)?,
            metrics: build_metrics(environment, &resource)?,
            logs: build_logs(environment, &resource)?,
        };
        if let Some(provider) = &exporters.metrics {
            global::set_meter_provider(provider.clone());
        }
        Ok(exporters)
    }

    pub fn span_layer<S>(&self, service: &'static str) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let tracer = self.traces.as_ref()?.tracer(service);
        Some(
            tracing_opentelemetry::layer()
                .with_tracer(tracer)
                .with_threads(false),
        )
    }

    pub fn log_layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        self.logs.as_ref().map(OpenTelemetryTracingBridge::new)
    }

    /// Memory and processor time of this process, when metrics are sent.
    pub fn observe_process(&self) {
        if self.metrics.is_some() {
            process_metrics::observe(&crate::meter());
        }
    }

    /// Flushes and ends all providers at once. The providers block, so each gets a thread of its own: one that
    /// outlives the deadline ends with the process and holds up nothing, where a task of the runtime's blocking pool
    /// would be waited for.
    pub async fn shutdown(self, deadline: Duration) {
        let mut ends = Vec::new();
        if let Some(traces) = self.traces {
            ends.push(on_own_thread(move || {
                traces.shutdown_with_timeout(deadline).is_ok()
            }));
        }
        if let Some(logs) = self.logs {
            ends.push(on_own_thread(move || {
                logs.shutdown_with_timeout(deadline).is_ok()
            }));
        }
        if let Some(metrics) = self.metrics {
            ends.push(on_own_thread(move || {
                metrics.shutdown_with_timeout(deadline).is_ok()
            }));
        }
        let all = async {
            let mut sent = true;
            for end in ends {
                sent &= end.await.unwrap_or(false);
            }
            sent
        };
        if !tokio::time::timeout(deadline, all).await.unwrap_or(false) {
            tracing::warn!(
                "some telemetry was not delivered to the collector before the process ended"
            );
        }
    }
}

fn on_own_thread(
    work: impl FnOnce() -> bool + Send + 'static,
) -> tokio::sync::oneshot::Receiver<bool> {
    let (done, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let _ = done.send(work());
    });
    wait
}

fn resource(service: &'static str, environment: &OtelEnvironment) -> Resource {
    let builder = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("process.pid", i64::from(std::process::id())),
    ]);
    if environment.names_service {
        builder.build()
    } else {
        builder.with_service_name(service).build()
    }
}

/// The exporters take endpoints from the environment by themselves, but know no authorities to check a collector's
/// certificate with.
fn tls(
    environment: &OtelEnvironment,
    endpoint: &str,
) -> Result<Option<ClientTlsConfig>, TelemetryError> {
    if !endpoint
        .trim_start()
        .to_ascii_lowercase()
        .starts_with("https")
    {
        return Ok(None);
    }
    let config = ClientTlsConfig::new().with_native_roots();
    let Some(file) = &environment.authority_file else {
        return Ok(Some(config));
    };
    let pem = std::fs::read(file).map_err(|error| {
        TelemetryError(format!(
            "OTEL_EXPORTER_OTLP_CERTIFICATE names {file}: {error}"
        ))
    })?;
    Ok(Some(config.ca_certificate(Certificate::from_pem(pem))))
}

fn unusable(
    endpoint: &str,
) -> impl Fn(opentelemetry_otlp::ExporterBuildError) -> TelemetryError + '_ {
    move |error| TelemetryError(format!("OTLP endpoint {endpoint:?}: {error}"))
}

fn build_traces(
    environment: &OtelEnvironment,
    resource: &Resource,
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let Some(endpoint) = &environment.traces else {
        return Ok(None);
    };
    let mut builder = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
    if let Some(tls) = tls(environment, endpoint)? {
        builder = builder.with_tls_config(tls);
    }
    let exporter = builder.build().map_err(unusable(endpoint))?;
    Ok(Some(
        SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.clone())
            .build(),
    ))
}

fn build_metrics(
    environment: &OtelEnvironment,
    resource: &Resource,
) -> Result<Option<SdkMeterProvider>, TelemetryError> {
    let Some(endpoint) = &environment.metrics else {
        return Ok(None);
    };
    let mut builder = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint);
    if let Some(tls) = tls(environment, endpoint)? {
        builder = builder.with_tls_config(tls);
    }
    let exporter = builder.build().map_err(unusable(endpoint))?;
    Ok(Some(
        SdkMeterProvider::builder()
            .with_periodic_exporter(exporter)
            .with_resource(resource.clone())
            .build(),
    ))
}

fn build_logs(
    environment: &OtelEnvironment,
    resource: &Resource,
) -> Result<Option<SdkLoggerProvider>, TelemetryError> {
    let Some(endpoint) = &environment.logs else {
        return Ok(None);
    };
    let mut builder = LogExporter::builder().with_tonic().with_endpoint(endpoint);
    if let Some(tls) = tls(environment, endpoint)? {
        builder = builder.with_tls_config(tls);
    }
    let exporter = builder.build().map_err(unusable(endpoint))?;
    Ok(Some(
        SdkLoggerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource.clone())
            .build(),
    ))
}

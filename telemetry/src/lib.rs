//! How a process of Holdfast is seen from outside: log lines on stderr, and traces, metrics and logs over OTLP when
//! the standard `OTEL_*` variables ask for it.
//!
//! Promises: without `OTEL_*` nothing is sent anywhere; a collector that is away never slows or fails the process
//! (queues are bounded, what does not fit is dropped); [`Telemetry::shutdown`] sends what is left within a deadline.
//! The trace context travels as a W3C traceparent, so that one run is one trace across all processes.

mod environment;
mod export;
mod filter;
pub mod grpc;
mod process_metrics;
mod trace_context;

use std::io::IsTerminal;
use std::time::Duration;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt};

pub use opentelemetry::KeyValue;
pub use trace_context::{continue_trace, traceparent};

use environment::OtelEnvironment;
use export::Exporters;

/// The variable that says which log lines are written, in the syntax of tracing's `EnvFilter`.
pub const LOG_VARIABLE: &str = "HOLDFAST_LOG";

/// How log lines on stderr look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up telemetry: {0}")]
pub struct TelemetryError(pub String);

/// Keeps telemetry alive; shut it down at the end of `main`.
#[derive(Debug)]
pub struct Telemetry {
    exporters: Exporters,
}

impl Telemetry {
    /// Sets the process's telemetry up. `service` is the binary's name; `default_filter` (such as `info`) holds when
    /// `HOLDFAST_LOG` is not set. Call once, inside the tokio runtime.
    ///
    /// # Errors
    /// A filter that does not parse, an `OTEL_*` setting that cannot be met, or a second call.
    pub fn init(
        service: &'static str,
        format: LogFormat,
        default_filter: &str,
    ) -> Result<Self, TelemetryError> {
        let filter = filter::parse(std::env::var(LOG_VARIABLE).ok(), default_filter)?;
        let exporters = Exporters::build(service, &OtelEnvironment::read()?)?;

        let traces = exporters
            .span_layer(service)
            .map(|layer| layer.with_filter(filter::exported_spans()));
        let logs = exporters
            .log_layer()
            .map(|layer| layer.with_filter(filter::exported_logs(filter.clone())));
        tracing_subscriber::registry()
            .with(stderr_layer(format, filter))
            .with(traces)
            .with(logs)
            .try_init()
            .map_err(|error| TelemetryError(error.to_string()))?;
        exporters.observe_process();
        Ok(Self { exporters })
    }

    /// Sends what is left, for at most `deadline`.
    pub async fn shutdown(self, deadline: Duration) {
        self.exporters.shutdown(deadline).await;
    }
}

/// Where this process's own metrics are made. Without `OTEL_*` they go nowhere and cost next to nothing.
#[must_use]
pub fn meter() -> opentelemetry::metrics::Meter {
    opentelemetry::global::meter("holdfast")
}

fn stderr_layer<S>(format: LogFormat, filter: EnvFilter) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let layer = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(format == LogFormat::Text && std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => layer.with_filter(filter::readable(filter)).boxed(),
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_filter(filter::readable(filter))
            .boxed(),
    }
}

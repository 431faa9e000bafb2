//! The part of the standard `OTEL_*` variables that decides whether anything is sent, and over which protocol.
//! Everything else (headers, timeouts, queue sizes, sampler, resource attributes) the OpenTelemetry SDK reads itself.
//! Source: OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter Configuration".

use crate::TelemetryError;

/// The three kinds of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
            Self::Logs => "LOGS",
        }
    }
}

/// Where each signal goes; `None`: nowhere.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OtelEnvironment {
    pub traces: Option<String>,
    pub metrics: Option<String>,
    pub logs: Option<String>,
    /// `OTEL_SERVICE_NAME` or a `service.name` among the resource attributes: the operator's name wins over ours.
    pub names_service: bool,
    /// PEM file of the authority that signed the collector's certificate.
    pub authority_file: Option<String>,
}

impl OtelEnvironment {
    pub fn read() -> Result<Self, TelemetryError> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, TelemetryError> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        if lookup("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(Self::default());
        }
        Ok(Self {
            traces: endpoint(&lookup, Signal::Traces)?,
            metrics: endpoint(&lookup, Signal::Metrics)?,
            logs: endpoint(&lookup, Signal::Logs)?,
            names_service: lookup("OTEL_SERVICE_NAME").is_some()
                || lookup("OTEL_RESOURCE_ATTRIBUTES")
                    .is_some_and(|list| list.contains("service.name=")),
            authority_file: lookup("OTEL_EXPORTER_OTLP_CERTIFICATE"),
        })
    }
}

fn endpoint(
    lookup: &impl Fn(&str) -> Option<String>,
    signal: Signal,
) -> Result<Option<String>, TelemetryError> {
    let name = signal.name();
    match lookup(&format!("OTEL_{name}_EXPORTER")).as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(None),
        Some(other) => {
            return Err(TelemetryError(format!(
                "OTEL_{name}_EXPORTER is {other:?}; known are otlp and none"
            )));
        }
    }
    let Some(endpoint) = lookup(&format!("OTEL_EXPORTER_OTLP_{name}_ENDPOINT"))
        .or_else(|| lookup("OTEL_EXPORTER_OTLP_ENDPOINT"))
    else {
        return Ok(None);
    };
    let protocol = lookup(&format!("OTEL_EXPORTER_OTLP_{name}_PROTOCOL"))
        .or_else(|| lookup("OTEL_EXPORTER_OTLP_PROTOCOL"));
    match protocol.as_deref() {
        None | Some("grpc") => Ok(Some(endpoint)),
        Some(other) => Err(TelemetryError(format!(
            "the OTLP protocol of {} is set to {other:?}; only grpc is built in (collectors take it on port 4317)",
            name.to_lowercase()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<OtelEnvironment, TelemetryError> {
        OtelEnvironment::from_lookup(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_is_sent_unless_asked_for() {
        assert_eq!(read(&[]).unwrap(), OtelEnvironment::default());
        assert_eq!(
            read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]).unwrap(),
            OtelEnvironment::default()
        );
        assert_eq!(
            read(&[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317"),
                ("OTEL_SDK_DISABLED", "true")
            ])
            .unwrap(),
            OtelEnvironment::default()
        );
    }

    #[test]
    fn a_signals_own_endpoint_wins_and_none_silences_it() {
        let read = read(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4317"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4317"),
            ("OTEL_LOGS_EXPORTER", "none"),
        ])
        .unwrap();
        assert_eq!(read.traces.as_deref(), Some("http://traces:4317"));
        assert_eq!(read.metrics.as_deref(), Some("http://all:4317"));
        assert_eq!(read.logs, None);
    }

    #[test]
    fn what_cannot_be_met_is_an_error() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318");
        let error =
            read(&[endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]).unwrap_err();
        assert!(error.to_string().contains("only grpc"), "{error}");
        let error = read(&[endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")]).unwrap_err();
        assert!(
            error.to_string().contains("OTEL_TRACES_EXPORTER"),
            "{error}"
        );
    }
}

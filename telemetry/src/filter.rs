//! Which spans and events go where.
//!
//! Two rules hold whatever the operator asks for. Libraries below us never write at TRACE: there they print the bytes
//! they move, secrets among them. And what the exporter itself causes (its own HTTP/2 frames, its own complaints) is
//! never exported: each export would cause the next one.

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::Filter;

use crate::{LOG_VARIABLE, TelemetryError};

/// What the exporter is made of.
const EXPORTER_TARGETS: [&str; 6] = [
    "h2",
    "hyper",
    "hyper_util",
    "opentelemetry",
    "tonic",
    "tower",
];

/// The filter from `HOLDFAST_LOG`, else the default.
pub fn parse(variable: Option<String>, default: &str) -> Result<EnvFilter, TelemetryError> {
    let given = variable.filter(|text| !text.trim().is_empty());
    let (text, origin) = match &given {
        Some(text) => (text.as_str(), LOG_VARIABLE),
        None => (default, "the default filter"),
    };
    EnvFilter::try_new(text).map_err(|error| {
        TelemetryError(format!(
            "{origin} is {text:?}: {error}; write a level (error, warn, info, debug) or target=level pairs \
             separated by commas"
        ))
    })
}

/// Log lines on stderr.
pub fn readable<S: Subscriber>(filter: EnvFilter) -> impl Filter<S>
where
    EnvFilter: Filter<S>,
{
    FilterExt::<S>::and(filter, filter_fn(speaks_without_bytes))
}

/// Log records for the collector: those of stderr without the exporter's own.
pub fn exported_logs<S: Subscriber>(filter: EnvFilter) -> impl Filter<S>
where
    EnvFilter: Filter<S>,
{
    FilterExt::<S>::and(readable(filter), targets(LevelFilter::TRACE))
}

/// Spans for the collector, whatever stderr shows: ours in detail, those of libraries from INFO on.
pub fn exported_spans() -> Targets {
    targets(LevelFilter::INFO).with_target("holdfast", LevelFilter::DEBUG)
}

fn targets(others: LevelFilter) -> Targets {
    Targets::new()
        .with_default(others)
        .with_targets(EXPORTER_TARGETS.map(|target| (target, LevelFilter::OFF)))
}

fn speaks_without_bytes(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("holdfast") || *metadata.level() <= Level::DEBUG
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_filter_names_the_variable() {
        let error = parse(Some("info,=x=".into()), "info")
            .unwrap_err()
            .to_string();
        assert!(error.contains("HOLDFAST_LOG"), "{error}");
        assert!(error.contains("info,=x="), "{error}");
    }

    #[test]
    fn an_empty_variable_means_the_default() {
        assert_eq!(parse(Some(" ".into()), "warn").unwrap().to_string(), "warn");
        assert_eq!(parse(None, "info").unwrap().to_string(), "info");
        assert_eq!(
            parse(Some("debug".into()), "info").unwrap().to_string(),
            "debug"
        );
    }

    #[test]
    fn the_exporter_is_not_exported() {
        let spans = exported_spans();
        for target in [
            "h2::proto",
            "tonic::transport",
            "opentelemetry_sdk",
            "hyper_util::client",
        ] {
            assert!(!spans.would_enable(target, &Level::ERROR), "{target}");
        }
        assert!(spans.would_enable("holdfast_vault::storage", &Level::DEBUG));
        assert!(spans.would_enable("holdfastctl", &Level::INFO));
        assert!(!spans.would_enable("sqlx::query", &Level::DEBUG));
    }
}

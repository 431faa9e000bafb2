//! Counters of ended runs, sent where `OTEL_*` asks for metrics and free otherwise.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Histogram};
use opentelemetry::{KeyValue, global};

struct Instruments {
    runs: Counter<u64>,
    seconds: Histogram<f64>,
}

static INSTRUMENTS: OnceLock<Instruments> = OnceLock::new();

/// Counts a run that has ended in this process.
pub fn run_ended(kind: &'static str, done: bool, took: Duration) {
    let instruments = INSTRUMENTS.get_or_init(|| {
        let meter = global::meter("holdfast-agent");
        Instruments {
            runs: meter
                .u64_counter("holdfast.agent.runs")
                .with_description("Runs that have ended in this agent")
                .build(),
            seconds: meter
                .f64_histogram("holdfast.agent.run.duration")
                .with_unit("s")
                .with_description("How long runs took")
                .build(),
        }
    });
    let outcome = if done { "done" } else { "not done" };
    let labels = [
        KeyValue::new("kind", kind),
        KeyValue::new("outcome", outcome),
    ];
    instruments.runs.add(1, &labels);
    instruments.seconds.record(took.as_secs_f64(), &labels);
}

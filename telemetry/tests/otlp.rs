//! What a collector receives from a process, over real OTLP: the test runs itself as that process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on is to fail"
)]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use holdfast_telemetry::{KeyValue, LogFormat, Telemetry};
use holdfast_tests::collector::Collector;
use tracing::Instrument;

/// Set in the process under test: what it is to do.
const ROLE: &str = "HOLDFAST_TELEMETRY_TEST_ROLE";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Runs `role` in a process of its own, with these variables and no other `OTEL_*`.
fn run(role: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "process_under_test", "--nocapture"]);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("OTEL_")) {
        command.env_remove(name);
    }
    command
        .env_remove("HOLDFAST_LOG")
        .env(ROLE, role)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Not a test by itself: the process that the tests here look at. Without a role it has nothing to do.
#[test]
fn process_under_test() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let format = if role == "json" {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
    let status = runtime.block_on(async {
        let telemetry = match Telemetry::init("holdfast-example", format, "info") {
            Ok(telemetry) => telemetry,
            Err(error) => {
                eprintln!("{error}");
                return 2;
            }
        };
        work().await;
        telemetry.shutdown(Duration::from_secs(3)).await;
        0
    });
    std::process::exit(status);
}

async fn work() {
    let span = tracing::info_span!("run", run = "r1", source = "orders-db");
    holdfast_telemetry::continue_trace(&span, &format!("00-{TRACE}-00f067aa0ba902b7-01"));
    async {
        println!(
            "traceparent={}",
            holdfast_telemetry::traceparent().unwrap_or_default()
        );
        tracing::info!(table = "orders", "copied");
        tracing::trace!(target: "h2::codec", "bytes");
        async { tracing::debug!("inner") }
            .instrument(tracing::debug_span!(target: "holdfast_vault", "put"))
            .await;
    }
    .instrument(span)
    .await;
    holdfast_telemetry::meter()
        .u64_counter("holdfast.runs")
        .build()
        .add(3, &[KeyValue::new("state", "succeeded")]);
}

#[test]
fn traces_logs_and_metrics_arrive_and_nothing_of_the_exporter() {
    let receiver = Collector::start();
    let endpoint = receiver.endpoint();
    let output = run(
        "work",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
            // The loudest setting: the exporter talks about itself at every level.
            ("HOLDFAST_LOG", "trace"),
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));

    let spans = receiver.spans();
    let run = spans
        .iter()
        .find(|span| span.name == "run")
        .expect("the span run");
    let put = spans
        .iter()
        .find(|span| span.name == "put")
        .expect("the span put");
    assert_eq!(run.trace, TRACE);
    assert_eq!(run.parent, "00f067aa0ba902b7");
    assert_eq!((put.trace.as_str(), &put.parent), (TRACE, &run.id));
    assert_eq!(run.service, "holdfast-example");
    assert_eq!(spans.len(), 2, "only ours: {spans:?}");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        printed.contains(&format!("traceparent=00-{TRACE}-{}-01", run.id)),
        "{printed}"
    );

    let logs = receiver.logs();
    assert!(logs.contains(&"copied".to_owned()), "{logs:?}");
    assert!(
        logs.iter()
            .all(|line| ["copied", "inner"].contains(&line.as_str())),
        "{logs:?}"
    );

    let metrics = receiver.metrics();
    for name in ["holdfast.runs", "process.memory.usage", "process.cpu.time"] {
        assert!(metrics.contains(&name.to_owned()), "{name} in {metrics:?}");
    }
}

#[test]
fn stderr_keeps_bytes_of_libraries_out_even_at_trace() {
    let output = run("work", &[("HOLDFAST_LOG", "trace")]);
    let text = stderr(&output);
    assert!(
        text.contains("copied") && text.contains("orders-db"),
        "{text}"
    );
    assert!(!text.contains("h2::codec"), "{text}");
}

#[test]
fn without_variables_nothing_is_traced_and_lines_are_json_when_asked() {
    let output = run("json", &[]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("traceparent=\n"));
    let text = stderr(&output);
    let line = text
        .lines()
        .find(|line| line.contains("copied"))
        .expect("the line");
    assert!(
        line.starts_with('{') && line.contains(r#""table":"orders""#),
        "{line}"
    );
    assert!(line.contains(r#""source":"orders-db""#), "{line}");
}

#[test]
fn a_collector_that_hangs_holds_the_end_up_no_longer_than_the_deadline() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let started = Instant::now();
    let output = run("work", &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "{:?}",
        started.elapsed()
    );
    assert!(
        stderr(&output).contains("not delivered"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn settings_that_cannot_be_met_are_told() {
    let output = run("work", &[("HOLDFAST_LOG", "=,=")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("HOLDFAST_LOG"),
        "{}",
        stderr(&output)
    );
    let output = run(
        "work",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("only grpc"), "{}", stderr(&output));
}

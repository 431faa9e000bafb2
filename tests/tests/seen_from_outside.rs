//! What a collector sees of a run: one trace through all programs, and no secret anywhere.

use std::collections::BTreeSet;

use holdfast_tests::agent::SOURCE;
use holdfast_tests::collector::{Collector, ReceivedSpan};
use holdfast_tests::{Plan, checksum, data, wait};

/// Programs that took part in the trace.
fn services(spans: &[ReceivedSpan], trace: &str) -> BTreeSet<String> {
    let of_trace = spans.iter().filter(|span| span.trace == trace);
    of_trace.map(|span| span.service.clone()).collect()
}

/// A word of the run's id among the span's attributes.
fn names_run(span: &ReceivedSpan, run: &str) -> bool {
    span.attributes.iter().any(|(_, value)| value == run)
}

#[test]
fn one_run_is_one_trace() {
    let collector = Collector::start();
    let mut plan = Plan::new("trace");
    plan.environment = collector.environment();
    // Everything is said, so that a secret that can be said is found.
    plan.environment
        .push(("HOLDFAST_LOG".into(), "trace".into()));
    let house = plan.start(data::fill);
    let live = checksum::rows(&house.postgres, data::AWKWARD);
    let run = house.backup()["id"].as_str().unwrap().to_owned();

    let wanted: BTreeSet<String> = ["holdfast-agent", "holdfast-coordinator", "holdfastctl"]
        .map(str::to_owned)
        .into();
    let trace = wait::until(
        "spans of the run from all three programs",
        wait::seconds(30),
        || {
            let spans = collector.spans();
            let roots: Vec<_> = spans
                .iter()
                .filter(|span| span.service == "holdfastctl" && span.parent.is_empty())
                .collect();
            roots
                .iter()
                .map(|root| root.trace.clone())
                .find(|trace| services(&spans, trace) == wanted)
        },
    );
    wait::until_true(
        "the run's span at the agent, and the storage below it",
        wait::seconds(30),
        || {
            let spans = collector.spans();
            let at_agent: Vec<_> = spans
                .iter()
                .filter(|span| span.trace == trace && span.service == "holdfast-agent")
                .collect();
            let run_span = at_agent.iter().any(|span| names_run(span, &run));
            let puts = at_agent
                .iter()
                .filter(|span| span.name == "storage")
                .count();
            run_span && puts > 2
        },
    );
    // Every span of the trace hangs on another one of it, up to the operator's command.
    wait::until_true("the trace to be whole", wait::seconds(30), || {
        let spans: Vec<_> = collector
            .spans()
            .into_iter()
            .filter(|span| span.trace == trace)
            .collect();
        let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
        spans
            .iter()
            .filter(|span| !span.parent.is_empty())
            .all(|span| ids.contains(span.parent.as_str()))
    });

    house.restore(&["--database", data::AWKWARD]).expect(0);
    wait::until_true("logs and metrics", wait::seconds(30), || {
        !collector.logs().is_empty()
            && collector
                .metrics()
                .iter()
                .any(|name| name.starts_with("holdfast."))
    });
    house.assert_whole(&live);
    house
        .folder()
        .transcript()
        .add_text("what the collector received", &collector.everything());
}

#[test]
fn a_collector_that_is_away_changes_nothing() {
    let mut plan = Plan::new("no-collector");
    plan.environment = vec![(
        "OTEL_EXPORTER_OTLP_ENDPOINT".into(),
        format!("http://127.0.0.1:{}", holdfast_tests::ports::free()),
    )];
    let house = plan.start(|postgres| data::fill_bulk(postgres, 1000));
    house.ctl.run(&["backup", SOURCE]).expect(0);
    house.assert_whole(&checksum::rows(&house.postgres, data::AWKWARD));
}

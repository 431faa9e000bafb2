//! The trace context as text, for where it travels: run assignments, rows of the state, gRPC metadata.
//! Format: W3C Trace Context, `traceparent` version 00: `00-<32 hex trace>-<16 hex span>-<2 hex flags>`.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing_opentelemetry::{OpenTelemetrySpanExt, SetParentError};

/// The current span as a W3C traceparent; `None` when nothing is traced.
#[must_use]
pub fn traceparent() -> Option<String> {
    let context = tracing::Span::current().context();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| {
        format!(
            "00-{}-{}-{:02x}",
            span.trace_id(),
            span.span_id(),
            span.trace_flags().to_u8()
        )
    })
}

/// Makes `span` a child of the span that `traceparent` names. A malformed one is ignored: the span starts a trace
/// of its own. Call it before the span is entered: a span that has started keeps its parent.
pub fn continue_trace(span: &tracing::Span, traceparent: &str) {
    let Some(parent) = parse(traceparent) else {
        return;
    };
    let context = Context::new().with_remote_span_context(parent);
    if let Err(SetParentError::AlreadyStarted) = span.set_parent(context) {
        tracing::debug!(
            "a span was entered before it could be given its parent: its trace is cut here"
        );
    }
}

/// `None` for everything that the specification tells to ignore. Later versions may add fields behind the flags.
fn parse(text: &str) -> Option<SpanContext> {
    let mut fields = text.trim().split('-');
    let version = hex(fields.next()?, 2)?;
    let trace = TraceId::from_hex(hex(fields.next()?, 32)?).ok()?;
    let span = SpanId::from_hex(hex(fields.next()?, 16)?).ok()?;
    let flags = u8::from_str_radix(hex(fields.next()?, 2)?, 16).ok()?;
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

fn hex(field: &str, length: usize) -> Option<&str> {
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    (field.len() == length && field.bytes().all(lower_hex)).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn reads_the_specifications_example() {
        let context = parse(&format!("00-{TRACE}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!(context.trace_id().to_string(), TRACE);
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
    }

    #[test]
    fn ignores_the_malformed() {
        for text in [
            String::new(),
            "00".into(),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
        ] {
            assert!(parse(&text).is_none(), "{text}");
        }
        assert!(parse(&format!("01-{TRACE}-00f067aa0ba902b7-01-more")).is_some());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = parse(&text);
        }
    }
}

//! The trace context in gRPC metadata, so that a call and what it causes are one trace.

use tonic::metadata::{MetadataMap, MetadataValue};

const KEY: &str = "traceparent";

/// Adds the current span's traceparent to an outgoing request's metadata. Does nothing when nothing is traced.
pub fn inject(metadata: &mut MetadataMap) {
    let value = crate::traceparent().and_then(|text| MetadataValue::try_from(text).ok());
    if let Some(value) = value {
        metadata.insert(KEY, value);
    }
}

/// The caller's traceparent, as sent; not checked.
#[must_use]
pub fn extract(metadata: &MetadataMap) -> Option<&str> {
    metadata.get(KEY)?.to_str().ok()
}

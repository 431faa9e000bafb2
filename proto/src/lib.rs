//! The contract between agents, the coordinator and operators: gRPC package `holdfast.v1`.
//!
//! [`v1`] holds the generated messages and services; [`ids`] the typed ids; [`convert`] is the one place where
//! what came over the wire becomes domain types, and where the malformed is rejected with the field's name; [`manifest`]
//! says what of a backup's manifest may be shown.
//! Messages that carry secrets print nothing of them: their `Debug` is written by hand in [`redact`].

pub mod convert;
pub mod ids;
pub mod manifest;
mod redact;
pub mod run;
pub mod version;

/// Generated messages and services.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("holdfast.v1");
}

/// The compiled contract, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/holdfast.v1.bin"));

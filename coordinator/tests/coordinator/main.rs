//! The coordinator from outside: over real TLS sessions, on SQLite and on a real PostgreSQL.
#![allow(missing_docs)]
// What a test stands on either holds or fails the test.
#![allow(clippy::expect_used)]

mod access;
mod catalog;
mod commits;
mod init;
mod members;
mod object_store;
mod program;
mod runs;
mod sessions;
mod starting;
mod store_audit;
mod store_runs;
mod store_schema;
mod support;
mod vaults;
mod watching;

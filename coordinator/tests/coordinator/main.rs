//! The coordinator from outside: over real TLS sessions, on SQLite and on a real PostgreSQL.
#![allow(missing_docs)]

mod access;
mod catalog;
mod commits;
mod init;
mod members;
mod runs;
mod sessions;
mod starting;
mod store_audit;
mod store_runs;
mod store_schema;
mod support;
mod vaults;
mod watching;

//! The agent against a coordinator that each test plays itself, over real TLS, with sources that do what a test
//! tells them.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod coordinator;
mod harness;
mod service;
mod source;

mod commit;
mod enroll;
mod link;
mod program;
mod run;
mod vault;

//! The coordinator: decides, keeps state, never touches a byte of the data.
//!
//! ```text
//! api    what agents and operators ask            tasks   what happens by itself
//!   \                                              /
//!    runs, vaults, pki: one operation each, several stores and sessions together
//!                         |
//!                       store   the state, SQLite or PostgreSQL
//!                         |
//!                       model   decisions, pure
//! ```

pub mod api;
pub mod app;
mod clock;
pub mod config;
mod coordinator;
mod fault;
pub mod init;
mod leases;
mod members;
pub mod model;
pub mod pki;
mod pulses;
mod runs;
mod sessions;
pub mod store;
mod tasks;
mod vaults;

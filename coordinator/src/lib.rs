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
mod coordinator;
mod fault;
mod leases;
mod members;
mod pulses;
pub mod config;
pub mod init;
pub mod model;
pub mod pki;
mod runs;
mod sessions;
pub mod store;
mod tasks;
mod vaults;

//! The agent: stands beside the services, does the runs the coordinator hands out.
//!
//! ```text
//! cli -> enroll                     a token becomes an identity
//!     -> check                      is the configuration right, does every service answer
//!     -> app -> renew               the certificate, at two thirds of its life
//!            -> session             one outgoing stream; owns the held runs
//!                 -> held::life     what an event means for a run (pure)
//!                 -> runs           the work itself, a task for each run
//!                 -> progress       what the work tells, bounded
//! ```
//!
//! Promises: the agent opens no port; grants, keys and passwords of runs live in memory only and go with the run;
//! a run that fails, is cancelled, or loses its lease leaves no snapshot and an untouched live service.

pub mod app;
mod check;
pub mod cli;
pub mod config;
pub mod enroll;
pub mod exit;
pub mod held;
mod metrics;
pub mod progress;
pub mod renew;
pub mod runs;
pub mod session;
pub mod state;

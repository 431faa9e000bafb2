//! What the coordinator decides by: pure functions over values, without I/O and without a clock.
//!
//! Whoever calls them reads the clock and the state, asks, and writes the answer down.

pub mod commit;
pub mod lease;
pub mod retry;
pub mod run;
pub mod snapshot;

//! The two services on the one port, and who may call what.

pub mod access;
pub mod agent;
pub mod caller;
pub mod control;

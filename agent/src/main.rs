//! The agent: stands beside the services, does the runs the coordinator hands out.

fn main() {}

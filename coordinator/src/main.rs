//! The coordinator: decides, keeps state, never touches a byte of the data.

fn main() {}

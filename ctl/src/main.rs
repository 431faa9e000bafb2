//! holdfastctl: the operator's hand.

fn main() {}

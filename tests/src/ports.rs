//! Free TCP ports on the loopback.
//!
//! Taken below the range from which Linux gives ports to outgoing connections (32768 on), so that a port found free
//! is not gone a moment later to somebody's client.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{LazyLock, Mutex};

use rand::Rng;

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port on which nothing listens, given out once in this process.
pub fn free() -> u16 {
    for _ in 0..1000 {
        let port = rand::rng().random_range(12_000..32_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
    panic!("no free port between 12000 and 32000 on 127.0.0.1");
}

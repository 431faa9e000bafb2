//! The handshake: what this build speaks, and whether it can work with a peer.
//!
//! Majors must be equal. A higher minor, unknown fields, unknown capabilities and unknown enum values are a newer
//! peer's business and never an error here.

use crate::v1;

/// Contract version of this build.
pub const MAJOR: u32 = 1;
/// Additions since [`MAJOR`].
pub const MINOR: u32 = 0;

/// Abilities of this build that a peer may rely on.
pub const CAPABILITIES: &[&str] = &["backup", "restore", "drop-copy", "grant-refresh"];

/// A peer this build cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the peer ({software}) speaks contract version {theirs}, this program speaks {MAJOR}: update the older of the two"
)]
pub struct Incompatible {
    /// The peer's program version.
    pub software: String,
    /// The peer's contract major.
    pub theirs: u32,
}

/// What this build says of itself.
#[must_use]
pub fn own() -> v1::Version {
    v1::Version {
        major: MAJOR,
        minor: MINOR,
        software: env!("CARGO_PKG_VERSION").into(),
        capabilities: CAPABILITIES.iter().map(ToString::to_string).collect(),
    }
}

/// Checks a peer's version. A peer that sent none speaks version 0, which never existed.
pub fn check(peer: Option<&v1::Version>) -> Result<(), Incompatible> {
    let (theirs, software) = peer.map_or((0, "unknown"), |version| {
        (version.major, version.software.as_str())
    });
    if theirs == MAJOR {
        return Ok(());
    }
    Err(Incompatible {
        software: software.into(),
        theirs,
    })
}

/// Whether the peer can do `capability`.
#[must_use]
pub fn can(peer: &v1::Version, capability: &str) -> bool {
    peer.capabilities.iter().any(|known| known == capability)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_minor_with_unknown_capabilities_is_welcome() {
        let mut peer = own();
        peer.minor += 7;
        peer.capabilities.push("time-travel".into());
        assert_eq!(check(Some(&peer)), Ok(()));
        assert!(can(&peer, "time-travel"));
        assert!(!can(&own(), "time-travel"));
    }

    #[test]
    fn another_major_or_none_is_refused() {
        let mut peer = own();
        peer.major += 1;
        assert!(check(Some(&peer)).is_err());
        assert!(check(None).is_err());
    }
}

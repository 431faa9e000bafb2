//! Where a coordinator is reached: `https://host:port`.

use std::fmt;
use std::str::FromStr;

use rustls_pki_types::ServerName;

/// Longest address accepted, in bytes: the longest DNS name (253) with scheme, brackets and port.
const MAX_ADDRESS_BYTES: usize = 280;

/// An address that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of a coordinator: {reason}; write https://host:port")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

/// Host and port of a coordinator.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CoordinatorAddress {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl CoordinatorAddress {
    /// Host name or IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `host:port` as HTTP writes it.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(crate) fn server_name(&self) -> Result<ServerName<'static>, AddressError> {
        ServerName::try_from(self.host.clone())
            .map_err(|_| refuse(&self.host, "its host is neither a name nor an IP address"))
    }
}

impl fmt::Display for CoordinatorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", self.authority())
    }
}

impl fmt::Debug for CoordinatorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CoordinatorAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_ADDRESS_BYTES {
            return Err(refuse(
                &text[..text.floor_char_boundary(64)],
                "it is too long",
            ));
        }
        let uri: http::Uri = text
            .parse()
            .map_err(|_| refuse(text, "it cannot be read"))?;
        if uri.scheme_str() != Some("https") {
            return Err(refuse(text, "it does not begin with https://"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(refuse(text, "something follows the port"));
        }
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(refuse(text, "it carries a user name"));
        }
        let host = uri.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().filter(|port| *port != 0);
        let address = Self {
            host: host.to_owned(),
            port: port.ok_or_else(|| refuse(text, "it has no port"))?,
        };
        match address.server_name() {
            Ok(_) => Ok(address),
            Err(error) => Err(refuse(text, error.reason)),
        }
    }
}

fn refuse(text: &str, reason: &'static str) -> AddressError {
    AddressError {
        text: text.to_owned(),
        reason,
    }
}

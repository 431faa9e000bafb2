//! Where a vault is: `s3://bucket/prefix` or `file:///path`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The place where a vault keeps its repositories.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum VaultAddress {
    /// A bucket and a prefix within it, without slashes at its ends; may be empty.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The folder within the bucket, `""` for all of it.
        prefix: String,
    },
    /// An absolute folder on this machine.
    File {
        /// The folder.
        path: PathBuf,
    },
}

/// Why a text is not a vault address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{address:?} is not a vault address: {why}; expected s3://bucket/prefix or file:///folder")]
pub struct InvalidAddress {
    address: String,
    why: &'static str,
}

/// How an S3 server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Endpoint {
    /// Base URL of a server that is not Amazon's.
    pub endpoint: Option<String>,
    /// The region requests are signed for.
    pub region: String,
    /// The bucket goes into the path instead of the host's name.
    pub path_style: bool,
}

impl S3Endpoint {
    /// An endpoint at `endpoint` (path style), or Amazon's own for `region`.
    pub fn new(endpoint: Option<String>, region: impl Into<String>) -> S3Endpoint {
        S3Endpoint {
            path_style: endpoint.is_some(),
            endpoint,
            region: region.into(),
        }
    }
}

impl FromStr for VaultAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<VaultAddress, InvalidAddress> {
        let invalid = |why| InvalidAddress {
            address: text.to_owned(),
            why,
        };
        if let Some(rest) = text.strip_prefix("s3://") {
            return parse_s3(rest).map_err(invalid);
        }
        match text.strip_prefix("file://") {
            Some(path) => parse_file(path).map_err(invalid),
            None => Err(invalid("it begins with neither s3:// nor file://")),
        }
    }
}

fn parse_s3(rest: &str) -> Result<VaultAddress, &'static str> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if bucket.is_empty() || !bucket.chars().all(allowed) {
        return Err("the bucket's name is missing or has characters that buckets cannot have");
    }
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|part| matches!(part, "." | "..")) || prefix.contains("//") {
        return Err("the prefix has empty or relative parts");
    }
    Ok(VaultAddress::S3 {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
    })
}

fn parse_file(path: &str) -> Result<VaultAddress, &'static str> {
    let path = Path::new(path);
    if !path.is_absolute() {
        return Err("the folder is not absolute");
    }
    if path
        .components()
        .any(|part| matches!(part, std::path::Component::ParentDir))
    {
        return Err("the folder has relative parts");
    }
    Ok(VaultAddress::File {
        path: path.to_owned(),
    })
}

impl fmt::Display for VaultAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VaultAddress::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            VaultAddress::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
            VaultAddress::File { path } => write!(f, "file://{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_there_and_back() {
        for text in ["s3://backups", "s3://backups/prod/eu", "file:///srv/vault"] {
            let address: VaultAddress = text.parse().expect("valid");
            assert_eq!(address.to_string(), text);
        }
        let slashed: VaultAddress = "s3://backups/prod/".parse().expect("valid");
        assert_eq!(slashed.to_string(), "s3://backups/prod");
    }

    #[test]
    fn what_is_not_an_address_says_why() {
        for text in [
            "",
            "backups",
            "s3://",
            "s3://b/../c",
            "file://relative",
            "file:///a/../b",
            "s3://a b",
        ] {
            let error = text.parse::<VaultAddress>().expect_err(text);
            assert!(
                error.to_string().contains("expected s3://bucket/prefix"),
                "{error}"
            );
        }
    }
}

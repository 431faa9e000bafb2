//! The `config` object: what makes a folder a repository.
//!
//! JSON, sealed but never compressed (restic `internal/repository`, `SaveUnpacked`).

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::polynomial;
use crate::error::{Result, VaultError};
use crate::id::Id;
use crate::password::random;

/// Name of the object.
pub(crate) const NAME: &str = "config";
/// The format that we write.
const VERSION: u32 = 2;

/// What is known about a repository as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    /// 1 knows no compression, 2 does.
    pub(crate) version: u32,
    /// 32 random bytes.
    pub(crate) id: Id,
    /// See [`polynomial`].
    #[serde(
        serialize_with = "write_polynomial",
        deserialize_with = "read_polynomial"
    )]
    pub(crate) chunker_polynomial: u64,
}

impl Config {
    /// The configuration of a new repository.
    pub(crate) fn generate() -> Config {
        let mut id = [0; 32];
        random(&mut id);
        Config {
            version: VERSION,
            id: Id::from_bytes(id),
            chunker_polynomial: polynomial::generate(),
        }
    }

    /// Reads the opened object; `location` is for the error.
    pub(crate) fn parse(json: &[u8], location: &str) -> Result<Config> {
        let config: Config = serde_json::from_slice(json)
            .map_err(|error| VaultError::damaged(format!("{location}/{NAME}"), error))?;
        if (1..=VERSION).contains(&config.version) {
            return Ok(config);
        }
        Err(VaultError::Unsupported {
            location: location.to_owned(),
            why: format!(
                "it is of format version {}, this program knows up to {VERSION}: use a newer one",
                config.version
            ),
        })
    }

    /// The object's plaintext.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| VaultError::Internal(error.to_string()))
    }
}

fn write_polynomial<S: Serializer>(
    value: &u64,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&format!("{value:x}"))
}

fn read_polynomial<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> std::result::Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    u64::from_str_radix(&text, 16).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_configuration_goes_there_and_back() {
        let config = Config::generate();
        let json = config.to_json().expect("json");
        assert_eq!(Config::parse(&json, "here").expect("valid"), config);
    }

    #[test]
    fn restics_example_is_read_and_a_newer_one_refused() {
        let id = "5956a3f67a6230d4a92cefb29529f10196c7d92582ec305fd71ff6d331d6271b";
        let json = |version: u32| {
            format!(r#"{{"version":{version},"id":"{id}","chunker_polynomial":"25b468838dcb75"}}"#)
        };
        let config = Config::parse(json(2).as_bytes(), "here").expect("valid");
        assert_eq!(config.chunker_polynomial, 0x25_b468_838d_cb75);
        let error = Config::parse(json(3).as_bytes(), "here").expect_err("newer");
        assert!(error.to_string().contains("format version 3"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Config::parse(&bytes, "here").is_err());
        }
    }
}

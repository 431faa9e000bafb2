//! Key files: the repository's keys, each under one password.
//!
//! A key file is JSON with the parameters of scrypt and the sealed master keys (restic
//! doc/design.rst, "Keys, Encryption and MAC"); its name is the SHA-256 of its bytes. The password
//! stretches to 64 bytes: AES-256 key, `k`, `r`. A repository may have several key files for as
//! many passwords; all of them hold the same master keys.
//!
//! Our passwords are 256 random bits, which need no stretching; N, r and p are those that restic
//! settles for at least, so that a foreign password that is added later stands no worse.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::seal::{KeyMaterial, SealingKey};
use crate::error::{Result, VaultError};
use crate::password::random;

const KDF: &str = "scrypt";
const LOG_N: u8 = 15;
const R: u32 = 8;
const P: u32 = 1;
const SALT_LEN: usize = 64;
/// More memory than this (128 * N * r bytes) is not spent on a foreign key file.
const MOST_MEMORY: u64 = 256 * 1024 * 1024;
/// Nor more rounds (N * r * p), some ten seconds' worth.
const MOST_WORK: u64 = 1 << 26;

/// A key file as restic writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyFile {
    hostname: String,
    username: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
    created: jiff::Timestamp,
    data: String,
    salt: String,
}

#[derive(Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
struct MasterKeys {
    mac: MacKeys,
    encrypt: String,
}

#[derive(Serialize, Deserialize, Zeroize)]
#[zeroize(drop)]
struct MacKeys {
    k: String,
    r: String,
}

/// What became of trying a password.
pub(crate) enum Opened {
    /// The master keys.
    Keys(KeyMaterial),
    /// It is another password's key file.
    OtherPassword,
}

impl KeyFile {
    /// A key file that gives out `keys` for `password`.
    pub(crate) fn create(
        keys: &KeyMaterial,
        password: &SecretString,
        host: &str,
    ) -> Result<KeyFile> {
        let mut salt = [0; SALT_LEN];
        random(&mut salt);
        let master = MasterKeys {
            mac: MacKeys {
                k: STANDARD.encode(keys.mac_k),
                r: STANDARD.encode(keys.mac_r),
            },
            encrypt: STANDARD.encode(keys.encrypt),
        };
        let json = Zeroizing::new(
            serde_json::to_vec(&master).map_err(|error| VaultError::Internal(error.to_string()))?,
        );
        let user = stretch(password, &salt, LOG_N, R, P)
            .map_err(|why| VaultError::Internal(why.to_owned()))?;
        let sealed = SealingKey::new(&user)?.seal(&json)?;
        Ok(KeyFile {
            hostname: host.to_owned(),
            username: "holdfast".to_owned(),
            kdf: KDF.to_owned(),
            n: 1 << LOG_N,
            r: R,
            p: P,
            created: jiff::Timestamp::now(),
            data: STANDARD.encode(sealed),
            salt: STANDARD.encode(salt),
        })
    }

    /// Reads the object named `object`.
    pub(crate) fn parse(object: &str, json: &[u8]) -> Result<KeyFile> {
        serde_json::from_slice(json).map_err(|error| VaultError::damaged(object, error))
    }

    /// The object's bytes.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| VaultError::Internal(error.to_string()))
    }

    /// Tries `password`. Slow on purpose (a tenth of a second); blocks.
    pub(crate) fn open(&self, object: &str, password: &SecretString) -> Result<Opened> {
        let damaged = |why: &dyn std::fmt::Display| VaultError::damaged(object, why);
        let log_n = self.checked_log_n().map_err(|why| damaged(&why))?;
        let salt = STANDARD.decode(&self.salt).map_err(|why| damaged(&why))?;
        let sealed = STANDARD.decode(&self.data).map_err(|why| damaged(&why))?;
        let user = stretch(password, &salt, log_n, self.r, self.p).map_err(|why| damaged(&why))?;
        let Ok(json) = SealingKey::new(&user)?.open(&sealed) else {
            return Ok(Opened::OtherPassword);
        };
        let json = Zeroizing::new(json);
        let master: MasterKeys = serde_json::from_slice(&json).map_err(|why| damaged(&why))?;
        keys_of(&master)
            .map(Opened::Keys)
            .map_err(|why| damaged(&why))
    }

    /// Foreign parameters must cost neither all memory nor all day.
    fn checked_log_n(&self) -> std::result::Result<u8, String> {
        if self.kdf != KDF {
            return Err(format!("it uses {:?} instead of {KDF}", self.kdf));
        }
        let memory = self.n.checked_mul(128 * u64::from(self.r));
        let work = self
            .n
            .checked_mul(u64::from(self.r))
            .and_then(|w| w.checked_mul(u64::from(self.p)));
        if !self.n.is_power_of_two() || self.n < 2 || self.r == 0 || self.p == 0 {
            return Err("its scrypt parameters are not valid".to_owned());
        }
        if memory.is_none_or(|m| m > MOST_MEMORY) || work.is_none_or(|w| w > MOST_WORK) {
            return Err(format!(
                "its scrypt parameters (N {}, r {}, p {}) ask for more than {} MiB or too long",
                self.n,
                self.r,
                self.p,
                MOST_MEMORY >> 20
            ));
        }
        Ok(self.n.ilog2() as u8)
    }
}

fn keys_of(master: &MasterKeys) -> std::result::Result<KeyMaterial, &'static str> {
    fn exactly<const N: usize>(text: &str) -> std::result::Result<[u8; N], &'static str> {
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| "a key is not base64")?);
        bytes
            .as_slice()
            .try_into()
            .map_err(|_| "a key has the wrong length")
    }
    Ok(KeyMaterial {
        encrypt: exactly(&master.encrypt)?,
        mac_k: exactly(&master.mac.k)?,
        mac_r: exactly(&master.mac.r)?,
    })
}

fn stretch(
    password: &SecretString,
    salt: &[u8],
    log_n: u8,
    r: u32,
    p: u32,
) -> std::result::Result<KeyMaterial, &'static str> {
    let params =
        scrypt::Params::new(log_n, r, p).map_err(|_| "its scrypt parameters are not valid")?;
    let mut output = Zeroizing::new([0_u8; 64]);
    scrypt::scrypt(
        password.expose_secret().as_bytes(),
        salt,
        &params,
        output.as_mut(),
    )
    .map_err(|_| "scrypt failed")?;
    Ok(KeyMaterial::from_bytes(&output))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_right_password_opens_and_a_wrong_one_does_not() {
        let keys = KeyMaterial::generate();
        let file = KeyFile::create(&keys, &"right".into(), "host").expect("made");
        let file = KeyFile::parse("keys/x", &file.to_json().expect("json")).expect("valid");
        match file.open("keys/x", &"right".into()).expect("opens") {
            Opened::Keys(opened) => {
                assert_eq!(opened.encrypt, keys.encrypt);
                assert_eq!((opened.mac_k, opened.mac_r), (keys.mac_k, keys.mac_r));
            }
            Opened::OtherPassword => panic!("the password is right"),
        }
        let wrong = file.open("keys/x", &"wrong".into()).expect("tried");
        assert!(matches!(wrong, Opened::OtherPassword));
    }

    #[test]
    fn greedy_parameters_are_refused_before_anything_is_spent() {
        let keys = KeyMaterial::generate();
        let mut file = KeyFile::create(&keys, &"p".into(), "host").expect("made");
        for (n, r, p) in [
            (1 << 40, 8, 1),
            (1 << 15, 8, u32::MAX),
            (u64::MAX, 1, 1),
            (3, 8, 1),
            (0, 8, 1),
            (1 << 15, 0, 1),
        ] {
            (file.n, file.r, file.p) = (n, r, p);
            let error = file.open("keys/x", &"p".into()).err().expect("refused");
            assert!(error.to_string().contains("scrypt parameters"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_calmly(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(KeyFile::parse("keys/x", &bytes).is_err());
        }

        #[test]
        fn any_field_is_refused_calmly(data in ".*", salt in ".*", n in any::<u64>(), r in 0..40_u32) {
            let json = serde_json::json!({
                "hostname": "h", "username": "u", "kdf": "scrypt", "N": n & !(1 << 15), "r": r, "p": 1,
                "created": "2015-01-02T18:10:13.48307196+01:00", "data": data, "salt": salt,
            });
            let file = KeyFile::parse("keys/x", json.to_string().as_bytes()).expect("well formed");
            // A power of two small enough to be tried opens nothing.
            match file.open("keys/x", &"p".into()) {
                Err(_) | Ok(Opened::OtherPassword) => {}
                Ok(Opened::Keys(_)) => prop_assert!(false, "opened"),
            }
        }
    }
}

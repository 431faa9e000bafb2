//! Opening and making repositories. See the parent module for the order and why.

use std::sync::Arc;

use bytes::Bytes;
use secrecy::SecretString;

use super::config::{self, Config};
use super::key::{KeyFile, Opened};
use super::lock::LockTimes;
use super::seal::{KeyMaterial, SealingKey};
use super::{Inner, Repository, chunker};
use crate::error::{Result, VaultError};
use crate::id::Id;
use crate::storage::Storage;

const KEYS: &str = "keys/";
/// restic looks at no more key files either.
const MOST_KEYS: usize = 20;

pub(super) async fn open(storage: Storage, password: &SecretString) -> Result<Repository> {
    let location = storage.location();
    let sealed = match storage.get(config::NAME).await {
        Err(error) if error.is_not_found() => return Err(VaultError::NoRepository { location }),
        result => result?,
    };
    let mut tried = 0;
    let mut spoilt = None;
    let mut opened = false;
    for name in key_names(&storage).await? {
        tried += 1;
        let keys = match try_key(&storage, &name, password).await {
            Ok(Some(keys)) => keys,
            Ok(None) => continue,
            Err(VaultError::Storage(error)) => return Err(error.into()),
            // A damaged or foreign key file must not hide a good one.
            Err(error) => {
                tracing::warn!(%error, "a key file cannot be used");
                spoilt = Some(error);
                continue;
            }
        };
        opened = true;
        let key = SealingKey::new(&keys)?;
        // A creator that died before its configuration leaves a key that opens nothing: go on.
        if let Ok(json) = key.open(&sealed) {
            let config = Config::parse(&json, &location)?;
            return Ok(assemble(storage, key, config));
        }
    }
    Err(match spoilt {
        _ if opened => VaultError::damaged(
            format!("{location}/{}", config::NAME),
            "no key that the password opens fits it",
        ),
        Some(error) => error,
        None => VaultError::WrongPassword {
            location,
            keys: tried,
        },
    })
}

pub(super) async fn create(storage: Storage, password: &SecretString) -> Result<Repository> {
    let location = storage.location();
    let exists = || VaultError::Refused(format!("there is a repository at {location} already"));
    match storage.stat(config::NAME).await {
        Ok(_) => return Err(exists()),
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error.into()),
    }
    let (keys, written) = match left_behind(&storage, password).await? {
        Some(keys) => (keys, None),
        None => {
            let keys = KeyMaterial::generate();
            let name = write_key(&storage, &keys, password).await?;
            (keys, Some(name))
        }
    };
    let key = SealingKey::new(&keys)?;
    let config = Config::generate();
    let sealed = Bytes::from(key.seal(&config.to_json()?)?);
    match storage.put_if_absent(config::NAME, sealed).await {
        Ok(()) => Ok(assemble(storage, key, config)),
        Err(error) if error.is_already_exists() => {
            // Somebody else was first: our key must go, restic would try it and fail.
            if let Some(name) = written {
                storage.delete(&name).await?;
            }
            Err(exists())
        }
        Err(error) => Err(error.into()),
    }
}

fn assemble(storage: Storage, key: SealingKey, config: Config) -> Repository {
    Repository {
        inner: Arc::new(Inner {
            gear: chunker::gear_table(config.chunker_polynomial),
            storage,
            key: Arc::new(key),
            config,
            index: Default::default(),
            loaded: Default::default(),
            lock_times: LockTimes::default(),
        }),
    }
}

/// The master keys of a creator that died before it wrote the configuration.
async fn left_behind(storage: &Storage, password: &SecretString) -> Result<Option<KeyMaterial>> {
    for name in key_names(storage).await? {
        if let Ok(Some(keys)) = try_key(storage, &name, password).await {
            return Ok(Some(keys));
        }
    }
    Ok(None)
}

async fn key_names(storage: &Storage) -> Result<Vec<String>> {
    let objects = storage.list(KEYS).await?;
    Ok(objects
        .into_iter()
        .map(|object| object.name)
        .take(MOST_KEYS)
        .collect())
}

async fn try_key(
    storage: &Storage,
    name: &str,
    password: &SecretString,
) -> Result<Option<KeyMaterial>> {
    let json = storage.get(name).await?;
    let object = format!("{}/{name}", storage.location());
    let expected: Option<Id> = name.trim_start_matches(KEYS).parse().ok();
    if expected != Some(Id::of(&json)) {
        return Err(VaultError::damaged(
            object,
            "its bytes do not have the hash that is its name",
        ));
    }
    let file = KeyFile::parse(&object, &json)?;
    let password = password.clone();
    let opened = tokio::task::spawn_blocking(move || file.open(&object, &password)).await;
    match opened.map_err(|error| VaultError::Internal(error.to_string()))?? {
        Opened::Keys(keys) => Ok(Some(keys)),
        Opened::OtherPassword => Ok(None),
    }
}

async fn write_key(
    storage: &Storage,
    keys: &KeyMaterial,
    password: &SecretString,
) -> Result<String> {
    let (keys, password) = (keys.clone(), password.clone());
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let made = tokio::task::spawn_blocking(move || KeyFile::create(&keys, &password, &host)).await;
    let json = made
        .map_err(|error| VaultError::Internal(error.to_string()))??
        .to_json()?;
    let id = Id::of(&json);
    let name = format!("{KEYS}{id}");
    storage.put_hashed(&name, Bytes::from(json), &id).await?;
    Ok(name)
}

//! A source's table in the agent's configuration; `kind` chooses the rest of its keys.

use std::path::Path;

use serde::Deserialize;

use crate::Source;
use crate::error::SourceError;
use crate::postgres::{Postgres, PostgresConfig};

/// One `[[source]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SourceConfig {
    /// `kind = "postgres"`.
    Postgres(PostgresConfig),
}

impl SourceConfig {
    /// The source's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Postgres(config) => &config.name,
        }
    }

    /// What contradicts itself, as (dotted key below the source, sentence). Touches nothing but the text.
    #[must_use]
    pub fn problems(&self) -> Vec<(String, String)> {
        match self {
            Self::Postgres(config) => config.problems(),
        }
    }

    /// Makes the source. Reads its secrets (relative files from `folder`, that of the configuration), connects to
    /// nobody.
    pub fn open(&self, folder: &Path) -> Result<Box<dyn Source>, SourceError> {
        match self {
            Self::Postgres(config) => Ok(Box::new(Postgres::new(config, folder)?)),
        }
    }
}

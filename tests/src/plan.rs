//! What a story asks for before anything is started.

use std::path::PathBuf;

use crate::agent::AgentPlan;
use crate::coordinator::Settings;
use crate::house::House;
use crate::postgres::Postgres;

/// Where backups go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Store {
    /// A bucket, with static keys.
    S3,
    /// A bucket, with credentials for each run from the token service.
    S3WithRole,
    /// A folder on the agent's host; `None`: one in the story's folder.
    Folder(Option<PathBuf>),
}

/// What a story needs.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The story's name: its folder is called after it.
    pub story: &'static str,
    /// Major version of the server.
    pub postgres: u32,
    /// The vault.
    pub store: Store,
    /// The coordinator's times.
    pub timing: Settings,
    /// The coordinator keeps its state in a PostgreSQL server of its own.
    pub state_in_postgres: bool,
    /// The agent's settings.
    pub agent: AgentPlan,
    /// Everybody dials S3 itself, not the proxy: for measurements.
    pub direct: bool,
    /// Variables of coordinator, agent and operator.
    pub environment: Vec<(String, String)>,
}

impl Plan {
    /// PostgreSQL 15 and a bucket, with short leases.
    #[must_use]
    pub fn new(story: &'static str) -> Self {
        Self {
            story,
            postgres: 15,
            store: Store::S3,
            timing: Settings::default(),
            state_in_postgres: false,
            agent: AgentPlan::default(),
            direct: false,
            environment: Vec::new(),
        }
    }

    /// Another version of PostgreSQL.
    #[must_use]
    pub fn postgres(mut self, major: u32) -> Self {
        self.postgres = major;
        self
    }

    /// Another store.
    #[must_use]
    pub fn store(mut self, store: Store) -> Self {
        self.store = store;
        self
    }

    /// Starts everything; `fill` makes the databases before the agent looks at them.
    #[must_use]
    pub fn start(self, fill: impl FnOnce(&Postgres)) -> House {
        House::start(self, fill)
    }
}

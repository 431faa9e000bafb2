//! A whole installation for one story: a database server, a store, a coordinator, an agent and an operator.

use std::time::Duration;

use holdfast_vault::repository_password;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::agent::{Agent, SOURCE};
use crate::checksum::{self, Fingerprint};
use crate::coordinator::{Coordinator, Settings};
use crate::ctl::{Answer, Ctl, is_final};
use crate::data::AWKWARD;
use crate::folder::StoryFolder;
use crate::plan::{Plan, Store};
use crate::postgres::Postgres;
use crate::proxy::{Fault, Proxy};
use crate::restic::Restic;
use crate::seaweed::{ROLE, SeaweedFs};

/// The installation. Fields are dropped in this order: what dials goes before what it dials.
pub struct House {
    /// The agent `db1` with the source `orders-db`.
    pub agent: Agent,
    /// The coordinator.
    pub coordinator: Coordinator,
    /// The database server.
    pub postgres: Postgres,
    /// The operator.
    pub ctl: Ctl,
    /// What lies between everybody and S3; unused with a folder.
    pub s3: Proxy,
    /// The vault's address, as `vault add` got it.
    pub vault_address: String,
    bucket: Option<(&'static SeaweedFs, String)>,
    vault_secret: SecretString,
    _state: Option<Postgres>,
    folder: StoryFolder,
}

impl House {
    pub(crate) fn start(mut plan: Plan, fill: impl FnOnce(&Postgres)) -> Self {
        let folder = StoryFolder::new(plan.story);
        let postgres = Postgres::start(&folder, "postgres", plan.postgres);
        fill(&postgres);
        let state = plan
            .state_in_postgres
            .then(|| state_server(&folder, &mut plan.timing));
        let coordinator = Coordinator::start(&folder, &plan.timing, &plan.environment);
        let mut ctl = coordinator.operator();
        for (name, value) in &plan.environment {
            ctl = ctl.with(name, value);
        }
        plan.agent.environment.extend(plan.environment.clone());

        let bucket = (!matches!(plan.store, Store::Folder(_))).then(|| {
            let server = SeaweedFs::shared(folder.transcript());
            (server, server.new_bucket())
        });
        let s3 = Proxy::start(bucket.as_ref().map_or(1, |(server, _)| server.port()));
        let vault_address = match (&bucket, &plan.store) {
            (Some((_, name)), _) => format!("s3://{name}/backups"),
            (None, Store::Folder(Some(path))) => format!("file://{}", path.display()),
            (None, _) => format!("file://{}", folder.make("vault").display()),
        };
        let added = add_vault(
            &ctl,
            &vault_address,
            bucket.as_ref().map(|(server, _)| {
                (
                    *server,
                    if plan.direct {
                        server.port()
                    } else {
                        s3.port()
                    },
                )
            }),
            &plan.store,
        );
        let vault_secret = secret_of_kit(&added.expect(0));
        folder
            .transcript()
            .add_secret("the vault secret", vault_secret.expose_secret());

        let agent = Agent::start(&folder, &plan.agent, &ctl, &postgres);
        let house = Self {
            agent,
            coordinator,
            postgres,
            ctl,
            s3,
            vault_address,
            bucket,
            vault_secret,
            _state: state,
            folder,
        };
        add_own_secrets(&house);
        house
    }

    /// The story's folder.
    #[must_use]
    pub fn folder(&self) -> &StoryFolder {
        &self.folder
    }

    /// The bucket and its server.
    #[must_use]
    pub fn bucket(&self) -> (&'static SeaweedFs, &str) {
        let (server, name) = self.bucket.as_ref().expect("a story with a bucket");
        (server, name)
    }

    /// The repository's password, computed as the recovery kit says.
    #[must_use]
    pub fn password(&self, source: &str) -> String {
        repository_password(&self.vault_secret, source)
            .expose_secret()
            .to_owned()
    }

    /// restic on the source's repository, past every proxy.
    #[must_use]
    pub fn restic(&self) -> Restic {
        let (repository, keys) = match &self.bucket {
            Some((server, name)) => (
                format!(
                    "s3:http://127.0.0.1:{}/{name}/backups/{SOURCE}",
                    server.port()
                ),
                Some((server.access_key.clone(), server.secret_key.clone())),
            ),
            None => (
                format!(
                    "{}/{SOURCE}",
                    self.vault_address.trim_start_matches("file://")
                ),
                None,
            ),
        };
        Restic {
            repository,
            password: self.password(SOURCE),
            keys,
            cache: self.folder.path("restic-cache"),
        }
    }

    /// Backs the source up and waits; the run.
    pub fn backup(&self) -> Value {
        let answer = self.ctl.run(&["--json", "backup", SOURCE]).expect(0);
        answer.json()["run"].clone()
    }

    /// Restores as an operator who has thought about it: `--yes`.
    pub fn restore(&self, arguments: &[&str]) -> Answer {
        let mut with = vec!["--json", "restore", SOURCE, "--yes"];
        with.extend(arguments);
        self.ctl.run(&with)
    }

    /// Starts `holdfastctl ARGUMENTS` and goes on once its run exists; the run is in the answer's hands meanwhile.
    pub fn begin(&self, arguments: &[&str]) -> Begun {
        let known = self.run_ids();
        let ctl = self.ctl.clone();
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let waiting = std::thread::spawn(move || {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            ctl.run(&arguments)
        });
        let run = crate::wait::until("the run to exist", Duration::from_secs(60), || {
            let new = self.run_ids().into_iter().find(|id| !known.contains(id));
            assert!(
                new.is_some() || !waiting.is_finished(),
                "the command ended without a run"
            );
            new
        });
        Begun { run, waiting }
    }

    fn run_ids(&self) -> Vec<String> {
        let answer = self
            .ctl
            .run_unrecorded(&["--json", "run", "list", "--limit", "200"])
            .expect(0)
            .json();
        let runs = answer["runs"].as_array().unwrap().clone();
        runs.iter()
            .map(|run| run["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until the run has read something from the databases.
    pub fn wait_until_reading(&self, run: &str) {
        let deadline = Duration::from_secs(60);
        crate::wait::until_true("the run to read", deadline, || {
            let now = self.ctl.run_now(run);
            let state = now["state"].as_str().unwrap_or_default();
            assert!(!is_final(state), "the run ended before it read: {now:#}");
            state == "running" && now["progress"]["read_bytes"].as_u64().unwrap_or(0) > 0
        });
    }

    /// Snapshots by id, with orphans when asked.
    #[must_use]
    pub fn snapshots(&self, with_orphans: bool) -> Vec<Value> {
        let mut arguments = vec!["snapshot", "list", "--source", SOURCE];
        if with_orphans {
            arguments.push("--orphans");
        }
        self.ctl.json(&arguments)["snapshots"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// What must hold after every story: nothing is stuck, nobody sees a database that is not theirs, and every
    /// snapshot there is, orphans too, comes back with these rows.
    pub fn assert_whole(&self, live: &Fingerprint) {
        self.s3.set(Fault::None);
        self.s3.limit(0);
        self.s3.let_go();
        self.assert_no_active_runs();
        checksum::assert_equal(
            "the live database",
            live,
            &checksum::rows(&self.postgres, AWKWARD),
        );
        let listed = self.snapshots(true);
        for snapshot in &listed {
            self.assert_restores(snapshot["id"].as_str().unwrap(), live);
        }
        let mut in_catalog: Vec<_> = listed
            .iter()
            .map(|snapshot| snapshot["id"].as_str().unwrap().to_owned())
            .collect();
        in_catalog.sort();
        if !in_catalog.is_empty() {
            let restic = self.restic();
            restic.check_all_data();
            let mut in_vault = restic.snapshots();
            in_vault.sort();
            assert_eq!(
                in_vault, in_catalog,
                "what restic finds in the vault, and what the catalog says"
            );
        }
        let left: Vec<_> = self
            .postgres
            .databases()
            .into_iter()
            .filter(|name| name.contains("holdfast"))
            .collect();
        assert!(left.is_empty(), "half-made copies are left: {left:?}");
    }

    /// No run is under way, waiting or forgotten.
    pub fn assert_no_active_runs(&self) {
        let runs = self.ctl.json(&["run", "list", "--limit", "100"]);
        for run in runs["runs"].as_array().unwrap() {
            assert!(
                is_final(run["state"].as_str().unwrap()),
                "a run is stuck: {run:#}"
            );
        }
    }

    /// Restores the snapshot's database `orders` as another one, compares, and drops it.
    pub fn assert_restores(&self, snapshot: &str, rows: &Fingerprint) {
        let answer = self.restore(&[
            "--snapshot",
            snapshot,
            "--database",
            AWKWARD,
            "--into",
            "proof",
        ]);
        answer.expect(0);
        checksum::assert_equal(
            "the restored database",
            rows,
            &checksum::rows(&self.postgres, "proof"),
        );
        self.postgres
            .sql("postgres", "DROP DATABASE proof WITH (FORCE)");
    }
}

/// A command that waits for its run.
pub struct Begun {
    /// The run's id.
    pub run: String,
    waiting: std::thread::JoinHandle<Answer>,
}

impl Begun {
    /// Waits for the command's end.
    #[must_use]
    pub fn answer(self) -> Answer {
        self.waiting.join().expect("the command's end")
    }
}

/// `vault add main ADDRESS`, with the store's own credentials from the environment.
fn add_vault(ctl: &Ctl, address: &str, s3: Option<(&SeaweedFs, u16)>, store: &Store) -> Answer {
    let mut arguments = vec![
        "vault".to_owned(),
        "add".into(),
        "main".into(),
        address.to_owned(),
        "--default".into(),
    ];
    let mut ctl = ctl.clone();
    if let Some((server, port)) = s3 {
        arguments.extend([
            "--endpoint".into(),
            format!("http://127.0.0.1:{port}"),
            "--region".into(),
            "us-east-1".into(),
        ]);
        ctl = ctl
            .with("AWS_ACCESS_KEY_ID", &server.access_key)
            .with("AWS_SECRET_ACCESS_KEY", &server.secret_key);
    }
    if *store == Store::S3WithRole {
        arguments.extend(["--role-arn".into(), ROLE.into()]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    ctl.run_unrecorded(&arguments)
}

/// The vault secret on a printed kit: its one text of 64 hexadecimal digits.
#[must_use]
pub fn secret_of_kit(answer: &Answer) -> SecretString {
    let words = answer.stdout.split(|c: char| !c.is_ascii_alphanumeric());
    let secret = words
        .into_iter()
        .find(|word| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit()));
    SecretString::from(
        secret
            .unwrap_or_else(|| panic!("no vault secret on the kit:\n{}", answer.stdout))
            .to_owned(),
    )
}

/// A server for the coordinator's state alone, and the configuration that names it.
fn state_server(folder: &StoryFolder, settings: &mut Settings) -> Postgres {
    let server = Postgres::start(folder, "state", 15);
    server.sql("postgres", "CREATE DATABASE coordinator");
    let password = folder.path("state.password");
    crate::folder::write_private(&password, server.password());
    settings.database = format!(
        "[database]\nurl = \"postgres://holdfast@127.0.0.1:{}/coordinator\"\npassword = {{ file = {password:?} }}\n",
        server.port()
    );
    server
}

fn add_own_secrets(house: &House) {
    house
        .folder
        .transcript()
        .add_secret("the repository's password", &house.password(SOURCE));
    let master = std::fs::read_to_string(house.coordinator.folder().join("master.key")).unwrap();
    house
        .folder
        .transcript()
        .add_secret("the master key", master.trim());
}

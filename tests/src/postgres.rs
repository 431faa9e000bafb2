//! A PostgreSQL server of any major version, in a folder of its own, on a free port and a socket.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::folder::StoryFolder;
use crate::process::{self, Process};
use crate::transcript::Transcript;
use crate::{places, ports, wait};

/// The system user that runs it when the tests run as root, which PostgreSQL refuses to.
const SYSTEM_USER: &str = "postgres";

/// Small, quick, and loud about what a story may have to read. Nothing here survives a power cut, nor has to.
const SETTINGS: &str = "fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = logical
max_wal_size = 512MB
shared_buffers = 64MB
max_connections = 60
max_locks_per_transaction = 200
max_prepared_transactions = 4
jit = off
timezone = 'UTC'
listen_addresses = '127.0.0.1'
log_line_prefix = '%m [%p] %q%u@%d '
";

/// A server and its superuser `holdfast`, who needs a password over TCP.
pub struct Postgres {
    major: u32,
    programs: PathBuf,
    data: PathBuf,
    log: PathBuf,
    port: u16,
    password: String,
    transcript: Transcript,
    server: Option<Process>,
}

impl Postgres {
    /// Makes a cluster and starts it.
    #[must_use]
    pub fn start(folder: &StoryFolder, name: &str, major: u32) -> Self {
        let home = folder.path(name);
        std::fs::create_dir(&home).unwrap();
        give_to_server(&home);
        let mut postgres = Self {
            major,
            programs: places::postgres(major),
            data: home.join("data"),
            log: folder.path(&format!("{name}.log")),
            port: ports::free(),
            password: folder.transcript().new_secret("the database password"),
            transcript: folder.transcript().clone(),
            server: None,
        };
        postgres.initialize();
        postgres.start_again();
        postgres.sql(
            "postgres",
            &format!(
                "CREATE ROLE holdfast SUPERUSER LOGIN PASSWORD '{}'",
                postgres.password
            ),
        );
        postgres
    }

    fn initialize(&self) {
        let mut command = process::command(&self.programs.join("initdb"), Some(SYSTEM_USER));
        command.args([
            "--no-sync",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
        ]);
        command
            .args(["--locale=C.UTF-8", "--username=postgres", "--pgdata"])
            .arg(&self.data);
        must_succeed("initdb", &command.output().unwrap());
        let settings = format!(
            "{SETTINGS}port = {}\nunix_socket_directories = '{}'\n",
            self.port,
            self.socket().display()
        );
        let file = self.data.join("postgresql.conf");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text + &settings).unwrap();
    }

    /// Starts the server, for the first time or after it was stopped.
    pub fn start_again(&mut self) {
        let mut command = process::command(&self.programs.join("postgres"), Some(SYSTEM_USER));
        command.arg("-D").arg(&self.data);
        self.server = Some(Process::start(
            "PostgreSQL",
            command,
            &self.log,
            &self.transcript,
        ));
        wait::until_true("PostgreSQL to answer", wait::seconds(60), || {
            self.server.as_mut().unwrap().assert_running();
            self.try_sql("postgres", "SELECT 1").is_ok()
        });
    }

    /// Stops as `pg_ctl stop -m immediate` does: SIGQUIT, no shutdown checkpoint.
    pub fn stop_immediately(&mut self) {
        let mut server = self.server.take().expect("a running server");
        server.signal(Signal::SIGQUIT);
        server.wait(Duration::from_secs(30));
    }

    /// The folder of its client programs.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Major version.
    #[must_use]
    pub fn major(&self) -> u32 {
        self.major
    }

    /// The socket's folder, also of the superuser `postgres` that needs no password.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.parent().unwrap().to_owned()
    }

    /// TCP port, and the socket's number.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The password of the user `holdfast`.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }

    /// A client program of this server's version that talks to it as `postgres`.
    #[must_use]
    pub fn client(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command
            .env("PGHOST", self.socket())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", "postgres")
            .env("PGCONNECT_TIMEOUT", "10")
            .env_remove("PGDATABASE");
        command
    }

    /// Runs SQL; rows as lines, columns separated by `|`. Panics on an error.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|error| {
            panic!(
                "{database}: {}: {error}",
                sql.chars().take(200).collect::<String>()
            )
        })
    }

    /// Runs SQL; the error is psql's stderr.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = self.client("psql");
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
            "-f",
            "-",
        ]);
        let output = with_input(&mut command, sql);
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// Names of the databases that can be connected to, without `postgres` and the templates.
    #[must_use]
    pub fn databases(&self) -> Vec<String> {
        let sql = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' ORDER BY 1";
        self.sql("postgres", sql)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The server's process.
    pub fn process(&mut self) -> &mut Process {
        self.server.as_mut().expect("a running server")
    }
}

/// A psql that has done something and waits: what it locked stays locked until it is dropped.
pub struct Session(Child);

impl Postgres {
    /// Opens a transaction in `database`, runs `sql` in it, and leaves it open.
    #[must_use]
    pub fn open_transaction(&self, database: &str, sql: &str) -> Session {
        let mut command = self.client("psql");
        command.args([
            "-X",
            "-q",
            "-A",
            "-t",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
        ]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let asked = format!("BEGIN;\n{sql};\n\\echo open\n");
        child
            .stdin
            .as_mut()
            .unwrap()
            .write_all(asked.as_bytes())
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let opened = lines.map_while(Result::ok).any(|line| line == "open");
        assert!(opened, "psql ended instead of holding {sql}");
        Session(child)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `command` with `input` on its standard input.
pub fn with_input(command: &mut Command, input: &str) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn must_succeed(what: &str, output: &Output) {
    assert!(
        output.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn give_to_server(folder: &Path) {
    if nix::unistd::geteuid().is_root() {
        let user = nix::unistd::User::from_name(SYSTEM_USER).unwrap();
        let user =
            user.expect("the user postgres is not there: tests/services/install postgres-15");
        nix::unistd::chown(folder, Some(user.uid), Some(user.gid)).unwrap();
    }
}

//! One PostgreSQL 15 for the whole test process, one database a test.
//!
//! The server hangs on a thread of this process by its parent-death signal, so it ends with the process however that ends;
//! folders of processes that are gone are removed at the next start.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const BINARIES: &str = "/usr/lib/postgresql/15/bin";
const FOLDER: &str = "holdfast-coordinator-test-pg";

static CLUSTER: OnceLock<PathBuf> = OnceLock::new();

/// The URL of a new, empty database.
pub fn new_database() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    let folder = CLUSTER.get_or_init(start);
    let name = format!("t{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    psql(folder, &format!("CREATE DATABASE {name}"));
    let host: String = url_encoded(folder);
    format!("postgres://postgres@localhost/{name}?host={host}&port=5432")
}

fn url_encoded(path: &Path) -> String {
    path.display().to_string().replace('/', "%2F")
}

fn start() -> PathBuf {
    assert!(
        Path::new(BINARIES).join("postgres").exists(),
        "PostgreSQL 15 is missing: apt-get install postgresql-15"
    );
    let parent = std::env::temp_dir();
    sweep(&parent);
    let folder = parent.join(format!("{FOLDER}-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a folder for the cluster");
    run(Command::new("chown").arg("postgres").arg(&folder));
    run(as_postgres("initdb")
        .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "-D"])
        .arg(folder.join("data"))
        .stdout(Stdio::null()));
    let data = folder.clone();
    // The signal comes when the thread ends, so this one never does.
    std::thread::spawn(move || {
        let mut server = as_postgres("postgres")
            .arg("-D")
            .arg(data.join("data"))
            .arg("-k")
            .arg(&data)
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=200",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres starts");
        let _ = server.wait();
    });
    let deadline = Instant::now() + Duration::from_secs(30);
    while !ready(&folder) {
        assert!(
            Instant::now() < deadline,
            "PostgreSQL did not start in {}",
            folder.display()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    folder
}

fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent)
        .expect("the temporary folder")
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name
            .strip_prefix(FOLDER)
            .and_then(|rest| rest.strip_prefix('-'));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// PostgreSQL refuses to run as root.
fn as_postgres(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=postgres",
            "--regid=postgres",
            "--clear-groups",
            "--pdeathsig=INT",
        ])
        .arg(Path::new(BINARIES).join(program))
        .current_dir("/");
    command
}

fn ready(folder: &Path) -> bool {
    let status = as_postgres("pg_isready")
        .arg("-h")
        .arg(folder)
        .stdout(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn psql(folder: &Path, sql: &str) {
    run(as_postgres("psql").arg("-h").arg(folder).args([
        "-U",
        "postgres",
        "-q",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        sql,
    ]));
}

fn run(command: &mut Command) {
    let status = command.status().expect("starts");
    assert!(status.success(), "{command:?}: {status}");
}

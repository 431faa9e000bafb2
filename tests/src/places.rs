//! Where the programs are: ours beside the test's own executable, the servers where `tests/services/install` put them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One of our binaries. `HOLDFAST_TEST_BINARIES` names another folder than the one cargo built this test into.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let folder =
        std::env::var_os("HOLDFAST_TEST_BINARIES").map_or_else(built_beside, PathBuf::from);
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is not there: cargo build --workspace --bins",
        path.display()
    );
    path
}

/// `target/debug/deps/story-1234` lies two levels below the folder of the binaries.
fn built_beside() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let deps = test.parent().unwrap();
    if deps.ends_with("deps") {
        deps.parent().unwrap().to_owned()
    } else {
        deps.to_owned()
    }
}

/// The client and server programs of one major version of PostgreSQL.
#[must_use]
pub fn postgres(major: u32) -> PathBuf {
    let folder = if major == 15 {
        PathBuf::from("/usr/lib/postgresql/15/bin")
    } else {
        cache().join(format!("postgres/{major}/bin"))
    };
    need(&folder.join("postgres"), &format!("postgres-{major}"));
    folder
}

/// SeaweedFS's one binary.
#[must_use]
pub fn weed() -> PathBuf {
    let path = cache().join("seaweedfs/weed");
    need(&path, "seaweedfs");
    path
}

/// A program from the PATH that `tests/services/install WHAT` installs.
#[must_use]
pub fn tool(name: &str, what: &str) -> PathBuf {
    let found = std::env::var_os("PATH").and_then(|path| {
        let candidates = std::env::split_paths(&path).map(|folder| folder.join(name));
        candidates.into_iter().find(|path| path.is_file())
    });
    found.unwrap_or_else(|| panic!("{name} is not there: tests/services/install {what}"))
}

/// The library that, loaded before a program, gives it another clock.
#[must_use]
pub fn faketime() -> PathBuf {
    let architectures = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let libraries = architectures.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let found = libraries.into_iter().find(|path| path.is_file());
    found.expect("libfaketimeMT.so.1 is not there: tests/services/install faketime")
}

fn need(path: &Path, what: &str) {
    assert!(
        path.is_file(),
        "{} is not there: tests/services/install {what}",
        path.display()
    );
}

fn cache() -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("services/cache-folder");
    let output = Command::new(program)
        .output()
        .expect("tests/services/cache-folder runs");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}

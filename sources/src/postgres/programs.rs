//! The client programs on this machine, and which of them fit a server or an archive.
//!
//! A client older than the server cannot dump it, and is refused before anything starts. One of the server's own major
//! version is always preferred: a newer one dumps well, but what it writes only a `pg_restore` as new can read, and
//! that one cannot load into the older server (17 and later set `transaction_timeout`, which 16 does not know).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::error::SourceError;
use crate::process::Program;

/// Folders with one subfolder per major version, each with a `bin`: Debian's, and that of the PGDG packages for Red Hat.
const VERSIONED: [(&str, &str); 2] = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];
const KNOWN: [&str; 2] = ["/usr/local/pgsql/bin", "/opt/homebrew/bin"];
const MAX_VERSION_BYTES: usize = 4096;
/// First version whose `pg_restore` sets a parameter (`transaction_timeout`) that older servers refuse.
const SETS_TRANSACTION_TIMEOUT: u32 = 17;

/// The programs in one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Programs {
    folder: PathBuf,
    /// Major version.
    pub major: u32,
    /// As the program says it: "15.14".
    pub version: String,
}

impl Programs {
    pub(crate) fn pg_dump(&self) -> PathBuf {
        self.folder.join("pg_dump")
    }
    pub(crate) fn pg_dumpall(&self) -> PathBuf {
        self.folder.join("pg_dumpall")
    }
    pub(crate) fn pg_restore(&self) -> PathBuf {
        self.folder.join("pg_restore")
    }
}

/// Every set of programs found, each major version once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Installed {
    found: Vec<Programs>,
    looked_in: Vec<PathBuf>,
}

/// What fits, and what a person should know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    pub programs: Programs,
    pub warning: Option<String>,
}

impl Installed {
    /// Looks into the `configured` folders, or into the known ones and PATH when there are none.
    pub(crate) async fn find(configured: &[PathBuf], cancel: &CancellationToken) -> Self {
        let folders = if configured.is_empty() {
            usual_folders()
        } else {
            configured.to_vec()
        };
        let mut installed = Self::default();
        let mut seen = BTreeSet::new();
        for folder in folders {
            if !seen.insert(folder.clone()) {
                continue;
            }
            if let Some(programs) = look_into(&folder, cancel).await
                && installed.of(programs.major).is_none()
            {
                installed.found.push(programs);
            }
            installed.looked_in.push(folder);
        }
        installed
    }

    fn of(&self, major: u32) -> Option<&Programs> {
        self.found.iter().find(|programs| programs.major == major)
    }

    /// Versions found, for people: "15.14, 18.0".
    pub(crate) fn versions(&self) -> String {
        let versions: Vec<&str> = self
            .found
            .iter()
            .map(|programs| programs.version.as_str())
            .collect();
        if versions.is_empty() {
            "none".to_owned()
        } else {
            versions.join(", ")
        }
    }

    /// What dumps a server of version `server`.
    pub(crate) fn to_dump(&self, server: u32) -> Result<Choice, SourceError> {
        if let Some(programs) = self.of(server) {
            return Ok(Choice {
                programs: programs.clone(),
                warning: None,
            });
        }
        let newer = self
            .found
            .iter()
            .filter(|programs| programs.major > server)
            .min_by_key(|programs| programs.major);
        let programs = newer.cloned().ok_or_else(|| self.missing(server, "dump"))?;
        let warning = format!(
            "the dump is made by pg_dump {}, since none of the server's own version {server} is installed here; only a server \
             of version {} or later can restore it",
            programs.version, programs.major
        );
        Ok(Choice {
            programs,
            warning: Some(warning),
        })
    }

    /// What loads an archive made by `pg_dump` of version `archive` into a server of version `server`.
    pub(crate) fn to_restore(&self, archive: u32, server: u32) -> Result<Choice, SourceError> {
        if archive > server {
            return Err(SourceError::refused(
                format!(
                    "the dump was made by pg_dump {archive}, and the server is PostgreSQL {server}: an older server cannot load a newer dump"
                ),
                format!("restore to a server of version {archive} or later"),
            ));
        }
        if let Some(programs) = self.of(server) {
            return Ok(Choice {
                programs: programs.clone(),
                warning: None,
            });
        }
        let fits = |programs: &&Programs| {
            programs.major > server
                && (programs.major < SETS_TRANSACTION_TIMEOUT || server >= SETS_TRANSACTION_TIMEOUT)
        };
        let programs = self
            .found
            .iter()
            .filter(fits)
            .min_by_key(|programs| programs.major);
        let programs = programs
            .cloned()
            .ok_or_else(|| self.missing(server, "restore into"))?;
        let warning = format!(
            "pg_restore {} loads into a server of version {server}, since none of its own version is installed here",
            programs.version
        );
        Ok(Choice {
            programs,
            warning: Some(warning),
        })
    }

    fn missing(&self, server: u32, purpose: &str) -> SourceError {
        let places: Vec<String> = self
            .looked_in
            .iter()
            .map(|folder| folder.display().to_string())
            .collect();
        SourceError::refused(
            format!(
                "no client programs here can {purpose} a PostgreSQL {server} server: found {}, looked in {}",
                self.versions(),
                places.join(", ")
            ),
            format!(
                "install the PostgreSQL {server} client (Debian: postgresql-client-{server}), or name its folder in `programs`"
            ),
        )
    }
}

fn usual_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (parent, prefix) in VERSIONED {
        let Ok(entries) = std::fs::read_dir(parent) else {
            continue;
        };
        let mut versions: Vec<(u32, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let major = entry
                    .file_name()
                    .to_str()?
                    .strip_prefix(prefix)?
                    .parse()
                    .ok()?;
                Some((major, entry.path().join("bin")))
            })
            .collect();
        versions.sort_by(|a, b| b.cmp(a));
        folders.extend(versions.into_iter().map(|(_, folder)| folder));
    }
    folders.extend(KNOWN.iter().map(PathBuf::from));
    folders.extend(
        std::env::var_os("PATH")
            .iter()
            .flat_map(std::env::split_paths),
    );
    folders
}

/// Debian's `pg_wrapper` stands in /usr/bin under the programs' names and picks a version by itself.
fn is_wrapper(path: &Path) -> bool {
    std::fs::canonicalize(path)
        .is_ok_and(|real| real.file_name().is_some_and(|name| name == "pg_wrapper"))
}

async fn look_into(folder: &Path, cancel: &CancellationToken) -> Option<Programs> {
    let complete = ["pg_dump", "pg_dumpall", "pg_restore"]
        .iter()
        .all(|name| folder.join(name).is_file());
    let pg_dump = folder.join("pg_dump");
    if !complete || is_wrapper(&pg_dump) {
        return None;
    }
    let output = Program::new(&pg_dump)
        .arg("--version")
        .output(MAX_VERSION_BYTES, cancel, None)
        .await
        .ok()?;
    let version = version_of(std::str::from_utf8(&output).ok()?)?;
    let major = version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()?;
    Some(Programs {
        folder: folder.to_owned(),
        major,
        version: version.to_owned(),
    })
}

/// "15.14" of "pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)".
fn version_of(output: &str) -> Option<&str> {
    output
        .split_once("(PostgreSQL) ")?
        .1
        .split_whitespace()
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn installed(majors: &[u32]) -> Installed {
        let found = majors
            .iter()
            .map(|major| Programs {
                folder: PathBuf::from(format!("/p/{major}")),
                major: *major,
                version: format!("{major}.1"),
            })
            .collect();
        Installed {
            found,
            looked_in: vec![PathBuf::from("/p")],
        }
    }

    fn dump(majors: &[u32], server: u32) -> Option<(u32, bool)> {
        let choice = installed(majors).to_dump(server).ok()?;
        Some((choice.programs.major, choice.warning.is_some()))
    }

    fn restore(majors: &[u32], archive: u32, server: u32) -> Option<(u32, bool)> {
        let choice = installed(majors).to_restore(archive, server).ok()?;
        Some((choice.programs.major, choice.warning.is_some()))
    }

    #[test]
    fn dumping_takes_the_servers_own_version_or_the_next_newer() {
        assert_eq!(dump(&[14, 15, 18], 15), Some((15, false)));
        assert_eq!(dump(&[14, 18, 17], 15), Some((17, true)));
        assert_eq!(dump(&[14], 15), None);
        let error = installed(&[14]).to_dump(15).unwrap_err();
        assert_eq!(error.class(), crate::FailureClass::Refused);
        assert!(error.to_string().contains("found 14.1"), "{error}");
    }

    #[test]
    fn restoring_refuses_impossible_pairs() {
        assert_eq!(restore(&[15, 18], 15, 15), Some((15, false)));
        assert_eq!(restore(&[15, 18], 15, 18), Some((18, false)));
        assert_eq!(restore(&[15, 18], 18, 15), None);
        assert_eq!(
            restore(&[18], 15, 15),
            None,
            "18 sets transaction_timeout, which 15 does not know"
        );
        assert_eq!(restore(&[18], 15, 17), Some((18, true)));
        assert_eq!(restore(&[16], 14, 15), Some((16, true)));
        assert_eq!(restore(&[15], 15, 18), None);
    }

    #[test]
    fn versions_are_read_from_what_programs_say() {
        assert_eq!(
            version_of("pg_dump (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"),
            Some("15.14")
        );
        assert_eq!(
            version_of("pg_dump (PostgreSQL) 19beta1\n"),
            Some("19beta1")
        );
        assert_eq!(version_of("nonsense"), None);
    }
}

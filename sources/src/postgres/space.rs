//! Whether the server's disk has room for the copies, as far as that can be told.

use std::path::Path;

use super::checks::Findings;
use super::manifest::Manifest;
use super::restore::{Restore, Target};

/// Only where the server's folders can be seen from here.
pub(crate) fn check(
    restore: &Restore<'_>,
    manifest: &Manifest,
    targets: &[Target<'_>],
    found: &mut Findings,
) {
    let folder = restore
        .facts
        .data_directory
        .as_deref()
        .filter(|folder| restore.server.is_local() && Path::new(folder).is_dir());
    let Some(folder) = folder else {
        restore.context.reporter.log(
            "info",
            "the server's disk is not visible from here: its free space is not checked",
        );
        return;
    };
    let elsewhere = |target: &&Target<'_>| {
        manifest
            .tablespaces
            .iter()
            .any(|tablespace| tablespace.name == target.manifest.properties.tablespace)
    };
    let here: Vec<&Target<'_>> = targets.iter().filter(|target| !elsewhere(target)).collect();
    // The dump is about what the tables take without indexes; the database's own size may be mostly bloat.
    let least: u64 = here
        .iter()
        .map(|target| target.manifest.dump_bytes.min(target.manifest.size_bytes))
        .sum();
    let most: u64 = here.iter().map(|target| target.manifest.size_bytes).sum();
    match nix::sys::statvfs::statvfs(folder) {
        Ok(stat) => {
            let free = stat.blocks_available().saturating_mul(stat.fragment_size());
            judge_space(free, least, most, folder, found);
        }
        Err(error) => restore.context.reporter.log(
            "info",
            &format!("the free space of {folder} is not known: {error}"),
        ),
    }
}

fn judge_space(free: u64, least: u64, most: u64, folder: &str, found: &mut Findings) {
    let size = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
    if free < least {
        found.problem(
            format!(
                "{folder} has {} free, and the copies need at least {}",
                size(free),
                size(least)
            ),
            "make room: the live databases stay beside their copies until they are dropped",
        );
    } else if free < most {
        found.warnings.push(format!(
            "{folder} has {} free, and the databases took {} on their server",
            size(free),
            size(most)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn space_is_refused_below_the_dump_and_warned_below_the_size() {
        let judged = |free| {
            let mut found = Findings::default();
            judge_space(free, 100, 200, "/d", &mut found);
            (found.problems.len(), found.warnings.len())
        };
        assert_eq!(
            [judged(99), judged(150), judged(200)],
            [(1, 0), (0, 1), (0, 0)]
        );
    }
}

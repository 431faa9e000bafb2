//! Reads a recovery kit from its file, and says so when the file is open to others.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use holdfast_vault::RecoveryKit;
use zeroize::Zeroizing;

use crate::exit::CommandError;
use crate::output::note;

/// A kit is a page; anything longer is another file.
const MAX_KIT_BYTES: u64 = 256 * 1024;

/// The kit in `path`. In a disaster nobody is sent away for a file's mode; it is told, and the work goes on.
pub fn load(path: &Path) -> Result<RecoveryKit, CommandError> {
    let place = path.display();
    let unreadable =
        |error| CommandError::usage(format!("cannot read the recovery kit {place}: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        note(&format!(
            "warning: others on this host can read {place}, and with it every backup: chmod 600 {place}"
        ));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_KIT_BYTES)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    RecoveryKit::parse(&text).map_err(|error| CommandError::usage(format!("{place}: {error}")))
}

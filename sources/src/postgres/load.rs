//! `pg_restore` fed from the vault.
//!
//! The archive goes straight from the snapshot into `pg_restore`'s stdin: one pass, in order, nothing on disk. Every
//! blob is verified before its bytes are handed on; a read error ends `pg_restore`, whose copy is then dropped.

use std::path::PathBuf;

use holdfast_vault::{FileReader, VaultError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::ChildStdin;

use super::connect::Server;
use super::restore::Restore;
use crate::error::SourceError;
use crate::process::Pipes;

const BUFFER_BYTES: usize = 256 * 1024;
/// A copy needs no commit on disk one by one: the swap's own commit comes after all of them in the server's log, and is
/// waited for.
const SESSION_OPTIONS: &str = "-c synchronous_commit=off -c default_transaction_read_only=off";

/// What of an archive is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole {
        /// Subscriptions, too.
        with_subscriptions: bool,
    },
    /// The entries whose numbers stand in this file, one a line.
    Listed(PathBuf),
}

/// Loads the dump `file` of the snapshot into the database `copy`.
pub(crate) async fn load(
    restore: &Restore<'_>,
    file: &str,
    copy: &str,
    part: &Part,
) -> Result<(), SourceError> {
    let program = restore
        .server
        .program(&restore.programs.pg_restore(), restore.programs.major)?
        .env("PGOPTIONS", SESSION_OPTIONS)
        .arg("--format=custom")
        .arg("--exit-on-error")
        .arg(Server::database_argument(copy));
    let program = match part {
        Part::Whole {
            with_subscriptions: true,
        } => program,
        Part::Whole {
            with_subscriptions: false,
        } => program.arg("--no-subscriptions"),
        Part::Listed(list) => {
            let mut argument = std::ffi::OsString::from("--use-list=");
            argument.push(list);
            program.arg("--no-subscriptions").arg(argument)
        }
    };
    let reader = restore
        .reader
        .read_file(&format!("{}/{file}", restore.root))
        .await?;
    let pipes = Pipes {
        stdin: true,
        stdout: false,
    };
    let mut running = program.start(
        pipes,
        &restore.context.cancel,
        Some(restore.context.reporter.clone()),
    )?;
    let stdin = running
        .stdin
        .take()
        .ok_or_else(|| SourceError::permanent("pg_restore was started without a pipe", ""))?;
    let fed = feed(reader, stdin, restore).await;
    if matches!(fed, Fed::ReadFailed(_)) {
        running.stop();
    }
    let exit = running.waiter().wait().await;
    match fed {
        _ if restore.context.cancel.is_cancelled() => Err(SourceError::Cancelled),
        Fed::ReadFailed(error) => Err(error),
        Fed::Closed if exit.success() && matches!(part, Part::Whole { .. }) => Err(
            SourceError::retryable("pg_restore ended before it had read the whole dump", ""),
        ),
        _ => exit.into_result("pg_restore").map_err(classify),
    }
}

/// What the server says against a statement of the dump it says again the next time, unless it speaks of itself.
fn classify(error: SourceError) -> SourceError {
    const PASSING: [&str; 5] = [
        "terminating connection",
        "server closed the connection",
        "the database system is",
        "deadlock detected",
        "lock timeout",
    ];
    match error {
        SourceError::Failed { message, hint, .. }
            if message.contains("ERROR:") && !PASSING.iter().any(|sign| message.contains(sign)) =>
        {
            let full = message.contains("No space left");
            let hint = if full {
                "make room on the server's disk".to_owned()
            } else {
                hint
            };
            SourceError::permanent(message, hint)
        }
        other => other,
    }
}

enum Fed {
    /// All of it went in.
    Whole,
    /// `pg_restore` stopped reading; its exit code says whether it had enough.
    Closed,
    ReadFailed(SourceError),
}

async fn feed(mut reader: FileReader, mut stdin: ChildStdin, restore: &Restore<'_>) -> Fed {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = match reader.read(&mut buffer).await {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) => return Fed::ReadFailed(read_error(error)),
        };
        if stdin.write_all(&buffer[..length]).await.is_err() {
            return Fed::Closed;
        }
        restore.context.reporter.restored_bytes(length as u64);
    }
    match stdin.shutdown().await {
        Ok(()) => Fed::Whole,
        Err(_) => Fed::Closed,
    }
}

/// The vault's own error, where the reader wrapped one.
pub(crate) fn read_error(error: std::io::Error) -> SourceError {
    let text = error.to_string();
    match error
        .into_inner()
        .map(|inner| inner.downcast::<VaultError>())
    {
        Some(Ok(vault)) => SourceError::Vault(*vault),
        _ => SourceError::retryable(
            format!("reading the dump from the vault failed: {text}"),
            "",
        ),
    }
}

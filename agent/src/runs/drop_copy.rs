//! Dropping the copy of a database that a restore left behind.

use holdfast_sources::SourceError;

use super::Job;

/// Drops it; the source refuses whatever is no such copy, and asks for permission before the drop.
pub async fn drop_copy(job: &Job, database: &str) -> Result<String, SourceError> {
    job.source.drop_copy(database, &job.context()).await?;
    Ok(database.to_owned())
}

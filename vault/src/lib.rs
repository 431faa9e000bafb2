//! The repository engine: restic format v2 over S3 and local disk.

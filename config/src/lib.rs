//! What every binary of ours reads before it starts: configuration files, secrets, durations and sizes.
//!
//! Promise: nothing in a configuration file is silently ignored. A key nobody knows is an error that names
//! file, line, column and the nearest known key; a secret is never written in the configuration itself.

pub mod private_file;

pub use private_file::{PrivateFileError, create_private_folder, read_private, write_private};

//! What every binary of ours reads before it starts: configuration files, secrets, durations and sizes.
//!
//! Promise: nothing in a configuration file is silently ignored. A key nobody knows is an error that names
//! file, line, column and the nearest known key; a secret is never written in the configuration itself.
//!
//! ```
//! #[derive(serde::Deserialize)]
//! struct Listen {
//!     port: u16,
//!     #[serde(with = "holdfast_config::duration")]
//!     timeout: std::time::Duration,
//! }
//! let error = holdfast_config::parse::<Listen>("a.toml", "prt = 1\ntimeout = '90s'").err();
//! assert_eq!(
//!     error.map(|e| e.to_string()).as_deref(),
//!     Some("a.toml:1:1: unknown key `prt` at the top level; did you mean `port`?\n\
//!           a.toml:1:1: `port` is missing at the top level")
//! );
//! ```

pub mod duration;
mod fault;
mod ignored;
mod load;
mod location;
pub mod private_file;
mod secret;
pub mod size;
mod strict;

pub use duration::{format_duration, parse_duration};
pub use load::{ConfigError, Problem, Problems, load, load_checked, parse, parse_checked};
pub use private_file::{PrivateFileError, create_private_folder, read_private, write_private};
pub use secret::{SecretError, SecretSource, read_secret};
pub use size::{format_size, parse_size};

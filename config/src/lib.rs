//! Strict TOML configuration: unknown keys are errors with file, line and the nearest known key.

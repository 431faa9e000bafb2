//! End-to-end tests: starts and stops the real servers the stories need.

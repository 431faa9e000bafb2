//! Keys, certificates, join tokens and the TLS of every connection between our own processes.

//! Logs, traces and metrics: how a process of Holdfast is seen from outside.

//! What the stories in `tests/` stand on: real servers, started and stopped for each story.
//!
//! Promises: every story has a folder, free ports and random credentials of its own; whatever a story starts ends with
//! it, also when it fails; nothing sleeps to let something happen, everything is waited for with a deadline; all
//! output is kept and searched for every secret at the end; a story that fails shows the last lines of every log.

pub mod agent;
pub mod checksum;
pub mod collector;
pub mod coordinator;
pub mod ctl;
pub mod data;
pub mod folder;
pub mod house;
pub mod http;
pub mod places;
pub mod plan;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod restic;
pub mod seaweed;
pub mod transcript;
pub mod wait;

pub use agent::Agent;
pub use coordinator::Coordinator;
pub use ctl::{Answer, Ctl};
pub use folder::StoryFolder;
pub use house::House;
pub use plan::{Plan, Store};
pub use postgres::Postgres;
pub use process::Process;
pub use proxy::{Fault, Proxy};
pub use transcript::Transcript;

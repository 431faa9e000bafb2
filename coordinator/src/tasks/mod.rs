//! What happens by itself.
//!
//! One driver owns all of it: a task is a function without input that may be run at any time and any number of times. It
//! runs at its interval, and those that react run when something nudges, too. A task that fails is told in the log and
//! tried again at its next time; one that hangs is cut off, and stops no other.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::coordinator::Coordinator;
use crate::fault::Result;

mod forget_expired;
mod note_connected;
mod renew_certificate;

/// How long one pass of a task may take.
const PASS_DEADLINE: Duration = Duration::from_secs(120);

type Pass = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

struct Task {
    name: &'static str,
    interval: Duration,
    /// Runs at a nudge, too.
    reacts: bool,
    pass: fn(Arc<Coordinator>) -> Pass,
}

fn tasks(coordinator: &Coordinator) -> Vec<Task> {
    let lease = coordinator.config.runs.lease;
    let often = (lease / 10).clamp(Duration::from_millis(200), Duration::from_secs(5));
    vec![
        Task {
            name: "assign queued runs",
            interval: Duration::from_secs(1),
            reacts: true,
            pass: |c| Box::pin(async move { crate::runs::assign::assign_queued(&c).await }),
        },
        Task {
            name: "take lapsed runs back",
            interval: often,
            reacts: false,
            pass: |c| Box::pin(async move { crate::runs::lapse::reap(&c).await }),
        },
        Task {
            name: "end overdue runs",
            interval: often,
            reacts: false,
            pass: |c| Box::pin(async move { crate::runs::deadline::end_overdue(&c).await }),
        },
        Task {
            name: "note who is connected",
            interval: Duration::from_secs(60),
            reacts: false,
            pass: |c| Box::pin(async move { note_connected::pass(&c).await }),
        },
        Task {
            name: "renew the own certificate",
            interval: renew_certificate::interval(coordinator),
            reacts: false,
            pass: |c| Box::pin(async move { renew_certificate::pass(&c) }),
        },
        Task {
            name: "forget what has expired",
            interval: Duration::from_secs(3600),
            reacts: false,
            pass: |c| Box::pin(async move { forget_expired::pass(&c).await }),
        },
    ]
}

/// Runs the tasks until the coordinator shuts down.
pub async fn drive(coordinator: Arc<Coordinator>) {
    let mut running = JoinSet::new();
    for task in tasks(&coordinator) {
        running.spawn(drive_one(Arc::clone(&coordinator), task));
    }
    running.join_all().await;
}

async fn drive_one(coordinator: Arc<Coordinator>, task: Task) {
    loop {
        let pass = (task.pass)(Arc::clone(&coordinator));
        match tokio::time::timeout(PASS_DEADLINE, pass).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(task = task.name, %error, "a task failed"),
            Err(_) => tracing::error!(task = task.name, "a task took too long"),
        }
        let next = Instant::now() + task.interval;
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = coordinator.nudge.notified(), if task.reacts => {}
            () = coordinator.shutdown.cancelled() => return,
        }
    }
}

//! Ctrl-C and its relatives.

use tokio::signal::unix::{SignalKind, signal};

/// Comes back when somebody wants this process to stop: SIGINT, SIGTERM, or the terminal that went away. From the first call on
/// these signals do nothing else, so whoever waits here must react.
pub async fn interrupted() {
    let signals = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ]
    .map(signal);
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = signals else {
        // Without a handler the signals keep their usual effect.
        tracing::warn!("cannot listen for signals; ctrl-C ends this process at once");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}

//! Progress and log lines of the held runs, put into the outbox as long as the coordinator takes them.

use holdfast_proto::convert::RunEpoch;
use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message;
use tokio::time::Instant;

use super::Session;

impl Session {
    /// Looks at every run once.
    pub(super) fn report_all(&mut self, now: Instant) {
        for held in self.held.iter().filter(|held| held.life.has_task()) {
            if !self.outbox.takes_reports() {
                return;
            }
            let key = held.life.key();
            let lines = held.reporter.take_log();
            if !lines.is_empty() {
                self.outbox.report(log(key, lines));
            }
            if let Some(latest) = held.reporter.take_progress(now) {
                self.outbox.report(progress(key, latest));
            }
        }
    }

    /// Everything a run has left to say, before its result is sent.
    pub(super) fn report_last_words(&mut self, key: RunEpoch) {
        let Some(held) = self.held.get(key) else {
            return;
        };
        if let Some(latest) = held.reporter.take_progress(Instant::now()) {
            self.outbox.report(progress(key, latest));
        }
        loop {
            let lines = held.reporter.take_log();
            if lines.is_empty() {
                return;
            }
            self.outbox.report(log(key, lines));
        }
    }
}

fn log(key: RunEpoch, lines: Vec<v1::LogLine>) -> Message {
    Message::RunLog(v1::RunLog {
        run_id: key.run.to_string(),
        epoch: key.epoch.0,
        lines,
    })
}

fn progress(key: RunEpoch, progress: v1::Progress) -> Message {
    Message::RunProgress(v1::RunProgress {
        run_id: key.run.to_string(),
        epoch: key.epoch.0,
        progress: Some(progress),
    })
}

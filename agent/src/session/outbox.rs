//! What waits to be sent to the coordinator, bounded however long it does not take anything.
//!
//! A lease renewal goes first, only ever the newest; control messages follow in order; reports (progress, log lines) go
//! when nothing else waits. A run's result goes after the reports that were taken before it, so that its last words
//! are not overtaken. When a link is lost control messages go with it, since each link begins with saying again what
//! matters; log lines stay.

use std::collections::VecDeque;

use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message;

/// No more reports are taken from the runs while so many wait.
const ENOUGH_REPORTS: usize = 16;

/// The messages.
#[derive(Debug, Default)]
pub struct Outbox {
    control: VecDeque<Message>,
    renewal: Option<v1::LeaseRenewal>,
    reports: VecDeque<Message>,
}

impl Outbox {
    /// A message of the contract; one that waits already is not sent twice.
    pub fn push(&mut self, message: Message) {
        if matches!(message, Message::RunFinished(_)) {
            self.control.append(&mut self.reports);
        }
        if !self.control.contains(&message) {
            self.control.push_back(message);
        }
    }

    /// The newest lease renewal.
    pub fn renew(&mut self, renewal: v1::LeaseRenewal) {
        self.renewal = Some(renewal);
    }

    /// Progress or log lines.
    pub fn report(&mut self, message: Message) {
        self.reports.push_back(message);
    }

    /// Whether more reports may be taken from the runs.
    #[must_use]
    pub fn takes_reports(&self) -> bool {
        self.reports.len() < ENOUGH_REPORTS
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.control.is_empty() && self.renewal.is_none() && self.reports.is_empty()
    }

    /// The next message to send.
    pub fn pop(&mut self) -> Option<v1::AgentMessage> {
        let renewal = self.renewal.take().map(Message::LeaseRenewal);
        let message = renewal
            .or_else(|| self.control.pop_front())
            .or_else(|| self.reports.pop_front());
        message.map(|message| v1::AgentMessage {
            message: Some(message),
        })
    }

    /// The link is gone.
    pub fn link_lost(&mut self) {
        self.renewal = None;
        self.control
            .retain(|message| matches!(message, Message::RunLog(_)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> Message {
        Message::RunLog(v1::RunLog {
            lines: vec![v1::LogLine {
                text: text.into(),
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    fn finished() -> Message {
        Message::RunFinished(v1::RunFinished::default())
    }

    fn all(outbox: &mut Outbox) -> Vec<Message> {
        std::iter::from_fn(|| outbox.pop()?.message).collect()
    }

    #[test]
    fn a_result_does_not_overtake_its_last_words() {
        let mut outbox = Outbox::default();
        outbox.report(log("last words"));
        outbox.push(finished());
        outbox.push(finished());
        assert_eq!(all(&mut outbox), [log("last words"), finished()]);
    }

    #[test]
    fn log_lines_outlive_a_link_and_stale_control_does_not() {
        let mut outbox = Outbox::default();
        outbox.renew(v1::LeaseRenewal::default());
        outbox.report(log("a"));
        outbox.push(finished());
        outbox.report(log("b"));
        outbox.link_lost();
        assert_eq!(all(&mut outbox), [log("a"), log("b")]);
    }

    #[test]
    fn only_the_newest_renewal_is_sent() {
        let mut outbox = Outbox::default();
        let renewal = |epoch| v1::LeaseRenewal {
            runs: vec![v1::HeldRun {
                epoch,
                ..Default::default()
            }],
        };
        outbox.renew(renewal(1));
        outbox.renew(renewal(2));
        assert_eq!(all(&mut outbox), [Message::LeaseRenewal(renewal(2))]);
    }
}

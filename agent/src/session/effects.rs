//! Carrying out what a run's step asks for.

use holdfast_proto::convert::RunEpoch;
use holdfast_proto::v1;
use holdfast_vault::PresignedPut;
use tokio::time::Instant;

use super::Session;
use crate::held::event::{Effect, Input};
use crate::runs::commit::Permit;

impl Session {
    /// Takes one step of a run and carries its effects out. `put` goes with a permission to commit.
    pub(super) fn step(&mut self, key: RunEpoch, input: Input, put: Option<PresignedPut>) {
        let Some(held) = self.held.get(key) else {
            return;
        };
        let effects = held.life.on(input, Instant::now());
        let mut put = put;
        for effect in effects {
            match effect {
                Effect::Send(message) => self.send_for(key, message),
                Effect::CancelWork => self.cancel_work(key),
                Effect::Answer(answer) => {
                    let put = put.take();
                    self.answer(
                        key,
                        answer.map(|right| Permit {
                            until: right.until,
                            put,
                        }),
                    );
                }
                Effect::Forget => self.held.forget(key),
            }
        }
    }

    fn send_for(&mut self, key: RunEpoch, message: v1::agent_message::Message) {
        if matches!(message, v1::agent_message::Message::RunFinished(_)) {
            self.report_last_words(key);
            if let Some(held) = self.held.get(key) {
                // Its grant and keys are needed no more.
                held.work = None;
            }
        }
        self.outbox.push(message);
    }

    fn cancel_work(&mut self, key: RunEpoch) {
        if let Some(held) = self.held.get(key) {
            if !held.cancel.is_cancelled()
                && let Some(stop) = held.life.stop()
            {
                let _in_run = held.span.enter();
                tracing::warn!(reason = stop.words(), "ending the run's work");
            }
            held.cancel.cancel();
        }
    }

    fn answer(&mut self, key: RunEpoch, answer: Result<Permit, String>) {
        let waiting = self.held.get(key).and_then(|held| held.answer.take());
        if let Some(waiting) = waiting {
            // A task that was cancelled meanwhile does not listen any more.
            let _ = waiting.send(answer);
        }
    }
}

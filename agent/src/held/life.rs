//! The life of one run in this process, without I/O and without a clock of its own.
//!
//! ```text
//! Waiting --Begin--> Working --Ask--> Asking --Decided--> Permitted
//!    |                  |               |                    |
//!    +------------------+----- Ended ---+--------------------+--> Finished --Acknowledged--> (forgotten)
//! ```
//!
//! The ordering argument. Nothing that changes the outside (a snapshot, a swap) is done before `Permitted`, and
//! `Permitted` is entered only by an answer to the question that this link carried, whose time limit is counted from
//! the moment the question was put. So whatever the coordinator decided later (a next epoch, a cancel) is decided
//! after that limit, and a process that was frozen in between finds the limit over. What was said over a link that
//! broke may be lost, therefore every link begins with saying again what matters: the start, the question, the
//! result. All three are idempotent for one epoch. A result is kept until it is acknowledged.
//!
//! A run ends by itself or because it was told to ([`Stop`]); the first reason wins. A stop ends the work, not the
//! truth: work that succeeds all the same is reported as done. Once it is permitted only the coordinator's word that
//! the run is another's stops it: a snapshot that is being written, or a swap, is finished.

use std::time::Duration;

use holdfast_proto::convert::RunEpoch;
use holdfast_proto::run::RunState;
use holdfast_proto::v1;
use holdfast_proto::v1::agent_message::Message;
use tokio::time::Instant;

use super::event::{Decision, Effect, Input, Permission, Question};
use super::grant::GrantTimes;
use super::stop::Stop;

/// How long an unacknowledged result waits before it is sent again over the same link.
pub const RESEND_RESULT_AFTER: Duration = Duration::from_secs(20);

/// Where a run stands in this process.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// For its source to be free.
    Waiting,
    /// Its task runs.
    Working,
    /// Its task waits for the permission to commit.
    Asking {
        /// What was asked.
        question: Question,
        /// When it was asked last.
        asked_at: Instant,
    },
    /// It may commit.
    Permitted,
    /// Its task is over; the coordinator has not said that it knows.
    Finished {
        /// What it came to.
        result: v1::RunResult,
        /// When it is to be sent again.
        resend_at: Instant,
    },
}

/// The times a run is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// When the whole run must be over; `None`: never.
    pub deadline: Option<Instant>,
    /// When its grant is renewed and when it ends.
    pub grant: GrantTimes,
}

/// One run under one epoch.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    key: RunEpoch,
    phase: Phase,
    stop: Option<Stop>,
    limits: Limits,
}

impl Life {
    /// A run that was just assigned.
    #[must_use]
    pub fn new(key: RunEpoch, limits: Limits) -> Self {
        Self {
            key,
            phase: Phase::Waiting,
            stop: None,
            limits,
        }
    }

    /// Which run, under which epoch.
    #[must_use]
    pub fn key(&self) -> RunEpoch {
        self.key
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Why it was told to end, if it was.
    #[must_use]
    pub fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// Whether its task runs.
    #[must_use]
    pub fn has_task(&self) -> bool {
        matches!(
            self.phase,
            Phase::Working | Phase::Asking { .. } | Phase::Permitted
        )
    }

    /// How it is named to the coordinator; `None` once the coordinator has taken it away.
    #[must_use]
    pub fn named(&self) -> Option<v1::HeldRun> {
        let finished = matches!(self.phase, Phase::Finished { .. });
        let taken = self.stop.as_ref().is_some_and(Stop::is_silent);
        if taken && !finished {
            return None;
        }
        Some(v1::HeldRun {
            run_id: self.key.run.to_string(),
            epoch: self.key.epoch.0,
            state: v1::RunState::from(self.state()).into(),
        })
    }

    fn state(&self) -> RunState {
        match &self.phase {
            Phase::Waiting => RunState::Assigned,
            Phase::Working | Phase::Asking { .. } => RunState::Running,
            Phase::Permitted => RunState::Committing,
            Phase::Finished { result, .. } => match &result.result {
                Some(v1::run_result::Result::Failure(_)) | None => RunState::Failed,
                Some(v1::run_result::Result::CancelledBy(_)) => RunState::Cancelled,
                Some(_) => RunState::Succeeded,
            },
        }
    }

    /// When [`Input::Tick`] has something to do; `None`: only when something else happens.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Instant> {
        let times = match &self.phase {
            Phase::Finished { resend_at, .. } => return Some(*resend_at),
            // The permission has its own limit, and a swap that was begun is not torn apart.
            Phase::Permitted => return None,
            _ if self.stop.is_some() => return None,
            _ => [
                self.limits.deadline,
                self.limits.grant.renew_at,
                self.limits.grant.ends_at,
            ],
        };
        times.into_iter().flatten().min()
    }

    /// Takes one step. Inputs that do not fit the phase are late or repeated, and change nothing.
    pub fn on(&mut self, input: Input, now: Instant) -> Vec<Effect> {
        match input {
            Input::Begin => self.begin(),
            Input::Ask(question) => self.ask(question, now),
            Input::Decided(decision) => self.decided(decision),
            Input::Stop(stop) => self.stopped(stop, now),
            Input::Granted(times) => {
                self.limits.grant = times;
                Vec::new()
            }
            Input::Ended(outcome) => self.ended(outcome, now),
            Input::LinkUp { kept } => self.link_up(kept, now),
            Input::Acknowledged => self.acknowledged(),
            Input::Tick => self.tick(now),
        }
    }

    fn begin(&mut self) -> Vec<Effect> {
        if self.phase != Phase::Waiting || self.stop.is_some() {
            return Vec::new();
        }
        self.phase = Phase::Working;
        vec![Effect::Send(self.started())]
    }

    fn ask(&mut self, question: Question, now: Instant) -> Vec<Effect> {
        if self.phase != Phase::Working {
            return Vec::new();
        }
        let message = self.commit_request(&question);
        self.phase = Phase::Asking {
            question,
            asked_at: now,
        };
        vec![Effect::Send(message)]
    }

    fn decided(&mut self, decision: Decision) -> Vec<Effect> {
        let Phase::Asking { asked_at, .. } = self.phase else {
            return Vec::new();
        };
        if !decision.permitted {
            self.phase = Phase::Working;
            return vec![Effect::Answer(Err(decision.reason))];
        }
        self.phase = Phase::Permitted;
        let until = asked_at + decision.valid_for;
        vec![Effect::Answer(Ok(Permission { until }))]
    }

    fn stopped(&mut self, stop: Stop, now: Instant) -> Vec<Effect> {
        if self.stop.is_some() || matches!(self.phase, Phase::Finished { .. }) {
            return Vec::new();
        }
        if self.phase == Phase::Permitted && !stop.is_silent() {
            // What was permitted is finished rather than torn apart; it has its own time limit.
            return Vec::new();
        }
        self.stop = Some(stop);
        if self.has_task() {
            return vec![Effect::CancelWork];
        }
        let never_begun = v1::Failure::default();
        self.ended(Err(never_begun), now)
    }

    fn ended(&mut self, outcome: Result<v1::RunResult, v1::Failure>, now: Instant) -> Vec<Effect> {
        if matches!(self.phase, Phase::Finished { .. }) {
            return Vec::new();
        }
        let result = match (outcome, &self.stop) {
            (Ok(result), _) => result,
            (Err(_), Some(stop)) => match stop.result() {
                Some(result) => result,
                None => return vec![Effect::Forget],
            },
            (Err(failure), None) => v1::RunResult {
                result: Some(v1::run_result::Result::Failure(failure)),
            },
        };
        let message = self.finished(result.clone());
        self.phase = Phase::Finished {
            result,
            resend_at: now + RESEND_RESULT_AFTER,
        };
        vec![Effect::Send(message)]
    }

    fn link_up(&mut self, kept: bool, now: Instant) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Finished { result, resend_at } => {
                *resend_at = now + RESEND_RESULT_AFTER;
                let result = result.clone();
                return vec![Effect::Send(self.finished(result))];
            }
            _ if !kept => {
                let reason = "the coordinator no longer counts on this attempt".to_owned();
                return self.stopped(Stop::LeaseLost { reason }, now);
            }
            Phase::Asking { asked_at, .. } => *asked_at = now,
            Phase::Waiting | Phase::Working | Phase::Permitted => {}
        }
        if let Some(renew_at) = &mut self.limits.grant.renew_at {
            // The request for a new grant may have gone down with the old link.
            *renew_at = (*renew_at).min(now + self.limits.grant.retry_every);
        }
        match &self.phase {
            Phase::Working => vec![Effect::Send(self.started())],
            Phase::Asking { question, .. } => vec![
                Effect::Send(self.started()),
                Effect::Send(self.commit_request(question)),
            ],
            _ => Vec::new(),
        }
    }

    fn acknowledged(&mut self) -> Vec<Effect> {
        match &self.phase {
            Phase::Finished { .. } => vec![Effect::Forget],
            // The coordinator has ended a run that we still work on.
            _ => {
                let reason = "the coordinator has ended the run".to_owned();
                self.stop.get_or_insert(Stop::LeaseLost { reason });
                if self.has_task() {
                    vec![Effect::CancelWork]
                } else {
                    vec![Effect::Forget]
                }
            }
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Effect> {
        if self.wakes_at().is_none_or(|at| at > now) {
            return Vec::new();
        }
        let over = |limit: Option<Instant>| limit.is_some_and(|limit| limit <= now);
        if let Phase::Finished { result, resend_at } = &mut self.phase {
            *resend_at = now + RESEND_RESULT_AFTER;
            let result = result.clone();
            return vec![Effect::Send(self.finished(result))];
        }
        if over(self.limits.deadline) {
            return self.stopped(Stop::DeadlineOver, now);
        }
        if over(self.limits.grant.ends_at) {
            return self.stopped(Stop::GrantEnded, now);
        }
        self.limits.grant.renew_at = Some(now + self.limits.grant.retry_every);
        vec![Effect::Send(Message::GrantRequest(v1::GrantRequest {
            run_id: self.key.run.to_string(),
            epoch: self.key.epoch.0,
        }))]
    }

    fn started(&self) -> Message {
        Message::RunStarted(v1::RunStarted {
            run_id: self.key.run.to_string(),
            epoch: self.key.epoch.0,
        })
    }

    fn commit_request(&self, question: &Question) -> Message {
        Message::CommitRequest(v1::CommitRequest {
            run_id: self.key.run.to_string(),
            epoch: self.key.epoch.0,
            snapshot_id: question.snapshot_id.clone(),
            snapshot_bytes: question.snapshot_bytes,
        })
    }

    fn finished(&self, result: v1::RunResult) -> Message {
        Message::RunFinished(v1::RunFinished {
            run_id: self.key.run.to_string(),
            epoch: self.key.epoch.0,
            result: Some(result),
        })
    }
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;

//! What the coordinator says, and what follows from it.

use std::collections::HashSet;
use std::time::Duration;

use holdfast_proto::convert::{self, RunEpoch};
use holdfast_proto::v1;
use holdfast_proto::v1::coordinator_message::Message;
use holdfast_vault::PresignedPut;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Session, SessionEnd};
use crate::held::event::{Decision, Input};
use crate::held::stop::Stop;

/// A difference of the clocks that is worth a warning.
const CLOCK_SKEW: Duration = Duration::from_secs(30);
/// A shorter lease would be all renewals.
const SHORTEST_LEASE: Duration = Duration::from_secs(1);

impl Session {
    pub(super) fn link_up(&mut self, welcome: &v1::Welcome) {
        let software = welcome
            .version
            .as_ref()
            .map_or("", |version| version.software.as_str());
        tracing::info!(agent = %welcome.agent_name, coordinator = %self.address, %software, "in session with the coordinator");
        self.link_error = None;
        tell_clock_skew(welcome.clock_micros);
        for (source, reason) in &welcome.rejected_sources {
            tracing::error!(%source, %reason, "the coordinator did not accept a source");
        }
        self.lease = Duration::from_secs(welcome.lease_seconds.into()).max(SHORTEST_LEASE);
        self.connection.fit_lease(self.lease);
        self.renew_lease_at = Instant::now();
        self.keep_only(&welcome.kept_runs);
        self.announce();
        if !self.swept {
            self.swept = true;
            self.sweep_sources();
        }
    }

    fn keep_only(&mut self, kept: &[v1::HeldRun]) {
        let kept: HashSet<RunEpoch> = kept
            .iter()
            .filter_map(|held| convert::run_epoch(&held.run_id, held.epoch).ok())
            .collect();
        for key in self.held.keys() {
            let kept = kept.contains(&key);
            self.step(key, Input::LinkUp { kept }, None);
        }
    }

    pub(super) fn on_message(&mut self, message: Message) {
        match message {
            Message::Welcome(_) => tracing::warn!("a second welcome in one session"),
            Message::Assignment(assignment) => self.on_assignment(assignment),
            Message::LeaseRenewed(_) => {}
            Message::LeaseLost(lost) => {
                let reason = lost.reason;
                let stop = Stop::LeaseLost { reason };
                self.input(&lost.run_id, lost.epoch, Input::Stop(stop));
            }
            Message::CommitDecision(decision) => self.on_decision(decision),
            Message::Cancel(cancel) => {
                let by = cancel.requested_by;
                let stop = Stop::Cancelled { by };
                self.input(&cancel.run_id, cancel.epoch, Input::Stop(stop));
            }
            Message::Grant(issued) => self.on_grant(issued),
            Message::Displaced(by) => self.on_displaced(&by),
            Message::RunAcknowledged(known) => {
                self.input(&known.run_id, known.epoch, Input::Acknowledged);
            }
        }
    }

    /// An input for the run of a message; runs that are not held are none of ours any more.
    fn input(&mut self, run_id: &str, epoch: u64, input: Input) {
        match convert::run_epoch(run_id, epoch) {
            Ok(key) => self.step(key, input, None),
            Err(error) => tracing::error!(%error, "the coordinator sent a malformed message"),
        }
    }

    fn on_decision(&mut self, decision: v1::CommitDecision) {
        let Ok(key) = convert::run_epoch(&decision.run_id, decision.epoch) else {
            tracing::error!("the coordinator sent a malformed decision");
            return;
        };
        let put = decision.snapshot_put.map(|put| PresignedPut {
            url: put.url.into(),
            headers: put.headers.into_iter().collect(),
        });
        let decided = Input::Decided(Decision {
            permitted: decision.permitted,
            valid_for: Duration::from_secs(decision.valid_for_seconds.into()),
            reason: decision.reason,
        });
        self.step(key, decided, put);
    }

    fn on_grant(&mut self, issued: v1::GrantIssued) {
        let Ok(key) = convert::run_epoch(&issued.run_id, issued.epoch) else {
            tracing::error!("the coordinator sent a malformed grant");
            return;
        };
        let Some(held) = self.held.get(key) else {
            return;
        };
        let work = held.work.as_ref();
        let (Some(grant), Some(new)) = (work.and_then(|work| work.grant.as_ref()), issued.grant)
        else {
            return;
        };
        match grant.renew(new, Instant::now()) {
            Ok(times) => {
                tracing::debug!(run_id = %key.run, "the run's grant was renewed");
                self.step(key, Input::Granted(times), None);
            }
            Err(error) => tracing::error!(%error, run_id = %key.run, "a new grant is unusable"),
        }
    }

    fn on_displaced(&mut self, by: &v1::Displaced) {
        let by = format!("{} ({})", by.by_host, by.by_address);
        tracing::error!(%by, "another process with this agent's certificate has taken its place");
        self.leave(SessionEnd::Displaced { by }, &Stop::Displaced);
    }
}

fn tell_clock_skew(coordinators_micros: i64) {
    let ours = Timestamp::now().as_microsecond();
    let ahead = ours.saturating_sub(coordinators_micros);
    let skew = Duration::from_micros(ahead.unsigned_abs());
    if coordinators_micros == 0 || skew < CLOCK_SKEW {
        return;
    }
    let side = if ahead > 0 { "ahead of" } else { "behind" };
    let skew = holdfast_config::format_duration(Duration::from_secs(skew.as_secs()));
    tracing::warn!(
        "this host's clock is {skew} {side} the coordinator's: set the clocks (NTP), or S3 servers may refuse requests"
    );
}

//! The session: one task that owns the held runs, the link to the coordinator, and everything in between.
//!
//! It never waits for anything but the next event: the link, a run's task, a question of one, a timer, a change of
//! the sources, or the order to end. What a run's event means is decided by [`crate::held::life`]; here its effects are carried
//! out. Runs go on while there is no link; what they have to say is said on the next one.
//!
//! The order at a new link: the coordinator learns which runs are held (Hello) and says which may go on (Welcome);
//! the others are ended before any new assignment is looked at; the first time, what dead runs of an earlier
//! process left half made is swept, and no run of a source begins before that is done.

mod begin;
mod connection;
pub mod describe;
mod effects;
mod inbound;
mod leaving;
mod outbox;
mod reports;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use holdfast_identity::{CoordinatorAddress, IdentityFiles, IdentitySlot};
use holdfast_proto::convert::RunEpoch;
use holdfast_proto::ids::InstanceId;
use holdfast_proto::{v1, version};
use holdfast_sources::Source;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::BackupSettings;
use crate::held::HeldRuns;
use crate::held::event::Input;
use crate::held::stop::Stop;
use crate::progress::LOOK_EVERY;
use crate::runs::commit::Ask;
use begin::TaskEnd;
pub use connection::Pace;
use connection::{Connection, Event, LinkError};
use leaving::Leaving;
pub use leaving::SessionEnd;
use outbox::Outbox;

/// A lease before the coordinator has said how long one lasts.
const FIRST_LEASE: Duration = Duration::from_secs(60);

/// What a session is made of.
#[derive(Debug)]
pub struct SessionParts {
    /// The coordinator.
    pub address: CoordinatorAddress,
    /// Who we are; renewed by somebody else.
    pub slot: IdentitySlot,
    /// Where the identity lies, to notice that the agent was joined again.
    pub files: IdentityFiles,
    /// The protected services.
    pub sources: Vec<Arc<dyn Source>>,
    /// What they say of themselves.
    pub described: watch::Receiver<Vec<v1::SourceInfo>>,
    /// How backups are made.
    pub backup: BackupSettings,
    /// Pauses between attempts to connect.
    pub pace: Pace,
    /// Ends the session.
    pub shutdown: CancellationToken,
}

/// See the module.
pub struct Session {
    address: CoordinatorAddress,
    slot: IdentitySlot,
    files: IdentityFiles,
    agent: String,
    hostname: String,
    instance: InstanceId,
    sources: BTreeMap<String, Arc<dyn Source>>,
    described: watch::Receiver<Vec<v1::SourceInfo>>,
    announced: Vec<v1::SourceInfo>,
    backup: BackupSettings,
    connection: Connection,
    /// Told once, until something changes.
    link_error: Option<LinkError>,
    outbox: Outbox,
    held: HeldRuns,
    tasks: JoinSet<TaskEnd>,
    task_keys: HashMap<tokio::task::Id, RunEpoch>,
    sweeps: JoinSet<String>,
    sweeping: HashSet<String>,
    swept: bool,
    asks: mpsc::Receiver<Ask>,
    ask_sender: mpsc::Sender<Ask>,
    lease: Duration,
    renew_lease_at: Instant,
    look_at: Instant,
    shutdown: CancellationToken,
    leaving: Option<Leaving>,
}

impl Session {
    /// A session that has not begun.
    #[must_use]
    pub fn new(parts: SessionParts) -> Self {
        let (ask_sender, asks) = mpsc::channel(16);
        let agent = parts.slot.current().peer().name().to_owned();
        let named = |source: Arc<dyn Source>| (source.name().to_owned(), source);
        Self {
            address: parts.address,
            slot: parts.slot,
            files: parts.files,
            agent,
            hostname: hostname(),
            instance: InstanceId::new(),
            sources: parts.sources.into_iter().map(named).collect(),
            described: parts.described,
            announced: Vec::new(),
            backup: parts.backup,
            connection: Connection::new(parts.pace),
            link_error: None,
            outbox: Outbox::default(),
            held: HeldRuns::default(),
            tasks: JoinSet::new(),
            task_keys: HashMap::new(),
            sweeps: JoinSet::new(),
            sweeping: HashSet::new(),
            swept: false,
            asks,
            ask_sender,
            lease: FIRST_LEASE,
            renew_lease_at: Instant::now(),
            look_at: Instant::now(),
            shutdown: parts.shutdown,
            leaving: None,
        }
    }

    /// Runs until it is told to end, is displaced, or is revoked.
    pub async fn run(mut self) -> SessionEnd {
        loop {
            self.begin_waiting_runs();
            if let Some(end) = self.ended() {
                return end;
            }
            let sender = self.connection.sender();
            let waits = !self.outbox.is_empty();
            let wake_at = self.wakes_at();
            tokio::select! {
                () = self.shutdown.cancelled(), if self.leaving.is_none() => {
                    self.leave(SessionEnd::Shutdown, &Stop::Shutdown);
                }
                event = self.connection.next() => self.on_connection(event),
                Some(ask) = self.asks.recv() => self.on_ask(ask),
                Some(end) = self.tasks.join_next_with_id() => self.on_task_end(end),
                Some(swept) = self.sweeps.join_next() => self.on_swept(swept),
                permit = reserve(sender.as_ref()), if waits => match permit {
                    Some(permit) => if let Some(message) = self.outbox.pop() {
                        permit.send(message);
                    },
                    None => self.link_lost(&LinkError::Passing("the session is closed".to_owned()), true),
                },
                Ok(()) = self.described.changed() => self.announce(),
                () = tokio::time::sleep_until(wake_at) => self.on_time(),
            }
        }
    }

    fn on_connection(&mut self, event: Event) {
        match event {
            Event::Due => {
                let hello = self.hello();
                self.connection
                    .attempt(self.address.clone(), self.slot.clone(), hello);
            }
            Event::Up(welcome) => self.link_up(&welcome),
            Event::Down(error) => self.link_lost(&error, false),
            Event::Received(message) => self.on_message(*message),
        }
    }

    fn hello(&mut self) -> v1::Hello {
        self.announced
            .clone_from(&self.described.borrow_and_update());
        v1::Hello {
            version: Some(version::own()),
            hostname: self.hostname.clone(),
            sources: self.announced.clone(),
            held_runs: self.held.named(),
            clock_micros: Timestamp::now().as_microsecond(),
            instance_id: self.instance.to_string(),
        }
    }

    fn link_lost(&mut self, error: &LinkError, found_here: bool) {
        if found_here {
            self.connection.drop_link(error.clone());
        }
        self.outbox.link_lost();
        let told_before = self.link_error.as_ref() == Some(error);
        self.link_error = Some(error.clone());
        let held_runs = self.held.len();
        match error {
            LinkError::Passing(_) if told_before => {
                tracing::debug!(%error, held_runs, "still no link to the coordinator");
            }
            LinkError::Passing(_) => {
                tracing::warn!(%error, held_runs, "no link to the coordinator; trying again");
            }
            LinkError::NeedsAPerson(_) => {
                tracing::error!(%error, held_runs, "the coordinator cannot be worked with; trying again slowly");
                self.look_for_another_identity();
            }
            LinkError::Revoked(reason) => {
                tracing::error!(%reason, "the coordinator does not accept this agent any more");
                let stop = Stop::LeaseLost {
                    reason: reason.clone(),
                };
                let reason = reason.clone();
                self.leave(SessionEnd::Revoked { reason }, &stop);
            }
        }
    }

    /// Somebody may have joined this agent again beside us.
    fn look_for_another_identity(&self) {
        let current = self.slot.current();
        match self.files.load() {
            Ok(Some(found))
                if found.peer().subject() == current.peer().subject()
                    && found.peer().serial() != current.peer().serial() =>
            {
                tracing::info!(until = %found.peer().not_after(), "took up the identity of a later join");
                self.slot.replace(found);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "cannot read the agent's identity"),
        }
    }

    fn announce(&mut self) {
        let current = self.described.borrow_and_update().clone();
        if !self.connection.is_up() || current == self.announced {
            return;
        }
        self.announced.clone_from(&current);
        let changed = v1::SourcesChanged { sources: current };
        self.outbox
            .push(v1::agent_message::Message::SourcesChanged(changed));
    }

    fn on_ask(&mut self, ask: Ask) {
        if let Some(held) = self.held.get(ask.key) {
            held.answer = Some(ask.answer);
            self.step(ask.key, Input::Ask(ask.question), None);
        }
    }

    fn wakes_at(&self) -> Instant {
        let up = self.connection.is_up();
        let working = self.held.working() > 0;
        let far = Instant::now() + Duration::from_secs(3600);
        let runs = self.held.iter().filter_map(|held| held.life.wakes_at());
        runs.chain(self.leaving.as_ref().map(|leaving| leaving.at))
            .chain((up && !self.held.is_empty()).then_some(self.renew_lease_at))
            .chain((up && working).then_some(self.look_at))
            .fold(far, Instant::min)
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        for key in self.held.keys() {
            self.step(key, Input::Tick, None);
        }
        if !self.connection.is_up() {
            return;
        }
        if now >= self.renew_lease_at {
            self.renew_lease_at = now + self.lease / 3;
            let runs = self.held.named();
            if !runs.is_empty() {
                self.outbox.renew(v1::LeaseRenewal { runs });
            }
        }
        if now >= self.look_at {
            self.look_at = now + LOOK_EVERY;
            self.report_all(now);
        }
    }

    fn is_free(&self, source: &str) -> bool {
        let worked_on = |held: &crate::held::Held| {
            held.life.has_task()
                && held
                    .work
                    .as_ref()
                    .is_some_and(|work| work.source.name() == source)
        };
        !self.sweeping.contains(source) && !self.held.iter().any(worked_on)
    }
}

/// A place in the link; `None` when it is closed. Without a link there is nothing to wait for.
async fn reserve(
    sender: Option<&mpsc::Sender<v1::AgentMessage>>,
) -> Option<mpsc::Permit<'_, v1::AgentMessage>> {
    match sender {
        Some(sender) => sender.reserve().await.ok(),
        None => std::future::pending().await,
    }
}

fn hostname() -> String {
    match nix::unistd::gethostname() {
        Ok(name) => name.to_string_lossy().into_owned(),
        Err(error) => {
            tracing::warn!(%error, "this host has no name");
            String::new()
        }
    }
}

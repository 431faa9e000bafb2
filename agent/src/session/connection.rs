//! One link to the coordinator after the other.
//!
//! A link is a connection with an opened session: Hello sent, Welcome received. Passing faults are tried again with
//! growing, jittered pauses, so that a coordinator that comes back is not run over by all its agents at once. What
//! only a person can mend (another version, a certificate that is not accepted) is tried again slowly and told each
//! time; a revoked agent does not come back.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures::future::BoxFuture;
use holdfast_identity::{
    ClientError, ClientTls, ConnectError, CoordinatorAddress, IdentitySlot, Refusal,
};
use holdfast_proto::v1::agent_message::Message;
use holdfast_proto::v1::agent_service_client::AgentServiceClient;
use holdfast_proto::v1::coordinator_message;
use holdfast_proto::{v1, version};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

/// How long the coordinator may take to welcome a session.
const WELCOME_DEADLINE: Duration = Duration::from_secs(20);
/// Messages between us and the transport: few, so that what is sent is fresh.
const IN_FLIGHT: usize = 4;

/// Pauses between attempts to connect.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The first pause.
    pub first: Duration,
    /// The longest; jitter may double it. Well below a lease, so that a restarted coordinator hears of all runs
    /// before it reaps any.
    pub longest: Duration,
    /// Where a person has to act.
    pub slow: Duration,
    /// A link that stood this long starts the pauses anew.
    pub stable: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(10),
            slow: Duration::from_secs(60),
            stable: Duration::from_secs(30),
        }
    }
}

/// A session that stands.
#[derive(Debug)]
pub struct Link {
    /// To the coordinator.
    pub sender: mpsc::Sender<v1::AgentMessage>,
    inbound: tonic::Streaming<v1::CoordinatorMessage>,
    since: Instant,
}

/// Why there is no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It passes.
    #[error("{0}")]
    Passing(String),
    /// Somebody has to do something.
    #[error("{0}")]
    NeedsAPerson(String),
    /// This agent is not to come back.
    #[error("{0}")]
    Revoked(String),
}

/// What the connection has to tell.
#[derive(Debug)]
pub enum Event {
    /// A pause is over: begin the next attempt.
    Due,
    /// An attempt succeeded.
    Up(Box<v1::Welcome>),
    /// An attempt failed, or a link broke.
    Down(LinkError),
    /// A message.
    Received(Box<coordinator_message::Message>),
}

enum State {
    Pausing(Instant),
    Connecting(BoxFuture<'static, Result<(Link, v1::Welcome), LinkError>>),
    Up(Box<Link>),
    Closed,
}

/// The way to the coordinator.
pub struct Connection {
    state: State,
    pace: Pace,
    pauses: ExponentialBackoff,
    /// No passing trouble is waited out for longer: a restarted coordinator reaps after one lease, and is to hear of
    /// all runs before that.
    at_most: Duration,
    /// The identity in use, and the serial number of the certificate that the last attempt showed.
    shown: Option<(IdentitySlot, String)>,
}

impl Connection {
    /// A connection whose first attempt is due at once.
    #[must_use]
    pub fn new(pace: Pace) -> Self {
        Self {
            state: State::Pausing(Instant::now()),
            pauses: pauses(pace),
            at_most: pace.longest.saturating_mul(2),
            shown: None,
            pace,
        }
    }

    /// Keeps the pauses below half a lease of the coordinator's.
    pub fn fit_lease(&mut self, lease: Duration) {
        self.at_most = self.pace.longest.saturating_mul(2).min(lease / 2);
    }

    /// The way out, while a link stands.
    #[must_use]
    pub fn sender(&self) -> Option<mpsc::Sender<v1::AgentMessage>> {
        match &self.state {
            State::Up(link) => Some(link.sender.clone()),
            _ => None,
        }
    }

    /// Whether a link stands.
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up(_))
    }

    /// Waits for the next event. May be dropped at any time without losing one.
    pub async fn next(&mut self) -> Event {
        match &mut self.state {
            State::Closed => std::future::pending().await,
            State::Pausing(until) => {
                tokio::time::sleep_until(*until).await;
                Event::Due
            }
            State::Connecting(attempt) => match attempt.await {
                Ok((link, welcome)) => {
                    self.state = State::Up(Box::new(link));
                    Event::Up(Box::new(welcome))
                }
                Err(error) => self.down(error),
            },
            State::Up(link) => match receive(link).await {
                Ok(message) => Event::Received(Box::new(message)),
                Err(error) => self.down(error),
            },
        }
    }

    /// Begins an attempt with this Hello.
    pub fn attempt(&mut self, address: CoordinatorAddress, slot: IdentitySlot, hello: v1::Hello) {
        let serial = slot.current().peer().serial().to_owned();
        self.shown = Some((slot.clone(), serial));
        self.state = State::Connecting(Box::pin(open(address, slot, hello)));
    }

    /// Gives the link up for a reason found outside.
    pub fn drop_link(&mut self, error: LinkError) -> LinkError {
        self.down(error.clone());
        error
    }

    /// No more attempts.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    fn has_other_identity(&self) -> bool {
        self.shown
            .as_ref()
            .is_some_and(|(slot, serial)| slot.current().peer().serial() != serial)
    }

    fn down(&mut self, error: LinkError) -> Event {
        if let State::Up(link) = &self.state
            && link.since.elapsed() >= self.pace.stable
        {
            self.pauses = pauses(self.pace);
        }
        let error = match error {
            // A session ends with its certificate; there is a renewed one to go on with.
            LinkError::NeedsAPerson(words) if self.has_other_identity() => {
                LinkError::Passing(words)
            }
            error => error,
        };
        let pause = match &error {
            LinkError::Passing(_) => {
                let pause = self.pauses.next().unwrap_or(self.pace.longest);
                pause.min(self.at_most)
            }
            LinkError::NeedsAPerson(_) => jittered(self.pace.slow),
            LinkError::Revoked(_) => {
                self.state = State::Closed;
                return Event::Down(error);
            }
        };
        self.state = State::Pausing(Instant::now() + pause);
        Event::Down(error)
    }
}

fn pauses(pace: Pace) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(pace.first)
        .with_max_delay(pace.longest)
        .with_jitter()
        .without_max_times()
        .build()
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..1.5))
}

async fn open(
    address: CoordinatorAddress,
    slot: IdentitySlot,
    hello: v1::Hello,
) -> Result<(Link, v1::Welcome), LinkError> {
    let tls = ClientTls::with_identity(slot).map_err(|e| LinkError::NeedsAPerson(e.to_string()))?;
    let channel = tls
        .connect(&address)
        .await
        .map_err(|error| not_connected(&error))?;
    let (sender, outbound) = mpsc::channel(IN_FLIGHT);
    let hello = v1::AgentMessage {
        message: Some(Message::Hello(hello)),
    };
    // The channel is new and empty.
    let _ = sender.try_send(hello);
    let late = |_| {
        let seconds = WELCOME_DEADLINE.as_secs();
        LinkError::Passing(format!("{address} did not answer within {seconds} s"))
    };
    let opened = open_session(channel, sender, outbound);
    let (link, welcome) = tokio::time::timeout(WELCOME_DEADLINE, opened)
        .await
        .map_err(late)??;
    version::check(welcome.version.as_ref())
        .map_err(|error| LinkError::NeedsAPerson(error.to_string()))?;
    Ok((link, welcome))
}

async fn open_session(
    channel: Channel,
    sender: mpsc::Sender<v1::AgentMessage>,
    outbound: mpsc::Receiver<v1::AgentMessage>,
) -> Result<(Link, v1::Welcome), LinkError> {
    let mut client = AgentServiceClient::new(channel);
    let opened = client.session(ReceiverStream::new(outbound)).await;
    let mut link = Link {
        sender,
        inbound: opened.map_err(|status| broken(&status))?.into_inner(),
        since: Instant::now(),
    };
    match receive(&mut link).await? {
        coordinator_message::Message::Welcome(welcome) => Ok((link, welcome)),
        _ => Err(LinkError::NeedsAPerson(
            "the session did not begin with a welcome: is it a coordinator of this version?"
                .to_owned(),
        )),
    }
}

/// The next message this build knows; a newer coordinator's others are passed over.
async fn receive(link: &mut Link) -> Result<coordinator_message::Message, LinkError> {
    loop {
        match link.inbound.message().await {
            Ok(Some(v1::CoordinatorMessage {
                message: Some(message),
            })) => return Ok(message),
            Ok(Some(_)) => tracing::debug!("passed over a message of a newer coordinator"),
            Ok(None) => {
                return Err(LinkError::Passing(
                    "the coordinator ended the session".to_owned(),
                ));
            }
            Err(status) => return Err(broken(&status)),
        }
    }
}

fn not_connected(error: &ClientError) -> LinkError {
    let words = error.to_string();
    let ClientError::Connect(transport) = error else {
        return LinkError::NeedsAPerson(words);
    };
    match ConnectError::find(transport) {
        Some(found) => refused(found),
        None => LinkError::Passing(words),
    }
}

fn refused(error: &ConnectError) -> LinkError {
    let words = error.to_string();
    match error {
        ConnectError::Refused {
            refusal: Refusal::Revoked,
            ..
        } => LinkError::Revoked(words),
        other if other.is_worth_retrying() => LinkError::Passing(words),
        _ => LinkError::NeedsAPerson(words),
    }
}

fn broken(status: &tonic::Status) -> LinkError {
    if let Some(found) = ConnectError::find(status) {
        return refused(found);
    }
    let words = match status.message() {
        "" => format!("the session ended: {}", status.code()),
        said => format!("the session ended: {said}"),
    };
    match status.code() {
        Code::PermissionDenied => LinkError::Revoked(words),
        Code::FailedPrecondition | Code::Unauthenticated | Code::InvalidArgument => {
            LinkError::NeedsAPerson(words)
        }
        _ => LinkError::Passing(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_denial_is_for_ever() {
        let class = |status| broken(&status);
        let denied = class(tonic::Status::permission_denied("revoked"));
        assert!(matches!(denied, LinkError::Revoked(_)), "{denied}");
        let version = class(tonic::Status::failed_precondition("version 2"));
        assert!(matches!(version, LinkError::NeedsAPerson(_)), "{version}");
        for code in [
            Code::Unavailable,
            Code::Internal,
            Code::Unknown,
            Code::Cancelled,
        ] {
            let passing = class(tonic::Status::new(code, "x"));
            assert!(matches!(passing, LinkError::Passing(_)), "{passing}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_their_limit_and_a_revoked_agent_has_none() {
        let pace = Pace::default();
        let mut connection = Connection::new(pace);
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            let begun = Instant::now();
            assert!(matches!(connection.next().await, Event::Due));
            last = begun.elapsed();
            assert!(last <= pace.longest * 2, "{last:?}");
            connection.down(LinkError::Passing("x".into()));
        }
        assert!(last >= pace.longest, "{last:?}");
        connection.down(LinkError::Revoked("x".into()));
        let nothing = tokio::time::timeout(Duration::from_secs(3600), connection.next()).await;
        assert!(nothing.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn no_pause_is_longer_than_half_a_lease() {
        let mut connection = Connection::new(Pace::default());
        let lease = Duration::from_secs(6);
        connection.fit_lease(lease);
        for _ in 0..12 {
            let begun = Instant::now();
            assert!(matches!(connection.next().await, Event::Due));
            assert!(begun.elapsed() <= lease / 2 + Duration::from_millis(1));
            connection.down(LinkError::Passing("x".into()));
        }
    }
}

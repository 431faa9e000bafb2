//! Watching a run: everything that happened so far, then what happens, until its final form.
//!
//! Pulses only wake; events are read from the state in the order of their numbers, so nothing is missed and nothing comes
//! twice, however slow the watcher is.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use holdfast_proto::ids::RunId;
use holdfast_proto::v1;
use holdfast_proto::v1::run_event::Event;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::runs::{resolve, view};
use crate::store::{run_events, runs};

/// Events waiting for one watcher.
const QUEUE: usize = 64;
/// Events read at once.
const PAGE: i64 = 500;
/// How often the state is looked at without a pulse.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// What a watcher reads.
pub type Events = Pin<Box<dyn Stream<Item = std::result::Result<v1::RunEvent, Status>> + Send>>;

type Queue = mpsc::Sender<std::result::Result<v1::RunEvent, Status>>;

/// Starts to watch.
pub async fn watch(
    coordinator: &Arc<Coordinator>,
    request: &v1::WatchRunRequest,
) -> Result<Events> {
    let run = {
        let mut connection = coordinator.store.read().await?;
        resolve::run(&mut connection, &request.run_id).await?
    };
    let (queue, events) = mpsc::channel(QUEUE);
    let (coordinator, after) = (Arc::clone(coordinator), request.after_sequence);
    tokio::spawn(async move {
        let told = tokio::select! {
            told = tell(&coordinator, run.id, after, &queue) => told,
            () = coordinator.shutdown.cancelled() => {
                Err(Fault::Unavailable("the coordinator is shutting down".into()))
            }
        };
        if let Err(fault) = told {
            // Nobody listens any more where this fails.
            let _ = queue.send(Err(fault.into())).await;
        }
    });
    Ok(Box::pin(ReceiverStream::new(events)))
}

async fn tell(coordinator: &Coordinator, id: RunId, after: u64, queue: &Queue) -> Result<()> {
    let mut pulses = coordinator.pulses.follow(id);
    let mut last = after;
    let mut shown_beat = None;
    loop {
        // The pulse before the state: what comes between wakes again.
        let pulse = pulses.borrow_and_update().clone();
        let ended = is_final(coordinator, id).await?;
        last = replay(coordinator, id, last, queue).await?;
        if ended {
            coordinator.pulses.end(id);
            return finish(coordinator, id, last, queue).await;
        }
        if shown_beat != Some(pulse.beat)
            && let Some((epoch, progress)) = pulse.progress
        {
            shown_beat = Some(pulse.beat);
            let figures = event(last, epoch, Event::Progress(progress));
            if queue.send(Ok(figures)).await.is_err() {
                return Ok(());
            }
        }
        tokio::select! {
            changed = pulses.changed() => {
                if changed.is_err() && !is_final(coordinator, id).await? {
                    pulses = coordinator.pulses.follow(id);
                }
            }
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = queue.closed() => return Ok(()),
        }
    }
}

async fn is_final(coordinator: &Coordinator, id: RunId) -> Result<bool> {
    let mut connection = coordinator.store.read().await?;
    let run = runs::get(&mut connection, id).await?;
    Ok(run.is_none_or(|run| run.state.is_final()))
}

/// Sends what is written down after number `last`; returns the new last number.
async fn replay(coordinator: &Coordinator, id: RunId, mut last: u64, queue: &Queue) -> Result<u64> {
    loop {
        let page = {
            let mut connection = coordinator.store.read().await?;
            run_events::list(&mut connection, id, last, PAGE).await?
        };
        if page.is_empty() {
            return Ok(last);
        }
        for event in page {
            last = event.sequence;
            if queue.send(Ok(event)).await.is_err() {
                return Ok(last);
            }
        }
    }
}

async fn finish(coordinator: &Coordinator, id: RunId, last: u64, queue: &Queue) -> Result<()> {
    let run = {
        let mut connection = coordinator.store.read().await?;
        runs::get(&mut connection, id).await?
    };
    let run = run.ok_or_else(|| Fault::NotFound(format!("no run {id}")))?;
    let epoch = run.epoch.0;
    let ended = Event::Ended(view::shown(coordinator, run).await?);
    let _ = queue.send(Ok(event(last, epoch, ended))).await;
    Ok(())
}

fn event(sequence: u64, epoch: u64, event: Event) -> v1::RunEvent {
    v1::RunEvent {
        sequence,
        time_micros: now_micros(),
        epoch,
        event: Some(event),
    }
}

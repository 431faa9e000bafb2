//! What the agent says of its sources, kept current without ever holding the session up.
//!
//! Each source is asked in a task of its own with a time limit: a hung database is told as its own problem, and
//! nobody else's. The first look is short, because the session waits for it; a source that had no answer by then is
//! asked again at once with more patience.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::v1;
use holdfast_sources::{Description, Source};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long the session waits for the first answers.
pub const FIRST_LIMIT: Duration = Duration::from_secs(3);
/// How long a source may take afterwards, and for `check-config`.
pub const PATIENT_LIMIT: Duration = Duration::from_secs(30);

/// Asks all `sources` at once; the answers come in their order.
pub async fn describe_all(sources: &[Arc<dyn Source>], limit: Duration) -> Vec<v1::SourceInfo> {
    let mut asked = JoinSet::new();
    for (index, source) in sources.iter().cloned().enumerate() {
        asked.spawn(async move {
            let answer = tokio::time::timeout(limit, source.describe()).await;
            (index, answer.unwrap_or_else(|_| silent(limit)))
        });
    }
    // What remains is the answer of a source whose task panicked.
    let broken = || Description {
        problem: Some("internal failure while asking it; see the agent's log".to_owned()),
        ..Default::default()
    };
    let mut answers: Vec<_> = sources
        .iter()
        .map(|source| info(source, broken()))
        .collect();
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok((index, description)) => answers[index] = info(&sources[index], description),
            Err(error) => tracing::error!(%error, "a source could not be described"),
        }
    }
    answers
}

fn silent(limit: Duration) -> Description {
    Description {
        problem: Some(format!(
            "no answer within {} s: see whether the service is up and not overloaded",
            limit.as_secs_f32()
        )),
        ..Default::default()
    }
}

fn info(source: &Arc<dyn Source>, description: Description) -> v1::SourceInfo {
    v1::SourceInfo {
        name: source.name().to_owned(),
        kind: source.kind().as_str().to_owned(),
        methods: source
            .methods()
            .iter()
            .map(|method| method.as_str().to_owned())
            .collect(),
        facts: description.facts.into_iter().collect(),
        problem: description.problem.unwrap_or_default(),
    }
}

/// Looks once, then keeps looking every `every` until `end`; the receiver always has the newest answers.
pub async fn keep_described(
    sources: Vec<Arc<dyn Source>>,
    every: Duration,
    end: CancellationToken,
) -> watch::Receiver<Vec<v1::SourceInfo>> {
    let first = describe_all(&sources, FIRST_LIMIT).await;
    let hurry = first.iter().any(|source| !source.problem.is_empty());
    let (sender, receiver) = watch::channel(first);
    tokio::spawn(async move {
        let mut pause = if hurry { Duration::ZERO } else { every };
        loop {
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let current = describe_all(&sources, PATIENT_LIMIT).await;
            sender.send_if_modified(|known| {
                let changed = *known != current;
                *known = current;
                changed
            });
            pause = every;
        }
    });
    receiver
}

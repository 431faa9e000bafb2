//! Sources, as operators ask for them.

use holdfast_proto::v1;

use crate::coordinator::Coordinator;
use crate::fault::{Fault, Result};
use crate::runs::view::Viewer;
use crate::store::runs::RunRecord;
use crate::store::snapshots::Filter;
use crate::store::sources::SourceRecord;
use crate::store::{runs, snapshots, sources};

pub async fn list(coordinator: &Coordinator) -> Result<Vec<v1::Source>> {
    let (records, last_runs) = {
        let mut connection = coordinator.store.read().await?;
        let records = sources::list(&mut connection).await?;
        (records, runs::newest_of_each_source(&mut connection).await?)
    };
    let viewer = Viewer::new(coordinator).await?;
    let mut shown = Vec::with_capacity(records.len());
    for record in records {
        let last = last_runs
            .iter()
            .find(|run| run.source == record.name)
            .cloned();
        shown.push(source(coordinator, &viewer, record, last).await?);
    }
    Ok(shown)
}

pub async fn get(coordinator: &Coordinator, name: &str) -> Result<v1::Source> {
    let (record, last) = {
        let mut connection = coordinator.store.read().await?;
        let record = sources::get(&mut connection, name).await?;
        let filter = runs::Filter {
            source: name.into(),
            states: Vec::new(),
            limit: 1,
        };
        (record, runs::list(&mut connection, &filter).await?.pop())
    };
    let record = record.ok_or_else(|| {
        Fault::NotFound(format!("no source {name}")).hint("holdfastctl source list shows them")
    })?;
    source(coordinator, &Viewer::new(coordinator).await?, record, last).await
}

async fn source(
    coordinator: &Coordinator,
    viewer: &Viewer<'_>,
    record: SourceRecord,
    last: Option<RunRecord>,
) -> Result<v1::Source> {
    let mut connection = coordinator.store.read().await?;
    let filter = Filter {
        source: record.name.clone(),
        limit: 1,
        ..Default::default()
    };
    let latest = snapshots::list(&mut connection, &filter).await?.pop();
    let (counted, orphans) = snapshots::counts(&mut connection, &record.name, "").await?;
    Ok(v1::Source {
        info: Some(record.info),
        agent: viewer.agent(record.agent_id),
        agent_connected: record.announced && coordinator.sessions.get(record.agent_id).is_some(),
        latest: latest.map(|snapshot| v1::Snapshot {
            manifest_json: String::new(),
            ..snapshot.into()
        }),
        snapshots: counted,
        orphans,
        last_run: last.map(|run| viewer.run(run)),
    })
}

//! Writes down who is connected, so that "last heard of" is true after a crash, too.

use crate::clock::now_micros;
use crate::coordinator::Coordinator;
use crate::fault::Result;
use crate::store::agents;

pub async fn pass(coordinator: &Coordinator) -> Result<()> {
    let connected = coordinator.sessions.connected();
    if connected.is_empty() {
        return Ok(());
    }
    let now = now_micros();
    let mut tx = coordinator.store.begin().await?;
    for agent in connected {
        agents::seen(&mut tx, agent, now).await?;
    }
    Ok(tx.commit().await?)
}

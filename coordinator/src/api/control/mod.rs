//! The control service: each call is one line here, and its work is in the file of its noun.

mod agents;
mod runs;
mod snapshots;
mod sources;
mod status;
mod watch;

use std::sync::Arc;

use holdfast_proto::v1;
use holdfast_proto::v1::control_service_server::ControlService;
use tonic::{Request, Response, Status};

use super::caller;
use crate::coordinator::Coordinator;
use crate::fault::Fault;
use crate::members::{invite, renew, revoke};
use crate::store::vaults as vault_rows;
use crate::vaults;

/// Serves operators.
#[derive(Debug, Clone)]
pub struct Control {
    coordinator: Arc<Coordinator>,
}

impl Control {
    /// Serves operators of this coordinator.
    #[must_use]
    pub fn new(coordinator: Arc<Coordinator>) -> Self {
        Self { coordinator }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ControlService for Control {
    async fn status(&self, _: Request<v1::StatusRequest>) -> Answer<v1::StatusResponse> {
        Ok(Response::new(status::status(&self.coordinator).await?))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Answer<v1::RenewResponse> {
        let peer = caller::peer(&request)?;
        let renewed = renew::renew(&self.coordinator, &peer, request.get_ref()).await?;
        Ok(Response::new(renewed))
    }

    async fn start_run(
        &self,
        request: Request<v1::StartRunRequest>,
    ) -> Answer<v1::StartRunResponse> {
        let operator = caller::operator(&request)?;
        let traceparent = caller::traceparent(&request);
        let request = request.into_inner();
        let started = runs::start(&self.coordinator, request, &operator, &traceparent).await?;
        Ok(Response::new(started))
    }

    async fn list_runs(
        &self,
        request: Request<v1::ListRunsRequest>,
    ) -> Answer<v1::ListRunsResponse> {
        let listed = runs::list(&self.coordinator, request.into_inner()).await?;
        Ok(Response::new(listed))
    }

    async fn get_run(&self, request: Request<v1::GetRunRequest>) -> Answer<v1::Run> {
        let run = runs::get(&self.coordinator, &request.get_ref().run_id).await?;
        Ok(Response::new(run))
    }

    type WatchRunStream = watch::Events;

    async fn watch_run(&self, request: Request<v1::WatchRunRequest>) -> Answer<watch::Events> {
        let events = watch::watch(&self.coordinator, request.get_ref()).await?;
        Ok(Response::new(events))
    }

    async fn cancel_run(&self, request: Request<v1::CancelRunRequest>) -> Answer<v1::Run> {
        let operator = caller::operator(&request)?;
        let run = runs::cancel(&self.coordinator, &request.get_ref().run_id, &operator).await?;
        Ok(Response::new(run))
    }

    async fn list_snapshots(
        &self,
        request: Request<v1::ListSnapshotsRequest>,
    ) -> Answer<v1::ListSnapshotsResponse> {
        let listed = snapshots::list(&self.coordinator, request.into_inner()).await?;
        Ok(Response::new(listed))
    }

    async fn get_snapshot(&self, request: Request<v1::GetSnapshotRequest>) -> Answer<v1::Snapshot> {
        let found = snapshots::get(&self.coordinator, &request.get_ref().snapshot_id).await?;
        Ok(Response::new(found))
    }

    async fn grant_read(
        &self,
        request: Request<v1::GrantReadRequest>,
    ) -> Answer<v1::GrantReadResponse> {
        let operator = caller::operator(&request)?;
        let granted =
            snapshots::grant_read(&self.coordinator, request.get_ref(), &operator).await?;
        Ok(Response::new(granted))
    }

    async fn list_sources(
        &self,
        _: Request<v1::ListSourcesRequest>,
    ) -> Answer<v1::ListSourcesResponse> {
        let sources = sources::list(&self.coordinator).await?;
        Ok(Response::new(v1::ListSourcesResponse { sources }))
    }

    async fn get_source(&self, request: Request<v1::GetSourceRequest>) -> Answer<v1::Source> {
        let source = sources::get(&self.coordinator, &request.get_ref().name).await?;
        Ok(Response::new(source))
    }

    async fn list_agents(
        &self,
        _: Request<v1::ListAgentsRequest>,
    ) -> Answer<v1::ListAgentsResponse> {
        let agents = agents::list(&self.coordinator).await?;
        Ok(Response::new(v1::ListAgentsResponse { agents }))
    }

    async fn invite_agent(
        &self,
        request: Request<v1::InviteAgentRequest>,
    ) -> Answer<v1::InviteAgentResponse> {
        let operator = caller::operator(&request)?;
        let invited = invite::invite(&self.coordinator, request.get_ref(), &operator).await?;
        Ok(Response::new(invited))
    }

    async fn revoke_agent(
        &self,
        request: Request<v1::RevokeAgentRequest>,
    ) -> Answer<v1::RevokeAgentResponse> {
        let operator = caller::operator(&request)?;
        let revoked = revoke::revoke(&self.coordinator, &request.get_ref().name, &operator).await?;
        Ok(Response::new(revoked))
    }

    async fn add_vault(
        &self,
        request: Request<v1::AddVaultRequest>,
    ) -> Answer<v1::AddVaultResponse> {
        let operator = caller::operator(&request)?;
        let added = vaults::add::add(&self.coordinator, request.into_inner(), &operator).await?;
        Ok(Response::new(added))
    }

    async fn list_vaults(
        &self,
        _: Request<v1::ListVaultsRequest>,
    ) -> Answer<v1::ListVaultsResponse> {
        let mut connection = self.coordinator.store.read().await.map_err(Fault::from)?;
        let mut shown = Vec::new();
        for vault in vault_rows::list(&mut connection)
            .await
            .map_err(Fault::from)?
        {
            shown.push(vaults::view::shown(&mut connection, vault).await?);
        }
        Ok(Response::new(v1::ListVaultsResponse { vaults: shown }))
    }

    async fn get_vault_kit(
        &self,
        request: Request<v1::GetVaultKitRequest>,
    ) -> Answer<v1::GetVaultKitResponse> {
        let operator = caller::operator(&request)?;
        let kit = vaults::kit::print(&self.coordinator, &request.get_ref().name, &operator).await?;
        Ok(Response::new(v1::GetVaultKitResponse { kit }))
    }

    async fn scan_vault(
        &self,
        request: Request<v1::ScanVaultRequest>,
    ) -> Answer<v1::ScanVaultResponse> {
        let operator = caller::operator(&request)?;
        let scanned =
            vaults::scan::scan(&self.coordinator, &request.get_ref().name, &operator).await?;
        Ok(Response::new(scanned))
    }
}

//! Puts the overlays of lanes up again that a start of the machine, or somebody, took down.

use std::collections::BTreeMap;

use serde_json::json;

use super::blocking::blocking;
use super::owner::Owner;
use super::recover::Extent;
use crate::api::RepairView;
use crate::bus::Context;
use crate::failure::Failure;
use crate::ids::LaneId;
use crate::lanes::table::State;
use crate::lanes::workspace::Workspace;
use crate::worktree::{self, Kept, Standing, Stands, WorktreeError, overlays};

/// What it is called among the repairs.
const ACTION: &str = "mount_overlay";

impl Owner {
    /// Mounts what is not mounted, before anybody looks for trees: an empty folder is no tree. What cannot be
    /// mounted is told, and nothing of it is touched.
    ///
    /// # Errors
    /// When the event of one cannot be told.
    pub(super) async fn raise_overlays(
        &self,
        extent: Extent,
        context: &Context,
    ) -> Result<Vec<RepairView>, Failure> {
        let mut views = Vec::new();
        // Several may have lived on one template.
        let mut made = BTreeMap::new();
        for workspace in self.workspaces.all() {
            for root in self.roots_of(&workspace).await.unwrap_or_default() {
                let (repo, home) = (workspace.repo.clone(), self.home.path().to_path_buf());
                for stands in blocking(move || overlays(&repo, &root, &home)).await? {
                    if self.is_on_its_way(stands.lane_id) {
                        continue;
                    }
                    views.extend(self.raise(&workspace, stands, extent, &mut made, context).await?);
                }
            }
        }
        Ok(views)
    }

    /// True while its owner in this process mounts or unmounts it.
    fn is_on_its_way(&self, lane: LaneId) -> bool {
        let owned = self.registry.all().into_iter().find(|handle| handle.id() == lane);
        owned.is_some_and(|handle| match handle.lane().state() {
            State::New | State::Provisioning | State::Cleaning => true,
            State::Ready | State::Running | State::Blocked | State::Shared | State::Closed => false,
        })
    }

    async fn raise(
        &self,
        workspace: &Workspace,
        stands: Stands,
        extent: Extent,
        made: &mut BTreeMap<String, Kept>,
        context: &Context,
    ) -> Result<Option<RepairView>, Failure> {
        let reason = match &stands.standing {
            Standing::Up => return Ok(None),
            Standing::Down => format!("the overlay of lane {} is not mounted", stands.name),
            Standing::Templateless(why) => {
                format!("the overlay of lane {} shows nothing: {why}", stands.name)
            }
            Standing::Blocked(what) => {
                format!("the overlay of lane {} cannot be mounted: {what}", stands.name)
            }
        };
        let subject = stands.lane_id.to_string();
        let mut view = RepairView { action: ACTION.to_owned(), subject, reason, done: false, error: None };
        if extent == Extent::Look {
            return Ok(Some(view));
        }
        let (lane, path) = (stands.lane_id, stands.at.clone());
        match self.put_up(workspace, stands, made).await {
            Ok(()) => view.done = true,
            Err(error) => {
                tracing::error!(%lane, %error, "an overlay could not be mounted");
                view.error = Some(error.to_string());
            }
        }
        let said = json!({ "path": path, "mounted": view.done, "reason": view.reason, "error": view.error });
        self.tell(workspace, lane, said, context).await?;
        Ok(Some(view))
    }

    async fn put_up(
        &self,
        workspace: &Workspace,
        stands: Stands,
        made: &mut BTreeMap<String, Kept>,
    ) -> Result<(), Failure> {
        match &stands.standing {
            Standing::Up => Ok(()),
            Standing::Down => {
                let raised = blocking(move || stands.overlay.bring_up(&stands.at)).await?;
                Ok(raised.map(drop)?)
            }
            Standing::Templateless(_why) => {
                let git = self.workspaces.git().await?;
                let lost = stands.overlay.layered.template.clone();
                let reason =
                    format!("{} {} {}", worktree::spare::SPARE_REASON, self.boot_id, std::process::id());
                let again = made.get(&lost).cloned();
                let kept = worktree::renew(git, &workspace.repo, &stands, again, reason).await?;
                let _same = made.insert(lost, kept);
                Ok(())
            }
            Standing::Blocked(reason) => {
                Err(WorktreeError::Unmounted { path: stands.at, reason: reason.clone() }.into())
            }
        }
    }

    async fn tell(
        &self,
        workspace: &Workspace,
        lane: LaneId,
        said: serde_json::Value,
        context: &Context,
    ) -> Result<(), Failure> {
        let mut draft = context.draft("lane.worktree.mounted", said);
        draft.workspace_id = Some(workspace.id);
        draft.lane_id = Some(lane);
        self.mention(draft).await
    }
}

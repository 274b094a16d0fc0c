//! Saves retired trees.

use std::path::Path;

use serde_json::json;

use super::Shared;
use super::tree::floors;
use crate::bus::{Actor, Context};
use crate::failure::{Code, Failure};
use crate::worktree::{self, Repository, TrashEntry};

/// A tree with more to keep than this stays whole in the trash, in bytes.
const ARCHIVE_LIMIT: u64 = 2 << 30;

impl Shared {
    pub(super) fn save_later(&self, entry: TrashEntry) {
        if let Err(error) = self.saves.try_send(entry) {
            tracing::warn!(%error, "too many trees wait for saving; the rest is saved after the next start");
        }
    }

    pub(super) async fn save(&self, entry: TrashEntry) {
        let (id, workspace) = (entry.order.lane_id, entry.order.workspace_id);
        match self.try_save(&entry).await {
            Ok(entry) => {
                let what = match &entry.stays {
                    Some(stays) => json!({ "saved": entry.saved, "stays": stays }),
                    None => json!({ "saved": entry.saved }),
                };
                let mut draft = Context::new(Actor::lanes()).draft("lane.worktree.saved", what);
                draft.workspace_id = Some(workspace);
                draft.lane_id = Some(id);
                if let Err(failure) = self.bus.publish(draft).await {
                    tracing::warn!(lane = %id, error = %failure, "the saving was not written down");
                }
            }
            Err(_brought_back_or_freed) if self.is_out_of_the_trash(&entry) => {}
            Err(failure) => {
                tracing::warn!(lane = %id, error = %failure, "the tree was not saved, it stays in the trash as it is")
            }
        }
    }

    fn is_out_of_the_trash(&self, entry: &TrashEntry) -> bool {
        matches!(worktree::trash::find(entry.order.root.as_path(), entry.order.lane_id), Ok(None))
    }

    /// True when the disk of a folder of trees has less than must stay free.
    async fn is_short(&self, repo: &Repository, root: &Path) -> bool {
        let Ok(config) = self.workspaces.config(repo).await else { return false };
        worktree::provision::check_free(root, floors(&config)).is_err()
    }

    async fn try_save(&self, entry: &TrashEntry) -> Result<TrashEntry, Failure> {
        let git = self.workspaces.git().await?;
        let workspaces = self.workspaces.all();
        let Some(workspace) = workspaces.iter().find(|workspace| workspace.id == entry.order.workspace_id)
        else {
            return Err(Failure::new(
                Code::NotARepository,
                "the repository of the lane cannot be opened now",
            ));
        };
        let repo = workspace.repo.clone();
        let root = entry.order.root.as_path();
        // Then the room is what somebody waits for.
        let _hurry = self.is_short(&repo, root).await.then(|| self.pace.hurry());
        Ok(worktree::save(git, &repo, root, entry.order.lane_id, ARCHIVE_LIMIT, &self.pace).await?)
    }
}

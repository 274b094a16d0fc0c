//! Makes the tree of a lane, and undoes that.

use super::Shared;
use super::room::with_what_helps;
use crate::bus::{Actor, Context, Table};
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::fault;
use crate::ids::LaneId;
use crate::lanes::lane::Lane;
use crate::raw::Raw;
use crate::worktree::{self, Floors, Order, Repository, Saved, TrashEntry, Tree};

impl Shared {
    pub(super) async fn provision(&self, lane: &Lane, context: &Context) -> Result<Tree, Failure> {
        fault::at("create.begin")?;
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let config = self.config(lane).await;
        let tree = match lane.restored_from {
            Some(from) => {
                // While it is being saved its entry is held.
                let _somebody_waits = self.pace.hurry();
                let entry = self.trash_entry(lane, from).await?;
                worktree::bring_back(git, &repo, &entry, &lane.order).await?
            }
            None => match self.stock.provide(&repo, &lane.order, &config).await {
                Ok(tree) => tree,
                Err(failure) => return Err(with_what_helps(failure, lane.order.root.as_path()).await),
            },
        };
        fault::pass("create.made");
        if let (Some(hook), None) = (&config.hooks.post_create, lane.restored_from)
            && let Err(failure) = self.hook(lane, hook, "post_create", context).await
        {
            let _nothing_stays = self.undo(lane).await?;
            return Err(failure);
        }
        fault::pass("create.hooked");
        Ok(tree)
    }

    /// Removes the recorded output of a lane that cannot come back, and of those it was brought back from.
    pub(super) async fn forget_logs(&self, lane: LaneId) {
        let mut next = Some(lane);
        while let Some(id) = next {
            let _absent_or_busy = tokio::fs::remove_dir_all(self.home.lane_logs(id)).await;
            let record = self.bus.get(Table::Lanes, id.to_string()).await.ok().flatten();
            next = record.and_then(|body| serde_json::from_value::<Lane>(body).ok()?.restored_from);
        }
    }

    /// The folder of trees that the lane was in before it was retired.
    async fn trash_root(&self, lane: &Lane, from: LaneId) -> Result<Raw, Failure> {
        let body = self.bus.get(Table::Lanes, from.to_string()).await?;
        let before = body.and_then(|body| serde_json::from_value::<Lane>(body).ok());
        Ok(before.map_or_else(|| lane.order.root.clone(), |before| before.order.root))
    }

    /// The trash entry that a restored lane comes from.
    async fn trash_entry(&self, lane: &Lane, from: LaneId) -> Result<TrashEntry, Failure> {
        let root = self.trash_root(lane, from).await?;
        worktree::trash::find(root.as_path(), from)?.ok_or_else(|| {
            Failure::new(Code::LaneNotFound, format!("lane {from} is not in the trash any more"))
                .hint("lanes trash ls shows what can be restored")
        })
    }

    /// Undoes the making of a tree. Gives the tree when it must stay: a restore that had come to its end,
    /// whose files are nowhere else any more.
    async fn undo(&self, lane: &Lane) -> Result<Option<Tree>, Failure> {
        // A set-up command had its group.
        self.forget_groups(lane.id).await;
        self.forget_agent(lane.id);
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let Some(from) = lane.restored_from else {
            worktree::undo(git, &repo, &lane.order).await?;
            return Ok(None);
        };
        let root = self.trash_root(lane, from).await?;
        if worktree::trash::find(root.as_path(), from)?.is_some() {
            worktree::roll_back(git, &repo, root.as_path(), from).await?;
            // While it was being brought back, nobody could go on with saving it.
            let entry = worktree::trash::find(root.as_path(), from)?;
            if let Some(entry) = entry.filter(|entry| entry.saved == Saved::Pending) {
                self.save_later(entry);
            }
            return Ok(None);
        }
        if let Ok(tree) = worktree::found_tree(&repo, &lane.order) {
            return Ok(Some(tree));
        }
        // It had come to its end, and then something happened to the tree: what is left of it is kept.
        if let Some((order, tree)) = entry_of(&repo, lane).await {
            self.save_later(worktree::retire(git, &repo, &order, &tree).await?);
        }
        Ok(None)
    }

    pub(super) async fn stop_and_undo(&self, lane: &Lane) -> Result<Option<Tree>, Failure> {
        let config = self.config(lane).await;
        self.stop_all(lane, &config, &Context::new(Actor::lanes())).await?;
        if lane.restored_from.is_none() {
            self.keep_work(lane).await?;
        }
        self.undo(lane).await
    }

    /// Puts a tree that was worked in into the trash before the rest is undone: a machine that stops may
    /// take the last moments of the store with it, and the lane was finished in truth.
    async fn keep_work(&self, lane: &Lane) -> Result<(), Failure> {
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let (found_in, order) = (repo.clone(), lane.order.clone());
        let found = tokio::task::spawn_blocking(move || worktree::found_tree(&found_in, &order)).await;
        let (tree, worked) = if let Ok(Ok(tree)) = found {
            let worked = worktree::is_worked_in(git, &repo, &lane.order, &tree).await;
            (tree, worked)
        } else if let Some((_order, tree)) = entry_of(&repo, lane).await {
            // The tree was lost besides; its entry may hold the only trace of a commit.
            let moved_on = worktree::has_moved_on(git, &repo, &lane.order, &tree.admin_id).await;
            (tree, moved_on)
        } else {
            return Ok(());
        };
        if worked {
            let entry = worktree::retire(git, &repo, &lane.order, &tree).await?;
            self.save_later(entry);
        }
        Ok(())
    }
}

/// What must stay free on the disk of a workspace's trees.
pub(super) fn floors(config: &Config) -> Floors {
    Floors { bytes: config.disk.min_free, inodes: config.disk.min_inodes }
}

/// The order that git's entry of a lane's tree carries, and the tree as far as the entry tells.
async fn entry_of(repo: &Repository, lane: &Lane) -> Option<(Order, Tree)> {
    let (repo, token) = (repo.clone(), lane.order.token.clone());
    let owned = tokio::task::spawn_blocking(move || worktree::owned_trees(&repo)).await.ok()?;
    let (order, admin_id, _path) = owned.into_iter().find(|(order, _admin, _path)| order.token == token)?;
    let tree = Tree::unseen(&order, &admin_id);
    Some((order, tree))
}

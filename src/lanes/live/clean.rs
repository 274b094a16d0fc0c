//! Ends what runs in a lane, and retires its tree.

use serde_json::json;
use tokio::task::JoinSet;

use super::Shared;
use super::watch::stop;
use crate::bus::Context;
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::fault;
use crate::ids::TaskKind;
use crate::lanes::lane::{Lane, Stage};
use crate::lanes::world::Retired;
use crate::task::Recipe;
use crate::worktree::{self, TrashEntry, Tree, Whereabouts};

impl Shared {
    pub(super) async fn clean(&self, lane: &Lane, context: &Context) -> Result<Retired, Failure> {
        fault::at("clean.begin")?;
        let config = self.config(lane).await;
        let mut notes = Vec::new();
        // What was found was never set up by us.
        if let (Some(hook), Some(tree)) = (&config.hooks.pre_cleanup, &lane.tree)
            && tree.backend != worktree::FOUND
            && self.is_in_place(lane, tree).await
            && let Err(failure) = self.hook(lane, hook, "pre_cleanup", context).await
        {
            notes.push(failure.message);
        }
        self.stop_all(lane, &config, context).await?;
        fault::at("clean.stopped")?;
        self.forget_groups(lane.id).await;
        self.forget_agent(lane.id);
        for task in lane.tasks.values() {
            Recipe::remove(task.log_dir.as_path());
        }
        let Some(tree) = &lane.tree else { return Ok(Retired { notes }) };
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let entry = worktree::retire(git, &repo, &lane.order, tree).await?;
        fault::at("clean.retired")?;
        let mut draft = context.draft(
            "lane.worktree.removed",
            json!({ "path": lane.order.path, "branch_deleted": entry.branch_deleted, "head": entry.head }),
        );
        draft.workspace_id = Some(lane.workspace_id());
        draft.lane_id = Some(lane.id);
        self.bus.publish(draft).await?;
        fault::at("clean.told")?;
        notes.extend(what_is_kept(&entry));
        self.save_later(entry);
        Ok(Retired { notes })
    }

    /// True when the lane's own tree is where it is to be: nothing runs in what has taken its place.
    async fn is_in_place(&self, lane: &Lane, tree: &Tree) -> bool {
        let Ok(repo) = self.repository(lane).await else { return false };
        let (order, tree) = (lane.order.clone(), tree.clone());
        let looked = tokio::task::spawn_blocking(move || worktree::whereabouts(&repo, &order, &tree));
        matches!(looked.await, Ok(Ok(Whereabouts::Here(_))))
    }

    /// What cleanup would do, for people.
    pub(super) async fn foretell(&self, lane: &Lane) -> Vec<String> {
        let live = lane.tasks.values().filter(|task| task.stage != Stage::Ended).count();
        let mut notes = vec![format!("would end {live} tasks and move {} to the trash", lane.order.path)];
        match self.unexpected(lane).await {
            Ok(found) => notes.extend(found),
            Err(failure) => notes.push(format!("could not look at its tree: {failure}")),
        }
        let there = lane.tree.as_ref().is_some_and(|tree| tree.path.as_path().is_dir());
        match self.count(lane).await {
            Ok((_head, changes)) if there && changes.files > 0 => {
                notes.push(format!("{} changed or new files would be kept in the trash", changes.files));
            }
            Ok(_) => {}
            Err(failure) if there => notes.push(format!("could not count what it has changed: {failure}")),
            Err(_its_tree_is_gone) => {}
        }
        let branch = &lane.order.branch;
        match self.merged(lane).await {
            Ok(true) if branch.created => {
                notes.push(format!("would delete the branch {}, which is merged", branch.name));
            }
            Ok(_) => notes.push(format!("would keep the branch {}", branch.name)),
            Err(failure) => notes.push(format!("could not tell whether it is merged: {failure}")),
        }
        notes
    }

    async fn unexpected(&self, lane: &Lane) -> Result<Vec<String>, Failure> {
        let Some(tree) = &lane.tree else { return Ok(Vec::new()) };
        Ok(worktree::foretell(&self.repository(lane).await?, &lane.order, tree)?)
    }

    /// Stops every task side by side; afterwards none of their processes lives.
    pub(super) async fn stop_all(
        &self,
        lane: &Lane,
        config: &Config,
        context: &Context,
    ) -> Result<(), Failure> {
        let mut stops = JoinSet::new();
        let mut terminals = 0_u64;
        let mut forced = 0_u64;
        for task in lane.tasks.values().filter(|task| task.stage != Stage::Ended) {
            terminals += u64::from(task.kind() == TaskKind::Terminal);
            let (task, config) = (task.clone(), config.clone());
            stops.spawn(async move { stop(&task, &config).await });
        }
        while let Some(stopped) = stops.join_next().await {
            let stopped =
                stopped.map_err(|_aborted| Failure::new(Code::DaemonDown, "the runtime is stopping"))?;
            forced += u64::from(stopped?);
        }
        if terminals > 0 {
            let mut draft =
                context.draft("lane.ptys_terminated", json!({ "count": terminals, "force_killed": forced }));
            draft.workspace_id = Some(lane.workspace_id());
            draft.lane_id = Some(lane.id);
            self.bus.publish(draft).await?;
        }
        Ok(())
    }
}

/// What became of the lane's work, for people.
fn what_is_kept(entry: &TrashEntry) -> Vec<String> {
    let mut notes = entry.notes.clone();
    notes.extend(entry.stays.clone());
    let branch = &entry.order.branch.name;
    if entry.order.branch.created && !entry.branch_deleted {
        notes.push(format!("the branch {branch} is kept: it has commits that no other branch has"));
    }
    notes.push(format!("lanes restore {} brings it back", entry.order.name));
    notes
}

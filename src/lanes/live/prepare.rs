//! What the stock has done here: `pool.prepare`, as a task under a keeper that belongs to no lane.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::hooks::{HOOK_TAIL, how_it_ended};
use super::watch::{ended, stop};
use crate::bus::{Actor, BoxFuture, Context};
use crate::clock;
use crate::config::{Config, Hook};
use crate::failure::Failure;
use crate::ids::LaneId;
use crate::keeper::ExitStatus;
use crate::lanes::lane::{Lane, Task};
use crate::lanes::stock::Hands;
use crate::task;
use crate::worktree::{Base, Branch, Kept, Order, Repository, TrashEntry};

/// What it starts is called in its environment.
const NAME: &str = "pool";
/// The runtime stops within a second: what does not end before is ended by force.
const GRACE: Duration = Duration::from_millis(200);

impl Hands for Shared {
    fn prepare(
        &self,
        repo: Repository,
        kept: Kept,
        hook: Hook,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            // Its recorded output stays until it runs again: one folder a workspace.
            let id = LaneId::of_pool(kept.spare.workspace_id);
            let lane = nobodys_lane(id, &repo, &kept);
            let _before = tokio::fs::remove_dir_all(self.home.lane_logs(id)).await;
            let ran = self.run_in_pool(&lane, &hook, &stop).await;
            self.forget_groups(id).await;
            self.forget_agent(id);
            ran.unwrap_or_else(|failure| Err(failure.message))
        })
    }

    fn save(&self, entry: TrashEntry) {
        self.save_later(entry);
    }

    fn end_strays(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let nobodys: BTreeSet<LaneId> =
                self.workspaces.all().iter().map(|one| LaneId::of_pool(one.id)).collect();
            for dir in run_dirs(&self.home.path().join("run")) {
                let identity = task::read_identity(&dir);
                if identity.is_some_and(|identity| nobodys.contains(&identity.lane_id)) {
                    let _swept = task::end(&dir, GRACE).await;
                    let _absent = tokio::fs::remove_dir_all(&dir).await;
                }
            }
            for id in nobodys {
                self.forget_groups(id).await;
            }
        })
    }
}

impl Shared {
    async fn run_in_pool(
        &self,
        lane: &Lane,
        hook: &Hook,
        stopping: &CancellationToken,
    ) -> Result<Result<(), String>, Failure> {
        let task = self.begin_hook(lane, hook, &Context::new(Actor::lanes())).await?;
        let exit = tokio::select! {
            exit = ended(&task, || {}) => Some(exit),
            () = stopping.cancelled() => None,
        };
        let mut config = self.config(lane).await;
        if exit.is_none() {
            config.stop.run_grace = GRACE;
        }
        self.end_in_pool(&task, &config).await?;
        let Some(exit) = exit else { return Ok(Err("the runtime stopped".to_owned())) };
        if exit.status == ExitStatus::Code(0) {
            let _absent = tokio::fs::remove_dir_all(self.home.lane_logs(lane.id)).await;
            return Ok(Ok(()));
        }
        let words = task::tail(task.log_dir.as_path(), HOOK_TAIL);
        let all = task.log_dir.as_path().display();
        Ok(Err(format!("{}: {}; all it said is in {all}", how_it_ended(&exit), words.trim())))
    }

    /// Ends what the command has left running.
    async fn end_in_pool(&self, task: &Task, config: &Config) -> Result<(), Failure> {
        stop(task, config).await?;
        let _absent = tokio::fs::remove_dir_all(task.run_dir.as_path()).await;
        Ok(())
    }
}

fn run_dirs(run: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(run).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// What a task needs to know of a lane, for one that is in none.
fn nobodys_lane(id: LaneId, repo: &Repository, kept: &Kept) -> Lane {
    let spare = &kept.spare;
    let order = Order {
        lane_id: id,
        name: NAME.to_owned(),
        workspace_id: spare.workspace_id,
        token: Task::new_secret(),
        home: spare.home.clone(),
        root: spare.root.clone(),
        path: spare.path.clone(),
        base: Base { rev: spare.base.clone(), sha: spare.base.clone(), target: None },
        branch: Branch { name: String::new(), created: false },
        lock_reason: String::new(),
        submodules: false,
        copy: Vec::new(),
        link: Vec::new(),
    };
    let place = repo.main_tree.clone().unwrap_or_else(|| repo.common_dir.clone());
    Lane::new(order, place.into(), repo.common_dir.clone().into(), clock::now())
}

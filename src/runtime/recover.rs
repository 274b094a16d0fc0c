//! Recovery over what really lies outside: looks at repositories, trash and run folders, and tells what was
//! repaired.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::json;

use super::blocking::blocking;
use super::owner::Owner;
use crate::api::RepairView;
use crate::bus::{Actor, BoxFuture, Context, Table};
use crate::clock;
use crate::failure::{Code, Failure};
use crate::fault;
use crate::ids::{LaneId, TaskId, WorkspaceId};
use crate::keeper::{Identity, Shape};
use crate::lanes::lane::{Lane, Stage, Task};
use crate::lanes::workspace::{Record, Workspace};
use crate::raw::Raw;
use crate::recovery::{FoundLane, Outlook, Outside, Planned, Recovery, Repair, TreeAt, plan, records};
use crate::task;
use crate::worktree::{self, Order, Repository, TrashEntry, Tree, Whereabouts};

/// A keeper that was being started when the runtime ended is waited for so long: it takes milliseconds.
const ARRIVES_WITHIN: Duration = Duration::from_secs(2);

/// How far recovery goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// It says what it would do.
    Look,
    /// It takes up what lives, and leaves the rest for somebody who asks: in safe mode, where one of the
    /// repairs may be what the runtime crashes over.
    TakeUp,
    /// It does everything.
    Repair,
}

impl Owner {
    /// Looks, plans, repairs.
    pub(super) async fn recover(
        &self,
        extent: Extent,
        context: &Context,
    ) -> Result<Vec<RepairView>, Failure> {
        let _one_at_a_time = self.recovering.lock().await;
        let began = std::time::Instant::now();
        fault::at("recover.begin")?;
        let recovery = Recovery { bus: &self.bus, registry: &self.registry, outside: self };
        self.take_up_workspaces().await?;
        let mut views = self.raise_overlays(extent, context).await?;
        let here: Vec<WorkspaceId> = self.workspaces.all().iter().map(|workspace| workspace.id).collect();
        let (survey, found) = recovery.survey().await?;
        let mut plan = plan(&survey);
        for left in &plan.left_alone {
            tracing::info!(subject = left.subject, reason = left.reason, "left alone");
        }
        if extent == Extent::TakeUp {
            plan.repairs.retain(|planned| matches!(planned.repair, Repair::Adopt(_)));
        }
        if extent == Extent::Look {
            views.extend(plan.repairs.into_iter().map(|planned| view(planned, false, None)));
            return Ok(views);
        }
        let all = plan.repairs.len() + views.len();
        if all > 0 {
            self.mention(context.draft("reconciliation.started", json!({ "repairs": all }))).await?;
        }
        for planned in plan.repairs {
            let result = match fault::at("recover.repair") {
                Ok(()) => recovery.repair(&planned.repair, &found, context).await,
                Err(injected) => Err(injected.into()),
            };
            if let Err(failure) = &result {
                let (action, subject) = (planned.repair.action(), planned.repair.subject());
                tracing::error!(action, subject, error = %failure, "a repair failed");
            }
            views.push(view(planned, result.is_ok(), result.err().map(|failure| failure.message)));
        }
        if !views.is_empty() {
            let failed = views.iter().filter(|view| !view.done).count();
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let done = json!({ "repairs": views.len(), "failed": failed, "ms": ms });
            self.mention(context.draft("reconciliation.completed", done)).await?;
        }
        self.recovered.lock().unwrap_or_else(PoisonError::into_inner).extend(here);
        fault::at("recover.done")?;
        Ok(views)
    }

    /// The workspace that a folder is in. What recovery has not looked at yet (a repository that could not be
    /// opened when the runtime started, or that a new home does not know) it looks at first.
    ///
    /// # Errors
    /// As [`crate::lanes::workspace::Workspaces::at`], and what recovery says.
    pub(super) async fn workspace_at(&self, cwd: &Path) -> Result<Arc<Workspace>, Failure> {
        let workspace = self.workspaces.at(cwd).await?;
        if !self.is_recovered(workspace.id) {
            self.recover(self.extent(), &Context::new(Actor::lanes())).await?;
        }
        Ok(workspace)
    }

    fn is_recovered(&self, id: WorkspaceId) -> bool {
        self.recovered.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// How far recovery goes when nobody asks for it.
    pub(super) fn extent(&self) -> Extent {
        if self.safe_mode.is_some() { Extent::TakeUp } else { Extent::Repair }
    }

    /// Takes up the repositories that are written down, in the store or beside it.
    async fn take_up_workspaces(&self) -> Result<(), Failure> {
        let snapshot = self.bus.snapshot(vec![Table::Workspaces]).await?;
        let mut known: Vec<Record> = records::workspaces(&snapshot);
        for beside in self.home.read_workspaces::<Record>() {
            if known.iter().all(|record| record.common_dir != beside.common_dir) {
                known.push(beside);
            }
        }
        for record in known {
            if self.workspaces.by_common_dir(record.common_dir.as_path()).is_none() {
                let path = record.common_dir.clone();
                if self.workspaces.take_up(record).await.is_none() {
                    tracing::warn!(
                        repository = %path,
                        "a repository cannot be opened now; its lanes wait until somebody asks in it"
                    );
                }
            }
        }
        Ok(())
    }

    async fn look_outside(&self) -> Result<Outlook, Failure> {
        let mut outlook = Outlook::default();
        let records = self.records().await?;
        for workspace in self.workspaces.all() {
            let roots = self.roots_among(&workspace, &records).await.unwrap_or_default();
            for entry in self.trash_in(&roots).await? {
                let root = entry.order.root.as_path();
                let restoring = worktree::restoring_as(root, entry.order.lane_id).unwrap_or_else(|error| {
                    tracing::warn!(lane = %entry.order.lane_id, %error, "what is being brought back cannot be told");
                    None
                });
                outlook.trash.push((entry, restoring));
            }
            let repo = workspace.repo.clone();
            let seen = blocking(move || in_repository(&repo, &roots)).await?;
            outlook.trees.extend(seen.trees);
            outlook.begun.extend(seen.begun);
            outlook.unswept.extend(seen.unswept);
        }
        let run = self.home.path().join("run");
        outlook.runs = blocking(move || runs(&run)).await?;
        let arriving = outlook.runs.iter_mut().filter(|run| run.keeper && run.lane.is_none());
        for run in arriving {
            // Whose it is, is known in a moment; without that it would be nobody's.
            let folder = self.home.run_dir(run.id);
            let found = tokio::time::timeout(ARRIVES_WITHIN, task::find_identity(&folder, run.id)).await;
            if let Ok(identity) = found {
                run.keeper = identity.as_ref().is_some_and(task::keeper_alive);
                run.lane = identity.map(|identity| identity.lane_id);
            }
        }
        Ok(outlook)
    }

    fn workspace_of(&self, order: &Order) -> Result<std::sync::Arc<Workspace>, Failure> {
        let all = self.workspaces.all();
        let found = all.into_iter().find(|workspace| workspace.id == order.workspace_id);
        found.ok_or_else(|| {
            let message = format!("the repository of lane {} cannot be opened now", order.name);
            Failure::new(Code::NotARepository, message)
        })
    }

    fn record_of(&self, order: &Order, workspace: &Workspace) -> Lane {
        let common_dir = workspace.repo.common_dir.clone().into();
        Lane::new(order.clone(), workspace.place().into(), common_dir, clock::now())
    }

    /// The tasks of a lane as their keepers have written them down.
    fn tasks_of(&self, lane: LaneId) -> Vec<Task> {
        let run = self.home.path().join("run");
        let of_lane = runs(&run).into_iter().filter(|seen| seen.lane == Some(lane));
        of_lane
            .filter_map(|seen| task::read_identity(&self.home.run_dir(seen.id)))
            .map(|identity| self.task_from(&identity))
            .collect()
    }

    fn task_from(&self, identity: &Identity) -> Task {
        let shape = match identity.id.kind() {
            crate::ids::TaskKind::Terminal => Shape::Terminal { cols: 80, rows: 24 },
            crate::ids::TaskKind::Run => Shape::Run { stdin: false },
        };
        let place = (identity.lane_id, identity.workspace_id);
        let secret = identity.secret.clone();
        Task::asked_for(&self.home, identity.id, place, shape, secret, identity.started_at)
    }
}

impl Outside for Owner {
    fn home(&self) -> Raw {
        self.home.path().into()
    }

    fn look(&self) -> BoxFuture<'_, Result<Outlook, Failure>> {
        Box::pin(self.look_outside())
    }

    fn tree_at<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, TreeAt> {
        Box::pin(async move {
            let Some(workspace) = self.workspaces.by_id(lane.workspace_id()) else {
                return TreeAt::Unknown(format!("the repository {} cannot be opened", lane.common_dir));
            };
            let Some(tree) = lane.tree.clone() else { return TreeAt::Gone };
            let (repo, order) = (workspace.repo.clone(), lane.order.clone());
            match blocking(move || worktree::whereabouts(&repo, &order, &tree)).await {
                Ok(Ok(Whereabouts::Here(tree))) => TreeAt::Here { dev: tree.dev, ino: tree.ino },
                Ok(Ok(Whereabouts::Moved(to))) => TreeAt::Moved(to.into()),
                Ok(Ok(Whereabouts::Gone)) => TreeAt::Gone,
                Ok(Ok(Whereabouts::Foreign(what))) => TreeAt::Foreign(what),
                Ok(Err(error)) => TreeAt::Unknown(error.to_string()),
                Err(stopping) => TreeAt::Unknown(stopping.message),
            }
        })
    }

    fn holds_work<'a>(&'a self, order: &'a Order, _admin_id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Ok((mut lane, tree, _tasks)) = self.found(order).await else { return true };
            lane.tree = Some(tree);
            !self.live.is_merged_and_clean(&lane).await.unwrap_or(false)
        })
    }

    fn found<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<FoundLane, Failure>> {
        Box::pin(async move {
            let workspace = self.workspace_of(order)?;
            let (repo, wanted) = (workspace.repo.clone(), order.clone());
            let tree = blocking(move || worktree::found_tree(&repo, &wanted)).await??;
            Ok((self.record_of(order, &workspace), tree, self.tasks_of(order.lane_id)))
        })
    }

    fn retire<'a>(&'a self, order: &'a Order, tree: &'a Tree) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move { self.live.retire(&self.workspace_of(order)?.repo, order, tree).await })
    }

    fn undo<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let workspace = self.workspace_of(&lane.order)?;
            let git = self.workspaces.git().await?;
            Ok(worktree::undo(git, &workspace.repo, &lane.order).await?)
        })
    }

    fn roll_back_restore<'a>(&'a self, entry: &'a TrashEntry) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let workspace = self.workspace_of(&entry.order)?;
            let git = self.workspaces.git().await?;
            let root = entry.order.root.as_path();
            Ok(worktree::roll_back(git, &workspace.repo, root, entry.order.lane_id).await?)
        })
    }

    fn end_task(&self, id: TaskId) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            if let Some(identity) = task::read_identity(&self.home.run_dir(id)) {
                let mut record = self.task_from(&identity);
                record.identity = Some(identity);
                record.stage = Stage::Live;
                self.live.end_stray(&record).await?;
            }
            crate::lanes::World::forget(&*self.live, id);
            Ok(())
        })
    }

    fn save_later(&self, entry: &TrashEntry) {
        self.live.save_later(entry.clone());
    }

    fn sweep<'a>(&'a self, root: &'a Raw) -> BoxFuture<'a, ()> {
        let root = root.to_path_buf();
        Box::pin(async move {
            let _stopping = blocking(move || worktree::sweep(&root, &worktree::Pace::full())).await;
        })
    }
}

/// The run folders of a home.
fn runs(run: &Path) -> Vec<crate::recovery::Run> {
    let Ok(folder) = std::fs::read_dir(run) else { return Vec::new() };
    let mut ids: Vec<TaskId> =
        folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    ids.into_iter()
        .map(|id| {
            let identity = task::read_identity(&run.join(id.text().as_str()));
            let keeper = identity.as_ref().map_or_else(|| task::is_kept(id), task::keeper_alive);
            crate::recovery::Run { id, lane: identity.map(|identity| identity.lane_id), keeper }
        })
        .collect()
}

/// What a repository and its folders of trees show.
fn in_repository(repo: &Repository, roots: &BTreeSet<PathBuf>) -> Outlook {
    let place = |(order, admin, path): (Order, String, PathBuf)| {
        let at = stray_at(repo, &order, &path);
        (order, admin, at)
    };
    let mut begun: BTreeSet<LaneId> = worktree::begun_trees(repo).into_iter().collect();
    begun.extend(roots.iter().flat_map(|root| worktree::half_undone(repo, root)));
    let unswept = roots.iter().filter(|root| worktree::is_unswept(root));
    Outlook {
        trees: worktree::owned_trees(repo).into_iter().map(place).collect(),
        begun: begun.into_iter().collect(),
        unswept: unswept.map(|root| root.as_path().into()).collect(),
        ..Outlook::default()
    }
}

/// Where the tree of an order is; `path` is where its admin entry says it is.
fn stray_at(repo: &Repository, order: &Order, path: &Path) -> TreeAt {
    let place = order.path.as_path();
    match worktree::found_tree(repo, order) {
        Ok(tree) => TreeAt::Here { dev: tree.dev, ino: tree.ino },
        Err(_) if is_absent(order.root.as_path()) => TreeAt::Unknown(format!("{} is not there", order.root)),
        Err(_) if path != place && !is_absent(path) => TreeAt::Moved(path.into()),
        Err(_) if is_absent(place) => TreeAt::Gone,
        Err(why) => TreeAt::Foreign(why.to_string()),
    }
}

/// Only what is certainly absent counts as gone; a place that cannot be looked at is there.
fn is_absent(path: &Path) -> bool {
    matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

fn view(planned: Planned, done: bool, error: Option<String>) -> RepairView {
    let Planned { repair, reason } = planned;
    RepairView { action: repair.action().to_owned(), subject: repair.subject(), reason, done, error }
}

//! Repairs: what the plan says, done by the parts of the runtime.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::owner::Owner;
use crate::api::RepairView;
use crate::bus::{Context, Table};
use crate::clock;
use crate::failure::{Code, Failure};
use crate::ids::{LaneId, TaskId};
use crate::lanes::lane::{Lane, Stage, Task};
use crate::lanes::machine::{self, Effect, Input};
use crate::lanes::table::State;
use crate::lanes::workspace::Record;
use crate::recovery::plan::{Repair, Survey, plan};
use crate::recovery::survey;
use crate::task;
use crate::worktree::{self, Order, Saved, TrashEntry};

/// Everything that repairs need to know, read once.
struct Found {
    lanes: Vec<Lane>,
    trash: Vec<TrashEntry>,
}

impl Owner {
    /// Looks, plans, repairs; a dry run stops before that.
    pub(super) async fn recover(
        self: &Arc<Self>,
        dry_run: bool,
        context: &Context,
    ) -> Result<Vec<RepairView>, Failure> {
        let (survey, found) = self.survey().await?;
        let repairs = plan(&survey);
        self.carry_out(repairs, &found, dry_run, context).await
    }

    /// Takes up what lives, and leaves the rest for somebody who asks: one of the repairs may be what the
    /// runtime crashes over.
    pub(super) async fn recover_safely(self: &Arc<Self>, context: &Context) -> Result<(), Failure> {
        let (survey, found) = self.survey().await?;
        let mut repairs = plan(&survey);
        repairs.retain(|(repair, _reason)| matches!(repair, Repair::Adopt(_)));
        self.carry_out(repairs, &found, false, context).await.map(drop)
    }

    async fn carry_out(
        self: &Arc<Self>,
        repairs: Vec<(Repair, String)>,
        found: &Found,
        dry_run: bool,
        context: &Context,
    ) -> Result<Vec<RepairView>, Failure> {
        let began = std::time::Instant::now();
        if dry_run {
            return Ok(repairs
                .into_iter()
                .map(|(repair, reason)| view(&repair, reason, false, None))
                .collect());
        }
        if !repairs.is_empty() {
            self.bus
                .publish(context.draft("reconciliation.started", json!({ "repairs": repairs.len() })))
                .await?;
        }
        let mut views = Vec::new();
        for (repair, reason) in repairs {
            let result = self.repair(&repair, found, context).await;
            if let Err(failure) = &result {
                tracing::error!(action = repair.action(), subject = repair.subject(), error = %failure, "a repair failed");
            }
            views.push(view(&repair, reason, result.is_ok(), result.err().map(|failure| failure.message)));
        }
        if !views.is_empty() {
            let failed = views.iter().filter(|view| !view.done).count();
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            let done = json!({ "repairs": views.len(), "failed": failed, "ms": ms });
            self.bus.publish(context.draft("reconciliation.completed", done)).await?;
        }
        Ok(views)
    }

    async fn survey(&self) -> Result<(Survey, Found), Failure> {
        let snapshot = self.bus.snapshot(vec![Table::Workspaces, Table::Lanes, Table::Tasks]).await?;
        let mut records: Vec<Record> = super::records::workspaces(&snapshot);
        for beside in self.home.read_workspaces::<Record>() {
            if records.iter().all(|record| record.common_dir != beside.common_dir) {
                records.push(beside);
            }
        }
        for record in records {
            if self.workspaces.by_common_dir(record.common_dir.as_path()).is_none() {
                let path = record.common_dir.clone();
                if self.workspaces.take_up(record).await.is_none() {
                    tracing::warn!(repository = %path, "a repository cannot be opened now; its lanes wait");
                }
            }
        }
        let lanes = super::records::lanes(&snapshot);
        let open: Vec<&Lane> = lanes.iter().filter(|lane| lane.state() != State::Closed).collect();
        let known: BTreeSet<TaskId> = open
            .iter()
            .flat_map(|lane| lane.tasks.values())
            .filter(|task| task.stage != Stage::Ended)
            .map(|task| task.id)
            .collect();
        let seen = open.iter().map(|lane| survey::lane(lane, self.registry.get(lane.id).is_some())).collect();
        let strays = self.strays(&lanes).await;
        let stray_lanes: BTreeSet<LaneId> = strays.iter().map(|order| order.lane_id).collect();
        let mut runs = survey::runs(&self.home.path().join("run"), &known);
        runs.retain(|run| !self.belongs_to(run.id, &stray_lanes));
        let mut trash = Vec::new();
        for workspace in self.workspaces.all() {
            trash.extend(self.trash_of(&workspace).await.unwrap_or_default());
        }
        let cleaning: BTreeSet<LaneId> = open.iter().map(|lane| lane.id).collect();
        let unsaved = trash
            .iter()
            .filter(|entry| entry.complete && entry.saved == Saved::Pending)
            .map(|entry| entry.order.lane_id)
            .filter(|id| !cleaning.contains(id))
            .collect();
        Ok((Survey { lanes: seen, strays, runs, unsaved }, Found { lanes, trash }))
    }

    /// Trees that carry our token and home, and whose lane is not written down.
    async fn strays(&self, lanes: &[Lane]) -> Vec<Order> {
        let known: BTreeSet<LaneId> = lanes.iter().map(|lane| lane.id).collect();
        let mut strays = Vec::new();
        for workspace in self.workspaces.all() {
            let repo = workspace.repo.clone();
            let trees =
                tokio::task::spawn_blocking(move || worktree::owned_trees(&repo)).await.unwrap_or_default();
            strays.extend(
                trees.into_iter().map(|(order, _admin, _path)| order).filter(|order| {
                    order.home.as_path() == self.home.path() && !known.contains(&order.lane_id)
                }),
            );
        }
        strays
    }

    fn belongs_to(&self, task: TaskId, lanes: &BTreeSet<LaneId>) -> bool {
        let identity = task::read_identity(&self.home.run_dir(task));
        identity.is_some_and(|identity| lanes.contains(&identity.lane_id))
    }

    async fn repair(
        self: &Arc<Self>,
        repair: &Repair,
        found: &Found,
        context: &Context,
    ) -> Result<(), Failure> {
        match repair {
            Repair::Adopt(id) => self.adopt(*id, found, Vec::new()),
            Repair::Rollback(id) => self.adopt(*id, found, vec![Effect::Rollback]),
            Repair::ResumeCleanup(id) => self.adopt(*id, found, vec![Effect::Clean]),
            Repair::CloseGone(id) => {
                if self.registry.get(*id).is_none() {
                    self.adopt(*id, found, Vec::new())?;
                }
                let handle = self.registry.get(*id).ok_or_else(|| missing(*id))?;
                handle.apply(Input::Cleanup { force: true }, context.clone()).await.map(drop)
            }
            Repair::AdoptTree(order) => self.adopt_tree(order, context).await,
            Repair::EndTask(id) => self.end_stray(*id).await,
            Repair::RemoveRun(id) => {
                crate::lanes::World::forget(&*self.live, *id);
                Ok(())
            }
            Repair::ResumeSave(id) => {
                if let Some(entry) = found.trash.iter().find(|entry| entry.order.lane_id == *id) {
                    self.live.save_later(entry.clone());
                }
                Ok(())
            }
        }
    }

    /// Gives a lane its owner; every task that has not ended is watched again, or looked for.
    fn adopt(&self, id: LaneId, found: &Found, mut first: Vec<Effect>) -> Result<(), Failure> {
        let lane = found.lanes.iter().find(|lane| lane.id == id).cloned().ok_or_else(|| missing(id))?;
        for task in lane.tasks.values() {
            match task.stage {
                Stage::Starting => first.push(Effect::Adopt(task.id)),
                Stage::Live | Stage::Lingering => first.push(Effect::Watch(task.id)),
                Stage::Ended => {}
            }
        }
        let starting = lane.tasks.values().any(|task| task.stage == Stage::Starting);
        if lane.state() == State::Cleaning && starting {
            // The machine asks for it again once no keeper is on its way.
            first.retain(|effect| *effect != Effect::Clean);
        }
        let reservation = self.registry.reserve(lane.workspace_id(), lane.name(), id, usize::MAX)?;
        self.registry.own(lane, reservation, first);
        Ok(())
    }

    /// A record for a tree that has none, because the store was rebuilt.
    async fn adopt_tree(&self, order: &Order, context: &Context) -> Result<(), Failure> {
        let workspace = self
            .workspaces
            .all()
            .into_iter()
            .find(|workspace| workspace.id == order.workspace_id)
            .ok_or_else(|| missing(order.lane_id))?;
        let repo = workspace.repo.clone();
        let wanted = order.clone();
        let tree = tokio::task::spawn_blocking(move || worktree::found_tree(&repo, &wanted))
            .await
            .map_err(|_aborted| Failure::new(Code::DaemonDown, "the runtime is stopping"))??;
        let at = clock::now();
        let lane =
            Lane::new(order.clone(), workspace.place().into(), workspace.repo.common_dir.clone().into(), at);
        let lane = machine::apply(&lane, Input::Create, at)?.lane;
        let reservation = self.registry.reserve(lane.workspace_id(), lane.name(), lane.id, usize::MAX)?;
        let handle = self.registry.own(lane, reservation, Vec::new());
        handle.apply(Input::Provisioned { tree }, context.clone()).await?;
        for task in self.tasks_of(order) {
            handle.apply(Input::Found(Box::new(task)), context.clone()).await?;
        }
        Ok(())
    }

    /// The tasks of a lane as their keepers have written them down.
    fn tasks_of(&self, order: &Order) -> Vec<Task> {
        let run = self.home.path().join("run");
        survey::runs(&run, &BTreeSet::new())
            .into_iter()
            .filter_map(|seen| {
                let identity = task::read_identity(&run.join(seen.id.text().as_str()))?;
                (identity.lane_id == order.lane_id).then(|| self.task_from(&identity))
            })
            .collect()
    }

    fn task_from(&self, identity: &crate::keeper::Identity) -> Task {
        let shape = match identity.id.kind() {
            crate::ids::TaskKind::Terminal => crate::keeper::Shape::Terminal { cols: 80, rows: 24 },
            crate::ids::TaskKind::Run => crate::keeper::Shape::Run { stdin: false },
        };
        let place = (identity.lane_id, identity.workspace_id);
        let secret = identity.secret.clone();
        Task::asked_for(&self.home, identity.id, place, shape, secret, identity.started_at)
    }

    /// Ends a task of a lane that is closed or unknown: it carries our secret, in a folder of our home.
    async fn end_stray(&self, id: TaskId) -> Result<(), Failure> {
        let Some(identity) = task::read_identity(&self.home.run_dir(id)) else { return Ok(()) };
        let mut record = self.task_from(&identity);
        record.identity = Some(identity);
        record.stage = Stage::Live;
        self.live.end_stray(&record).await?;
        crate::lanes::World::forget(&*self.live, id);
        Ok(())
    }
}

fn view(repair: &Repair, reason: String, done: bool, error: Option<String>) -> RepairView {
    RepairView { action: repair.action().to_owned(), subject: repair.subject(), reason, done, error }
}

fn missing(id: LaneId) -> Failure {
    Failure::new(Code::LaneNotFound, format!("lane {id} is not there any more"))
}

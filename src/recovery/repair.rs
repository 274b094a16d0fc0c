//! Repairs: does what the plan says, over the owners of lanes and what lies outside.

use super::outside::Outside;
use super::plan::{Repair, Survey};
use super::survey::{Found, survey};
use crate::bus::{Bus, Context, Table};
use crate::failure::{Code, Failure};
use crate::ids::{LaneId, WorkspaceId};
use crate::lanes::lane::{Lane, Stage};
use crate::lanes::machine::{Effect, Input};
use crate::lanes::table::State;
use crate::lanes::{Registry, Reservation};
use crate::worktree::{Order, Tree};

/// Recovery over one registry. Only one at a time may run.
#[derive(Clone, Copy)]
pub struct Recovery<'a> {
    /// Where records are.
    pub bus: &'a Bus,
    /// The owners of lanes.
    pub registry: &'a Registry,
    /// Everything else.
    pub outside: &'a dyn Outside,
}

impl Recovery<'_> {
    /// Looks; see [`survey()`].
    ///
    /// # Errors
    /// When the store or all of the outside cannot be read.
    pub async fn survey(&self) -> Result<(Survey, Found), Failure> {
        survey(self.bus, self.registry, self.outside).await
    }

    /// Does one repair. What has changed since the survey so that it is not needed any more is no error.
    ///
    /// A provisioning or cleanup that is taken up goes on in the lane's owner, who holds the lane's name
    /// until it has ended.
    ///
    /// # Errors
    /// What the journal or the outside says; it may be repeated.
    pub async fn repair(&self, repair: &Repair, found: &Found, context: &Context) -> Result<(), Failure> {
        match repair {
            Repair::Adopt(id) => self.adopt(*id, found, Vec::new()).await,
            Repair::Rollback(id) => self.adopt(*id, found, vec![Effect::Rollback]).await,
            Repair::UndoTree(id) => match found.closed.iter().find(|lane| lane.id == *id) {
                Some(lane) => self.outside.undo(lane).await,
                None => Ok(()),
            },
            Repair::ResumeCleanup(id) if self.registry.get(*id).is_some() => self.end(*id, context).await,
            Repair::ResumeCleanup(id)
                if found.lanes.iter().any(|lane| lane.id == *id && has_failed(lane)) =>
            {
                // Another attempt: the failure of the last one is not the state of this one.
                self.adopt(*id, found, Vec::new()).await?;
                self.end(*id, context).await
            }
            Repair::ResumeCleanup(id) => self.adopt(*id, found, vec![Effect::Clean]).await,
            Repair::Close(id) => {
                self.adopt(*id, found, Vec::new()).await?;
                self.end(*id, context).await
            }
            Repair::AdoptTree(order) => self.adopt_tree(order, context).await,
            Repair::RetireTree(order, admin_id) => {
                if self.registry.get(order.lane_id).is_some() {
                    return Ok(());
                }
                let tree = self.tree_now(order).await;
                self.outside.retire(order, &tree.unwrap_or_else(|| Tree::unseen(order, admin_id))).await
            }
            Repair::FinishRetire(id) => match found.trash.iter().find(|entry| entry.order.lane_id == *id) {
                Some(entry) => {
                    let tree = self.tree_now(&entry.order).await;
                    self.outside.retire(&entry.order, &tree.unwrap_or_else(|| entry.tree.clone())).await
                }
                None => Ok(()),
            },
            Repair::UndoRestore(id) => match found.trash.iter().find(|entry| entry.order.lane_id == *id) {
                Some(entry) => self.outside.roll_back_restore(entry).await,
                None => Ok(()),
            },
            Repair::EndTask(id) | Repair::RemoveRun(id) => self.outside.end_task(*id).await,
            Repair::ResumeSave(id) => {
                if let Some(entry) = found.trash.iter().find(|entry| entry.order.lane_id == *id) {
                    self.outside.save_later(entry);
                }
                Ok(())
            }
            Repair::SweepTrash(root) => {
                self.outside.sweep(root).await;
                Ok(())
            }
        }
    }

    /// Gives a lane its owner; every task that has not ended is watched again, or looked for.
    async fn adopt(&self, id: LaneId, found: &Found, mut first: Vec<Effect>) -> Result<(), Failure> {
        if self.registry.get(id).is_some() || self.is_closed(id).await? {
            return Ok(());
        }
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
        let reservation = self.place(lane.workspace_id(), lane.name(), id)?;
        self.registry.own(lane, reservation, first);
        Ok(())
    }

    /// The tree of an order, when it is in its place.
    async fn tree_now(&self, order: &Order) -> Option<Tree> {
        self.outside.found(order).await.ok().map(|(_lane, tree, _tasks)| tree)
    }

    /// True when the lane was closed since it was looked at.
    async fn is_closed(&self, id: LaneId) -> Result<bool, Failure> {
        let body = self.bus.get(Table::Lanes, id.to_string()).await?;
        let record = body.and_then(|body| serde_json::from_value::<Lane>(body).ok());
        Ok(record.is_some_and(|lane| lane.state() == State::Closed))
    }

    /// The lane's name; its id when another open lane has that name.
    fn place(&self, workspace: WorkspaceId, name: &str, id: LaneId) -> Result<Reservation, Failure> {
        self.registry
            .reserve(workspace, name, id, usize::MAX)
            .or_else(|_taken| self.registry.reserve(workspace, id.text().as_str(), id, usize::MAX))
    }

    async fn end(&self, id: LaneId, context: &Context) -> Result<(), Failure> {
        let Some(handle) = self.registry.get(id) else { return Ok(()) };
        match handle.apply(Input::Cleanup { force: true }, context.clone()).await {
            Ok(_accepted) => Ok(()),
            Err(_late) if handle.lane().state() == State::Closed => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// A record for a tree that has none: the store was rebuilt or set back, or the lane was closed while
    /// its tree could not be undone. Lane and tasks are written down together: a task without its lane
    /// would be ended by the next start.
    async fn adopt_tree(&self, order: &Order, context: &Context) -> Result<(), Failure> {
        if self.registry.get(order.lane_id).is_some() {
            return Ok(());
        }
        let (lane, tree, tasks) = self.outside.found(order).await?;
        let reservation = self.place(lane.workspace_id(), lane.name(), lane.id)?;
        let handle = self.registry.own(lane, reservation, Vec::new());
        handle.apply(Input::Adopted { tree, tasks }, context.clone()).await.map(drop)
    }
}

fn has_failed(lane: &Lane) -> bool {
    lane.cleanup_failure.is_some()
}

fn missing(id: LaneId) -> Failure {
    Failure::new(Code::LaneNotFound, format!("lane {id} is not there any more"))
}

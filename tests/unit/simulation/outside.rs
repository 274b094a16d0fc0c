//! The world that recovery looks at and repairs: the model behind `lanes::recovery::Outside`.

use lanes::bus::BoxFuture;
use lanes::clock::Timestamp;
use lanes::failure::{Code, Failure};
use lanes::ids::{LaneId, TaskId};
use lanes::keeper::Identity;
use lanes::lanes::World;
use lanes::lanes::lane::{Lane, Task};
use lanes::lanes::table::State as LaneState;
use lanes::raw::Raw;
use lanes::recovery::{Outlook, Outside, Run, TreeAt};
use lanes::worktree::{Order, Saved, TrashEntry, Tree};

use super::git::At;
use super::sim::{HOME, Planted};
use super::world::Life;
use crate::records;

/// The record of a task as its keeper wrote it down.
fn task_from(identity: &Identity) -> Task {
    let asked = records::task(identity.id, identity.lane_id, identity.workspace_id);
    Task { command: Vec::new(), secret: identity.secret.clone(), ..asked }
}

impl Life {
    /// True while a keeper is on its way of which nobody knows whose it is.
    fn keepers_arrive(&self) -> bool {
        let state = self.sim.lock();
        let arrives = |run: &super::machine::Run| !run.up && state.machine.keeper_alive(&run.about);
        state.planted != Some(Planted::NoWaitForKeeper) && state.machine.runs.values().any(arrives)
    }

    fn outlook(&self) -> Outlook {
        let state = self.sim.lock();
        let mut outlook = Outlook::default();
        let ours_too = state.planted == Some(Planted::UnknownIsOurs);
        for (id, admin) in &state.git.admins {
            if let Some(mut order) = admin.order.clone() {
                let at = match state.git.found(&order) {
                    Some(tree) => TreeAt::Here { dev: tree.dev, ino: tree.ino },
                    None if state.git.trees.contains_key(&admin.path) => TreeAt::Foreign("another".into()),
                    None => TreeAt::Gone,
                };
                if ours_too {
                    order.home = HOME.into();
                }
                outlook.trees.push((order, id.clone(), at));
            } else if let (None, Some(lane)) = (&admin.order, admin.lock) {
                outlook.begun.push(lane);
            }
        }
        outlook.begun.extend(state.git.asides.keys());
        for spot in state.git.trash.values() {
            let restoring = spot.restoring.as_ref().map(|restoring| restoring.order.lane_id);
            outlook.trash.push((spot.entry.clone(), restoring));
        }
        for (id, run) in &state.machine.runs {
            let keeper = state.machine.keeper_alive(&run.about);
            outlook.runs.push(Run { id: *id, lane: run.up.then_some(run.about.lane_id), keeper });
        }
        if !state.git.gone.is_empty() {
            outlook.unswept.push(super::sim::ROOT.into());
        }
        outlook
    }
}

impl Outside for Life {
    fn home(&self) -> Raw {
        HOME.into()
    }

    fn look(&self) -> BoxFuture<'_, Result<Outlook, Failure>> {
        Box::pin(async {
            self.sim.sure_step().await;
            while self.keepers_arrive() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            Ok(self.outlook())
        })
    }

    fn tree_at<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, TreeAt> {
        Box::pin(async move {
            let Some(tree) = &lane.tree else { return TreeAt::Gone };
            let state = self.sim.lock();
            if let Some(found) = state.git.found(&lane.order) {
                return TreeAt::Here { dev: found.dev, ino: found.ino };
            }
            match state.git.find_tree(&lane.order, tree) {
                At::Here(_path) => TreeAt::Here { dev: tree.dev, ino: tree.ino },
                At::Gone => TreeAt::Gone,
                At::Foreign => TreeAt::Foreign("something else has taken its place".into()),
            }
        })
    }

    fn holds_work<'a>(&'a self, order: &'a Order, admin_id: &'a str) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let state = self.sim.lock();
            let Some(admin) = state.git.admins.get(admin_id) else { return true };
            let files = state.git.trees.get(&admin.path).is_none_or(|folder| !folder.files.is_empty());
            let merged =
                state.git.head_of(admin).is_none_or(|tip| state.git.is_merged(tip, &order.branch.name));
            files || !merged
        })
    }

    fn found<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<(Lane, Tree, Vec<Task>), Failure>> {
        Box::pin(async move {
            self.sim.step("looking at a tree").await?;
            let state = self.sim.lock();
            let careless = state.planted == Some(Planted::UnknownIsOurs);
            let found = state.git.found(order);
            let found = found.filter(|_| careless || order.home.to_string() == HOME);
            let tree = found.ok_or_else(|| Failure::new(Code::GitFailed, "it is not the order's tree"))?;
            let lane = Lane::new(order.clone(), "/r".into(), "/r/.git".into(), Timestamp(1));
            let runs = state.machine.runs.values().filter(|run| run.up && run.about.lane_id == order.lane_id);
            Ok((lane, tree, runs.map(|run| task_from(&run.about)).collect()))
        })
    }

    fn retire<'a>(&'a self, order: &'a Order, tree: &'a Tree) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let entry = self.sim.retire(order, tree).await?;
            if entry.saved == Saved::Pending {
                self.save_later(entry.order.lane_id);
            }
            Ok(())
        })
    }

    fn undo<'a>(&'a self, lane: &'a Lane) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.sim.undo(&lane.order))
    }

    fn roll_back_restore<'a>(&'a self, entry: &'a TrashEntry) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.sim.roll_back(entry.order.lane_id))
    }

    fn end_task(&self, id: TaskId) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let identity = self.sim.lock().machine.identity(id).cloned();
            if let Some(identity) = identity {
                self.may_end_task(&identity);
                self.stop(id, Some(&identity)).await?;
            }
            self.forget(id);
            Ok(())
        })
    }

    fn save_later(&self, entry: &TrashEntry) {
        Life::save_later(self, entry.order.lane_id);
    }

    fn sweep<'a>(&'a self, _root: &'a Raw) -> BoxFuture<'a, ()> {
        Box::pin(async {
            self.sim.sure_step().await;
            self.sim.change(
                || "  emptied trash is freed".to_owned(),
                |state| {
                    let ours: Vec<LaneId> = state.git.gone.keys().copied().collect();
                    for id in ours {
                        state.git.gone.remove(&id);
                    }
                },
            );
        })
    }
}

impl Life {
    /// A living session is only ended by recovery when its lane is closed, or never knew of it.
    fn may_end_task(&self, identity: &Identity) {
        let mut state = self.sim.lock();
        let wanted = state.unended.contains_key(&identity.id)
            && state.recorded.get(&identity.lane_id).is_some_and(|lane| *lane != LaneState::Closed);
        let unknown = !state.recorded.contains_key(&identity.lane_id);
        if wanted || (unknown && state.machine.keeper_alive(identity)) {
            state.break_(format!("recovery ends {}, which an open or unknown lane has", identity.id));
        }
    }
}

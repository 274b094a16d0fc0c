//! What is to be done about what was seen: a function from a survey to repairs with their reasons.

use std::collections::{BTreeMap, BTreeSet};

use super::outside::{Run, TreeAt};
use crate::ids::{LaneId, TaskId};
use crate::lanes::table::State;
use crate::raw::Raw;
use crate::worktree::{Order, Saved, TrashEntry};

/// What was seen.
#[derive(Clone, Debug)]
pub struct Survey {
    /// Whose recovery this is.
    pub home: Raw,
    /// Lanes that are written down and not closed.
    pub lanes: Vec<SeenLane>,
    /// Lanes that are written down as closed.
    pub closed: BTreeSet<LaneId>,
    /// Trees that carry an order, of whatever home.
    pub trees: Vec<SeenTree>,
    /// Lanes of whose tree something begun or half undone is there that carries no order.
    pub begun: Vec<LaneId>,
    /// Entries of the trash, of whatever home, and the lane each is being brought back as.
    pub trash: Vec<(TrashEntry, Option<LaneId>)>,
    /// Run folders of tasks.
    pub runs: Vec<SeenRun>,
    /// Roots of trees in which emptied trash was not freed yet.
    pub unswept: Vec<Raw>,
}

/// A lane.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenLane {
    /// Its id.
    pub id: LaneId,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// True when it has an owner in this process.
    pub owned: bool,
    /// True when the last attempt to end it failed.
    pub stuck: bool,
    /// Where its tree is.
    pub tree: TreeAt,
    /// Its tasks that have not ended.
    pub unended: usize,
}

/// A tree, or an admin entry whose tree is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenTree {
    /// The order it carries.
    pub order: Order,
    /// The name of its admin entry.
    pub admin_id: String,
    /// Where the tree is.
    pub at: TreeAt,
    /// True when something in it may be nowhere else; only looked at where that decides.
    pub work: bool,
}

/// A run folder.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenRun {
    /// The folder.
    pub run: Run,
    /// True when an open lane knows the task as not ended.
    pub known: bool,
}

/// One repair. Each is safe to repeat and to interrupt.
#[derive(Clone, Debug, PartialEq)]
pub enum Repair {
    /// Gives a lane its owner, who watches its tasks.
    Adopt(LaneId),
    /// Undoes a provisioning that was cut off.
    Rollback(LaneId),
    /// Takes back what a provisioning left that failed and could not be undone.
    UndoTree(LaneId),
    /// Goes on with a cleanup that was cut off.
    ResumeCleanup(LaneId),
    /// Closes a lane that has no tree any more; what is in its place is left alone.
    Close(LaneId),
    /// Makes a record for a tree that has none.
    AdoptTree(Box<Order>),
    /// Puts a tree that nobody waits for into the trash.
    RetireTree(Box<Order>, String),
    /// Goes on with retiring a tree whose lane is closed or unknown.
    FinishRetire(LaneId),
    /// Puts what was being brought back as a lane that nobody knows into the trash again.
    UndoRestore(LaneId),
    /// Ends a task that no open lane knows.
    EndTask(TaskId),
    /// Removes a run folder whose keeper is gone, and ends what that keeper left.
    RemoveRun(TaskId),
    /// Goes on with saving a retired tree.
    ResumeSave(LaneId),
    /// Frees emptied trash.
    SweepTrash(Raw),
}

impl Repair {
    /// What it does, in a word or two.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Adopt(_) => "adopt",
            Self::Rollback(_) => "roll_back",
            Self::UndoTree(_) => "undo_tree",
            Self::ResumeCleanup(_) => "resume_cleanup",
            Self::Close(_) => "close",
            Self::AdoptTree(_) => "adopt_tree",
            Self::RetireTree(..) => "retire_tree",
            Self::FinishRetire(_) => "finish_retire",
            Self::UndoRestore(_) => "undo_restore",
            Self::EndTask(_) => "end_task",
            Self::RemoveRun(_) => "remove_run_folder",
            Self::ResumeSave(_) => "resume_save",
            Self::SweepTrash(_) => "sweep_trash",
        }
    }

    /// What it is done to.
    pub fn subject(&self) -> String {
        match self {
            Self::Adopt(id)
            | Self::Rollback(id)
            | Self::UndoTree(id)
            | Self::ResumeCleanup(id)
            | Self::Close(id)
            | Self::FinishRetire(id)
            | Self::UndoRestore(id)
            | Self::ResumeSave(id) => id.to_string(),
            Self::AdoptTree(order) | Self::RetireTree(order, _) => order.path.to_string(),
            Self::EndTask(id) | Self::RemoveRun(id) => id.to_string(),
            Self::SweepTrash(root) => root.to_string(),
        }
    }
}

/// A repair and why it was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What is done.
    pub repair: Repair,
    /// Why.
    pub reason: String,
}

/// Something that was seen and is not touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftAlone {
    /// What.
    pub subject: String,
    /// Why.
    pub reason: String,
}

/// What follows from a survey.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order they are done.
    pub repairs: Vec<Planned>,
    /// What a person may want to know of.
    pub left_alone: Vec<LeftAlone>,
}

impl Plan {
    fn repair(&mut self, repair: Repair, reason: impl Into<String>) {
        self.repairs.push(Planned { repair, reason: reason.into() });
    }

    fn leave(&mut self, subject: impl ToString, reason: impl Into<String>) {
        self.left_alone.push(LeftAlone { subject: subject.to_string(), reason: reason.into() });
    }
}

/// Decides.
pub fn plan(survey: &Survey) -> Plan {
    let mut plan = Plan::default();
    let ours = |order: &Order| order.home == survey.home;
    let trash: BTreeMap<LaneId, &TrashEntry> = survey
        .trash
        .iter()
        .filter(|(entry, _restoring)| ours(&entry.order))
        .map(|(entry, _restoring)| (entry.order.lane_id, entry))
        .collect();
    for lane in &survey.lanes {
        about_lane(&mut plan, lane, trash.get(&lane.id).copied());
    }
    let open: BTreeSet<LaneId> = survey.lanes.iter().map(|lane| lane.id).collect();
    let has_tree = |lane: &&SeenLane| lane.state != State::Provisioning;
    let used: BTreeSet<LaneId> = survey.lanes.iter().filter(has_tree).map(|lane| lane.id).collect();
    let mut adopted = BTreeSet::new();
    let undone = about_restores(&mut plan, survey, &open);
    for tree in &survey.trees {
        if !ours(&tree.order) {
            let home = &tree.order.home;
            plan.leave(&tree.order.path, format!("it belongs to the runtime of {home}"));
        } else if !open.contains(&tree.order.lane_id) && !undone.contains(&tree.order.lane_id) {
            let closed = survey.closed.contains(&tree.order.lane_id);
            if about_tree(&mut plan, tree, closed, trash.get(&tree.order.lane_id).copied()) {
                adopted.insert(tree.order.lane_id);
            }
        }
    }
    for id in &survey.begun {
        if survey.closed.contains(id) {
            plan.repair(Repair::UndoTree(*id), "its lane is closed, and what was begun of its tree is there");
        } else if !open.contains(id) {
            plan.leave(id, "something of a tree names this lane, of which nothing else is known");
        }
    }
    for (id, entry) in &trash {
        if !open.contains(id) && !entry.complete {
            plan.repair(
                Repair::FinishRetire(*id),
                format!("the runtime stopped while lane {} was being retired", entry.order.name),
            );
        }
        if !used.contains(id) && entry.complete && entry.saved == Saved::Pending {
            plan.repair(Repair::ResumeSave(*id), "its tree was retired and not saved yet");
        }
    }
    let theirs = survey.runs.iter().filter(|seen| {
        let lane = seen.run.lane;
        !seen.known && !lane.is_some_and(|lane| adopted.contains(&lane))
    });
    for seen in theirs {
        about_run(&mut plan, &seen.run, |lane| open.contains(&lane) || survey.closed.contains(&lane));
    }
    for root in &survey.unswept {
        plan.repair(Repair::SweepTrash(root.clone()), "emptied trash was not freed yet");
    }
    plan
}

fn about_lane(plan: &mut Plan, lane: &SeenLane, retired: Option<&TrashEntry>) {
    let (id, name) = (lane.id, &lane.name);
    if let (TreeAt::Unknown(why), false) = (&lane.tree, lane.owned) {
        plan.leave(id, format!("what became of lane {name} cannot be told now: {why}"));
    }
    let unknown = matches!(lane.tree, TreeAt::Unknown(_));
    match lane.state {
        State::Closed => {}
        State::New | State::Provisioning if lane.owned || unknown => {}
        State::New => plan.repair(Repair::Close(id), format!("lane {name} was never begun")),
        State::Provisioning => {
            // The store was set back: it had been finished, and was being ended.
            if retired.is_some_and(|entry| !entry.complete) {
                plan.repair(Repair::FinishRetire(id), format!("lane {name} was being retired already"));
            }
            plan.repair(
                Repair::Rollback(id),
                format!("the runtime stopped while lane {name} was being made"),
            );
        }
        State::Cleaning if lane.owned && lane.stuck => {
            plan.repair(Repair::ResumeCleanup(id), format!("lane {name} could not be ended before"));
        }
        State::Cleaning if lane.owned || unknown => {}
        State::Cleaning => {
            plan.repair(
                Repair::ResumeCleanup(id),
                format!("the runtime stopped while lane {name} was being ended"),
            );
        }
        State::Ready | State::Running | State::Blocked | State::Shared => about_open(plan, lane, retired),
    }
}

fn about_open(plan: &mut Plan, lane: &SeenLane, retired: Option<&TrashEntry>) {
    let (id, name) = (lane.id, &lane.name);
    let adopt = |plan: &mut Plan| {
        if !lane.owned {
            plan.repair(Repair::Adopt(id), format!("lane {name} is open with {} tasks", lane.unended));
        }
    };
    match (&lane.tree, retired) {
        (TreeAt::Unknown(_), _) => adopt(plan),
        // The store was set back, or the machine lost its last moments: somebody had asked for the end.
        (_, Some(_entry)) => {
            plan.repair(Repair::Close(id), format!("lane {name} was being retired already"));
        }
        (TreeAt::Here { .. }, _) => adopt(plan),
        (TreeAt::Moved(to), _) => {
            plan.leave(to, format!("the tree of lane {name} was moved here"));
            adopt(plan);
        }
        (TreeAt::Gone, _) => plan.repair(Repair::Close(id), format!("the tree of lane {name} is gone")),
        (TreeAt::Foreign(what), _) => {
            let reason = format!("the tree of lane {name} is gone, and its place is left alone: {what}");
            plan.repair(Repair::Close(id), reason);
        }
    }
}

/// Entries that were being brought back as lanes which are not open; gives those lanes.
fn about_restores(plan: &mut Plan, survey: &Survey, open: &BTreeSet<LaneId>) -> BTreeSet<LaneId> {
    let mut undone = BTreeSet::new();
    for (entry, restoring) in &survey.trash {
        if let Some(lane) = restoring.filter(|lane| entry.order.home == survey.home && !open.contains(lane)) {
            undone.insert(lane);
            let reason = format!("lane {} was being brought back, and nobody waits for it", entry.order.name);
            plan.repair(Repair::UndoRestore(entry.order.lane_id), reason);
        }
    }
    undone
}

/// About a tree of ours whose lane is not open. True when it is adopted.
fn about_tree(plan: &mut Plan, tree: &SeenTree, closed: bool, retired: Option<&TrashEntry>) -> bool {
    let (order, name) = (&tree.order, &tree.order.name);
    match retired {
        // It is taken up with its entry.
        Some(entry) if !entry.complete => return false,
        Some(_complete) => {
            plan.leave(&order.path, format!("the trash has a tree of lane {name} too"));
            return false;
        }
        None => {}
    }
    let retire = || Repair::RetireTree(Box::new(order.clone()), tree.admin_id.clone());
    match &tree.at {
        TreeAt::Here { .. } => {}
        TreeAt::Moved(to) => {
            plan.leave(to, format!("the tree of lane {name} was moved here"));
            return false;
        }
        TreeAt::Unknown(why) => {
            plan.leave(&order.path, format!("what became of it cannot be told now: {why}"));
            return false;
        }
        TreeAt::Gone | TreeAt::Foreign(_) => {
            plan.repair(retire(), format!("the tree of lane {name} is gone, its entry is not"));
            return false;
        }
    }
    let adopted = !closed || tree.work;
    if adopted {
        let reason = match closed {
            false => format!("the tree carries our token, and no record of lane {name} is there"),
            true => format!("lane {name} is closed, and its tree holds work"),
        };
        plan.repair(Repair::AdoptTree(Box::new(order.clone())), reason);
    } else {
        plan.repair(retire(), format!("lane {name} is closed, and its tree holds nothing of its own"));
    }
    adopted
}

fn about_run(plan: &mut Plan, run: &Run, is_recorded: impl Fn(LaneId) -> bool) {
    match (run.keeper, run.lane) {
        (true, Some(lane)) if is_recorded(lane) => {
            plan.repair(Repair::EndTask(run.id), "its keeper lives, and no open lane knows the task");
        }
        (true, _) => plan.leave(run.id, "its keeper lives, and nothing is known of its lane"),
        (false, _) => {
            plan.repair(Repair::RemoveRun(run.id), "its keeper is gone, and no open lane waits for it");
        }
    }
}

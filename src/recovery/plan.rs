//! What is to be done about what was seen: a function from a survey to repairs with their reasons.

use crate::ids::{LaneId, TaskId};
use crate::lanes::table::State;
use crate::worktree::Order;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Survey {
    /// Lanes that are written down and not closed.
    pub lanes: Vec<SeenLane>,
    /// Trees with our token whose lane is not written down.
    pub strays: Vec<Order>,
    /// Run folders of tasks.
    pub runs: Vec<SeenRun>,
    /// Retired trees whose saving did not come to its end.
    pub unsaved: Vec<LaneId>,
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
    /// True when its tree is there.
    pub tree: bool,
    /// Its tasks that have not ended.
    pub unended: usize,
}

/// A run folder.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenRun {
    /// The task.
    pub id: TaskId,
    /// True when an open lane knows the task as not ended.
    pub known: bool,
    /// True when its keeper lives.
    pub keeper: bool,
}

/// One repair. Each is safe to repeat and to interrupt.
#[derive(Clone, Debug, PartialEq)]
pub enum Repair {
    /// Gives a lane its owner, who watches its tasks.
    Adopt(LaneId),
    /// Undoes a provisioning that was cut off.
    Rollback(LaneId),
    /// Goes on with a cleanup that was cut off.
    ResumeCleanup(LaneId),
    /// Closes a lane whose tree is gone.
    CloseGone(LaneId),
    /// Makes a record for a tree that has none.
    AdoptTree(Box<Order>),
    /// Ends a task that no open lane knows.
    EndTask(TaskId),
    /// Removes a run folder whose keeper is gone.
    RemoveRun(TaskId),
    /// Goes on with saving a retired tree.
    ResumeSave(LaneId),
}

impl Repair {
    /// What it does, in a word or two.
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Adopt(_) => "adopt",
            Self::Rollback(_) => "roll_back",
            Self::ResumeCleanup(_) => "resume_cleanup",
            Self::CloseGone(_) => "close",
            Self::AdoptTree(_) => "adopt_tree",
            Self::EndTask(_) => "end_task",
            Self::RemoveRun(_) => "remove_run_folder",
            Self::ResumeSave(_) => "resume_save",
        }
    }

    /// What it is done to.
    pub fn subject(&self) -> String {
        match self {
            Self::Adopt(id)
            | Self::Rollback(id)
            | Self::ResumeCleanup(id)
            | Self::CloseGone(id)
            | Self::ResumeSave(id) => id.to_string(),
            Self::AdoptTree(order) => order.path.to_string(),
            Self::EndTask(id) | Self::RemoveRun(id) => id.to_string(),
        }
    }
}

/// Decides.
pub fn plan(survey: &Survey) -> Vec<(Repair, String)> {
    let mut repairs: Vec<(Repair, String)> = survey.lanes.iter().filter_map(about_lane).collect();
    for order in &survey.strays {
        let why = format!("the tree carries our token, and no record of lane {} is there", order.name);
        repairs.push((Repair::AdoptTree(Box::new(order.clone())), why));
    }
    for run in survey.runs.iter().filter(|run| !run.known) {
        repairs.push(if run.keeper {
            (Repair::EndTask(run.id), "its keeper lives, and no open lane knows the task".into())
        } else {
            (Repair::RemoveRun(run.id), "its keeper is gone, and no open lane waits for it".into())
        });
    }
    for id in &survey.unsaved {
        repairs.push((Repair::ResumeSave(*id), "its tree was retired and not saved yet".into()));
    }
    repairs
}

fn about_lane(lane: &SeenLane) -> Option<(Repair, String)> {
    let (id, name) = (lane.id, &lane.name);
    match lane.state {
        State::Closed => None,
        State::New | State::Provisioning if lane.owned => None,
        State::New | State::Provisioning => {
            Some((Repair::Rollback(id), format!("the runtime stopped while lane {name} was being made")))
        }
        State::Cleaning if lane.owned => None,
        State::Cleaning => Some((
            Repair::ResumeCleanup(id),
            format!("the runtime stopped while lane {name} was being ended"),
        )),
        State::Ready | State::Running | State::Blocked | State::Shared if !lane.tree => {
            Some((Repair::CloseGone(id), format!("the tree of lane {name} is gone")))
        }
        State::Ready | State::Running | State::Blocked | State::Shared if lane.owned => None,
        State::Ready | State::Running | State::Blocked | State::Shared => {
            Some((Repair::Adopt(id), format!("lane {name} is open with {} tasks", lane.unended)))
        }
    }
}

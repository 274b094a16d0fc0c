//! What a look for leftovers brings, and what is known beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::orphan::{Place, Running, Whose};
use crate::clock::Timestamp;
use crate::ids::{LaneId, TaskId};

/// What says whose a tree, an entry or what is left of one is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// An order of a runtime.
    Token {
        /// For this lane.
        lane: LaneId,
        /// The runtime's home.
        home: PathBuf,
        /// True when that home is there.
        home_there: bool,
    },
    /// Only the reason of a lock.
    Lock {
        /// For this lane.
        lane: LaneId,
        /// True when the process that locked it may live.
        maker_lives: bool,
    },
    /// Nothing.
    Nothing,
}

/// A tree that is not in the way of the user's own: in a root of ours, or with an entry that we made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTree {
    /// Which.
    pub place: Place,
    /// The repository's common directory.
    pub repo: PathBuf,
    /// git's entry of it.
    pub admin: Option<String>,
    /// Whose it says it is.
    pub claim: Claim,
    /// Since when it is there.
    pub since: Timestamp,
}

/// An entry of git's that we made, whose tree is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenEntry {
    /// Which.
    pub place: Place,
    /// The repository's common directory.
    pub repo: PathBuf,
    /// Its name.
    pub admin: String,
    /// Where its tree was.
    pub tree: PathBuf,
    /// Whose it says it is.
    pub claim: Claim,
    /// Since when it is there.
    pub since: Timestamp,
}

/// What a step leaves while it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Undoing a provisioning, or bringing something back.
    Provisioning,
    /// Freeing an entry of the trash.
    Emptying,
}

/// What is only there while a step is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRest {
    /// Which.
    pub place: Place,
    /// Of which step.
    pub step: Step,
    /// The lane in its name.
    pub lane: LaneId,
    /// Whose it says it is.
    pub claim: Claim,
    /// Since when it is there.
    pub since: Timestamp,
}

/// A process with the mark of a task, or without one in the tree of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenProcess {
    /// Which.
    pub running: Running,
    /// Since when it runs.
    pub since: Timestamp,
    /// What ties it to us.
    pub tie: Tie,
    /// True when a keeper lives above it.
    pub kept: bool,
}

/// What ties a process to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tie {
    /// The mark of a task in its environment.
    Mark {
        /// The task.
        task: TaskId,
        /// The lane.
        lane: Option<LaneId>,
        /// The home of the runtime that started it.
        home: PathBuf,
    },
    /// No mark, nobody above it but the first process, and its folder is in the tree of this lane.
    Folder {
        /// The lane.
        lane: LaneId,
    },
}

/// A keeper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenKeeper {
    /// Which.
    pub running: Running,
    /// Since when it runs.
    pub since: Timestamp,
    /// Its task.
    pub task: TaskId,
    /// True when its program or its run folder lies in our home.
    pub ours: bool,
}

/// A run folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRunFolder {
    /// Which.
    pub place: Place,
    /// The task in its name.
    pub task: TaskId,
    /// The lane, when it is written there.
    pub lane: Option<LaneId>,
    /// True when the keeper that is written there lives.
    pub keeper_lives: bool,
    /// Since when it is there.
    pub since: Timestamp,
}

/// Recorded output of a lane, or a link to its agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenOfLane {
    /// Which.
    pub place: Place,
    /// The lane in its name; none when it is something else's.
    pub lane: Option<LaneId>,
    /// Since when it is there.
    pub since: Timestamp,
}

/// Everything that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Trees.
    pub trees: Vec<SeenTree>,
    /// Entries without tree.
    pub entries: Vec<SeenEntry>,
    /// Remains of steps.
    pub rests: Vec<SeenRest>,
    /// Processes.
    pub processes: Vec<SeenProcess>,
    /// Keepers.
    pub keepers: Vec<SeenKeeper>,
    /// Run folders.
    pub runs: Vec<SeenRunFolder>,
    /// Recorded output of lanes that are neither open nor in the trash.
    pub logs: Vec<SeenOfLane>,
    /// Sockets and links to them.
    pub sockets: Vec<SeenOfLane>,
    /// Lanes in the trash.
    pub trash: BTreeSet<LaneId>,
    /// False when a trash could not be listed: then nobody knows which recorded output is of use.
    pub trash_listed: bool,
}

/// A task that lost its keeper by force, so that what hides its mark from us lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostTask {
    /// Which.
    pub task: TaskId,
    /// When its command started, in clock ticks since boot.
    pub start: u64,
    /// The boot that belongs to.
    pub boot_id: String,
}

/// A lane that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenLane {
    /// True while it is being made or ended: nothing of it is judged.
    pub busy: bool,
    /// Where its tree is.
    pub path: PathBuf,
    /// The lane it was brought back from.
    pub restored_from: Option<LaneId>,
    /// Tasks of it that lost their keeper.
    pub lost: Vec<LostTask>,
}

/// What the store says of a lane that nobody owns now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is open; recovery takes it up.
    Open,
    /// It is closed.
    Closed {
        /// When its provisioning failed, if that is how.
        failed_at: Option<Timestamp>,
        /// Tasks of it that lost their keeper.
        lost: Vec<LostTask>,
    },
}

/// What is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Our home.
    pub home: PathBuf,
    /// Lanes that are open, before or after the look.
    pub lanes: BTreeMap<LaneId, OpenLane>,
    /// Tasks of these that have not ended.
    pub tasks: BTreeSet<TaskId>,
    /// What the store says of the others that were seen.
    pub written: BTreeMap<LaneId, Written>,
    /// Lanes whose recorded output is of use to one that was brought back from them.
    pub vouched: BTreeSet<LaneId>,
    /// True while trash is being emptied.
    pub emptying: bool,
}

impl Known {
    /// Adds what another look at the lanes brought.
    pub fn join(&mut self, other: Self) {
        self.lanes.extend(other.lanes);
        self.tasks.extend(other.tasks);
        self.emptying |= other.emptying;
    }

    /// The lane that a thing was of, when it is of nobody now; `None` when it is somebody's.
    pub(super) fn left_by(&self, lane: Option<LaneId>) -> Option<Whose> {
        let Some(lane) = lane else { return Some(Whose::Unknown) };
        match (self.lanes.get(&lane), self.written.get(&lane)) {
            (Some(_), _) | (None, Some(Written::Open)) => None,
            (None, Some(Written::Closed { .. })) => Some(Whose::Lane(lane)),
            (None, None) => Some(Whose::Unknown),
        }
    }

    /// True while a lane is being made or ended.
    pub(super) fn is_busy(&self, lane: Option<LaneId>) -> bool {
        lane.and_then(|lane| self.lanes.get(&lane)).is_some_and(|lane| lane.busy)
    }
}

impl Seen {
    /// The lanes that were named, whose records the judgement asks for.
    pub fn lanes(&self) -> BTreeSet<LaneId> {
        let claims = self.trees.iter().map(|tree| &tree.claim);
        let claims = claims.chain(self.entries.iter().map(|entry| &entry.claim));
        let claims = claims.chain(self.rests.iter().map(|rest| &rest.claim));
        let mut found: BTreeSet<LaneId> = claims.filter_map(Claim::lane).collect();
        found.extend(self.rests.iter().map(|rest| rest.lane));
        found.extend(self.processes.iter().filter_map(|process| process.tie.lane()));
        found.extend(self.runs.iter().filter_map(|run| run.lane));
        found.extend(self.logs.iter().chain(&self.sockets).filter_map(|one| one.lane));
        found
    }
}

impl Claim {
    fn lane(&self) -> Option<LaneId> {
        match self {
            Self::Token { lane, .. } | Self::Lock { lane, .. } => Some(*lane),
            Self::Nothing => None,
        }
    }
}

impl SeenProcess {
    /// True for one without a mark: only the records of tasks tell whose it may be.
    pub const fn hides(&self) -> bool {
        matches!(self.tie, Tie::Folder { .. })
    }
}

impl Tie {
    /// The lane it names.
    pub(super) fn lane(&self) -> Option<LaneId> {
        match self {
            Self::Mark { lane, .. } => *lane,
            Self::Folder { lane } => Some(*lane),
        }
    }
}

//! Which of the things that were seen are left over: a function from what was seen and what is known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::orphan::{Kind, Orphan, Place, Running, What, Whose};
use crate::clock::Timestamp;
use crate::ids::{LaneId, TaskId};

/// A younger process may be on its way somewhere: a child between fork and exec, a keeper that just left.
const PROCESS_AGE: Duration = Duration::from_secs(5);
/// What is being made has so long to say whose it is: a keeper has that long to start its command.
const MAKING: Duration = Duration::from_secs(60);
/// A failed provisioning names the recorded output of its set-up command; it is kept so long at least.
const TOLD_OUTPUT: Duration = Duration::from_secs(24 * 60 * 60);

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
    fn left_by(&self, lane: Option<LaneId>) -> Option<Whose> {
        let Some(lane) = lane else { return Some(Whose::Unknown) };
        match (self.lanes.get(&lane), self.written.get(&lane)) {
            (Some(_), _) | (None, Some(Written::Open)) => None,
            (None, Some(Written::Closed { .. })) => Some(Whose::Lane(lane)),
            (None, None) => Some(Whose::Unknown),
        }
    }

    fn is_busy(&self, lane: Option<LaneId>) -> bool {
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
    fn lane(&self) -> Option<LaneId> {
        match self {
            Self::Mark { lane, .. } => *lane,
            Self::Folder { lane } => Some(*lane),
        }
    }
}

/// Decides. `now` is when the look began.
pub fn judge(seen: &Seen, known: &Known, now: Timestamp) -> Vec<Orphan> {
    let mut found = Vec::new();
    found.extend(seen.trees.iter().filter_map(|tree| about_tree(tree, known)));
    found.extend(seen.entries.iter().filter_map(|entry| about_entry(entry, known)));
    found.extend(seen.rests.iter().filter_map(|rest| about_rest(rest, known)));
    found.extend(seen.processes.iter().filter_map(|process| about_process(process, known, now)));
    found.extend(seen.keepers.iter().filter_map(|keeper| about_keeper(keeper, seen, known, now)));
    found.extend(seen.runs.iter().filter_map(|run| about_run(run, seen, known, now)));
    if seen.trash_listed && !known.emptying {
        found.extend(seen.logs.iter().filter_map(|log| about_log(log, known, now)));
    }
    found.extend(seen.sockets.iter().filter_map(|socket| about_socket(socket, known, now)));
    found
}

/// Whose a claimed thing was, and why it is nobody's; `None` when it is somebody's.
fn unclaimed(claim: &Claim, known: &Known) -> Option<(Whose, String)> {
    match claim {
        Claim::Token { lane, home, home_there: _ } if *home == known.home => {
            let whose = known.left_by(Some(*lane))?;
            Some(match whose {
                Whose::Lane(_) => (whose, format!("it is of lane {lane}, which is closed")),
                // Our own token says whose it was, also when the record is gone.
                Whose::Unknown => (
                    Whose::Lane(*lane),
                    format!("it carries our token, and no record of lane {lane} is there"),
                ),
            })
        }
        Claim::Token { home_there: true, .. } => None,
        Claim::Token { lane, home, home_there: false } => {
            let home = home.display();
            Some((
                Whose::Unknown,
                format!("lane {lane} had it, of the home {home}, which is not there any more"),
            ))
        }
        Claim::Lock { maker_lives: true, .. } => None,
        Claim::Lock { lane, maker_lives: false } => {
            let whose = known.left_by(Some(*lane))?;
            Some((whose, format!("lane {lane} locked it, and it carries no token that can be read")))
        }
        Claim::Nothing => Some((Whose::Unknown, "nothing says whose it is".to_owned())),
    }
}

fn about_tree(tree: &SeenTree, known: &Known) -> Option<Orphan> {
    if known.lanes.values().any(|lane| lane.path == tree.place.path) {
        return None;
    }
    let (owner, why) = unclaimed(&tree.claim, known)?;
    let what = What::Tree { place: tree.place.clone(), repo: tree.repo.clone(), admin: tree.admin.clone() };
    let reason = format!("no open lane has this tree: {why}");
    Some(Orphan { what, owner, task: None, since: tree.since, reason })
}

fn about_entry(entry: &SeenEntry, known: &Known) -> Option<Orphan> {
    let (owner, why) = unclaimed(&entry.claim, known)?;
    let what = What::Entry {
        place: entry.place.clone(),
        repo: entry.repo.clone(),
        admin: entry.admin.clone(),
        tree: entry.tree.clone(),
    };
    let reason = format!("its tree {} is gone: {why}", entry.tree.display());
    Some(Orphan { what, owner, task: None, since: entry.since, reason })
}

fn about_rest(rest: &SeenRest, known: &Known) -> Option<Orphan> {
    // A restore frees the entry it brought back while its new lane is still being made.
    let restoring = known.lanes.values().any(|lane| lane.busy && lane.restored_from == Some(rest.lane));
    if restoring || known.lanes.contains_key(&rest.lane) {
        return None;
    }
    let written = known.left_by(Some(rest.lane))?;
    let (owner, why) = match (&rest.claim, rest.step, written) {
        (Claim::Nothing, _, Whose::Lane(lane)) => (written, format!("lane {lane} is closed")),
        // Another runtime may just be at it.
        (Claim::Nothing, Step::Emptying, Whose::Unknown) => return None,
        (Claim::Nothing, Step::Provisioning, Whose::Unknown) => {
            (written, format!("nobody knows lane {}", rest.lane))
        }
        (Claim::Token { .. } | Claim::Lock { .. }, _, _) => unclaimed(&rest.claim, known)?,
    };
    let step = match rest.step {
        Step::Provisioning => "undoing a provisioning",
        Step::Emptying if known.emptying => return None,
        Step::Emptying => "freeing an entry of the trash",
    };
    let reason = format!("{step} did not come to its end: {why}");
    let what = What::Rest(Kind::UndoRest, rest.place.clone());
    Some(Orphan { what, owner, task: None, since: rest.since, reason })
}

fn about_process(process: &SeenProcess, known: &Known, now: Timestamp) -> Option<Orphan> {
    if process.kept || process.since.age(now) < PROCESS_AGE || known.is_busy(process.tie.lane()) {
        return None;
    }
    let (owner, task, reason) = match &process.tie {
        Tie::Mark { home, .. } if *home != known.home => return None,
        Tie::Mark { task, .. } if known.tasks.contains(task) => return None,
        Tie::Mark { task, lane, .. } => {
            let open = lane.filter(|lane| known.lanes.contains_key(lane));
            let owner = match open {
                Some(lane) => Whose::Lane(lane),
                None => known.left_by(*lane)?,
            };
            (
                owner,
                *task,
                format!("it carries the mark of {task}, which has ended, and no keeper lives above it"),
            )
        }
        Tie::Folder { lane } => {
            let lost = match (known.lanes.get(lane), known.written.get(lane)) {
                (Some(open), _) => &open.lost,
                (None, Some(Written::Closed { lost, .. })) => lost,
                (None, Some(Written::Open) | None) => return None,
            };
            let running = &process.running;
            let of =
                lost.iter().find(|lost| lost.boot_id == running.boot_id && lost.start <= running.start)?;
            let reason = format!(
                "it carries no mark, it works in the tree of lane {lane}, and {} lost its keeper by force",
                of.task
            );
            (Whose::Lane(*lane), of.task, reason)
        }
    };
    let what = What::Process(process.running.clone());
    Some(Orphan { what, owner, task: Some(task), since: process.since, reason })
}

fn about_keeper(keeper: &SeenKeeper, seen: &Seen, known: &Known, now: Timestamp) -> Option<Orphan> {
    if !keeper.ours || known.tasks.contains(&keeper.task) || keeper.since.age(now) < PROCESS_AGE {
        return None;
    }
    let folder = seen.runs.iter().find(|run| run.task == keeper.task);
    let lane = folder.and_then(|run| run.lane);
    if folder.is_some() && lane.is_none() && keeper.since.age(now) < MAKING {
        return None;
    }
    let owner = owner_of_task(lane, known)?;
    let what = What::Keeper(keeper.running.clone(), keeper.task);
    let reason = format!("it keeps {}, which no open lane knows", keeper.task);
    Some(Orphan { what, owner, task: Some(keeper.task), since: keeper.since, reason })
}

fn about_run(run: &SeenRunFolder, seen: &Seen, known: &Known, now: Timestamp) -> Option<Orphan> {
    let kept = run.keeper_lives || seen.keepers.iter().any(|keeper| keeper.task == run.task);
    if kept || known.tasks.contains(&run.task) || (run.lane.is_none() && run.since.age(now) < MAKING) {
        return None;
    }
    let owner = owner_of_task(run.lane, known)?;
    let what = What::Rest(Kind::RunFolder, run.place.clone());
    let reason = format!("no keeper of {} lives, and no open lane waits for it", run.task);
    Some(Orphan { what, owner, task: Some(run.task), since: run.since, reason })
}

/// Whose a task was that no open lane has running; `None` while its lane is being made or ended.
fn owner_of_task(lane: Option<LaneId>, known: &Known) -> Option<Whose> {
    match lane {
        Some(_) if known.is_busy(lane) => None,
        Some(lane) if known.lanes.contains_key(&lane) => Some(Whose::Lane(lane)),
        Some(_) | None => known.left_by(lane),
    }
}

fn about_log(log: &SeenOfLane, known: &Known, now: Timestamp) -> Option<Orphan> {
    let lane = log.lane?;
    let brought_back = known.lanes.values().any(|open| open.restored_from == Some(lane));
    if brought_back || known.vouched.contains(&lane) {
        return None;
    }
    let owner = known.left_by(Some(lane))?;
    if let Some(Written::Closed { failed_at: Some(at), .. }) = known.written.get(&lane)
        && at.age(now) < TOLD_OUTPUT
    {
        return None;
    }
    let what = What::Rest(Kind::LogFolder, log.place.clone());
    let reason = format!("lane {lane} is neither open nor in the trash");
    Some(Orphan { what, owner, task: None, since: log.since, reason })
}

fn about_socket(socket: &SeenOfLane, known: &Known, now: Timestamp) -> Option<Orphan> {
    if socket.lane.is_none() && socket.since.age(now) < MAKING {
        return None;
    }
    let owner = known.left_by(socket.lane)?;
    let reason = match socket.lane {
        Some(lane) => format!("lane {lane} is not open"),
        None => "nobody listens there".to_owned(),
    };
    let what = What::Rest(Kind::Socket, socket.place.clone());
    Some(Orphan { what, owner, task: None, since: socket.since, reason })
}

//! One simulated world: its state, the places where it may stop or fail, and what must hold at all times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use lanes::failure::{Code, Failure};
use lanes::ids::{LaneId, TaskId};
use lanes::lanes::table::State as LaneState;
use tokio::sync::Notify;

use super::git::{Commit, File, Git};
use super::machine::{Machine, Process, Role};
use super::rng::Rng;

/// The home whose lanes are ours.
pub const HOME: &str = "/home-a";
/// Another one on the same repository.
pub const OTHER_HOME: &str = "/home-b";
/// The folder of all trees.
pub const ROOT: &str = "/r.lanes";

/// A fault that is planted, to see whether it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// What carries no token, or another home's, counts as ours.
    UnknownIsOurs,
    /// A retired tree is freed before its archive is recorded.
    FreeBeforeRecord,
    /// A commit is acknowledged before it is durable.
    AckBeforeJournal,
    /// What only the lane holds is not pinned.
    SkipPin,
    /// A lane gets a second owner.
    AdoptTwice,
    /// Processes are ended by their number alone.
    EndByPid,
    /// A lane that was being ended is taken for open again.
    CleaningIsOpen,
    /// A task is adopted without a look for a keeper on its way.
    NoWaitForKeeper,
    /// A provisioning is undone whatever the tree holds.
    UndoWork,
}

/// What was done, over all seeds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub steps: u64,
    pub requests: u64,
    pub crashes: u64,
    pub crashes_in_recovery: u64,
    pub reboots: u64,
    pub set_back: u64,
    pub recoveries: u64,
    pub repairs: u64,
    pub lanes: u64,
    pub commits: u64,
    pub files: u64,
    pub tasks: u64,
    pub events: u64,
    pub checks: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.requests += other.requests;
        self.crashes += other.crashes;
        self.crashes_in_recovery += other.crashes_in_recovery;
        self.reboots += other.reboots;
        self.set_back += other.set_back;
        self.recoveries += other.recoveries;
        self.repairs += other.repairs;
        self.lanes += other.lanes;
        self.commits += other.commits;
        self.files += other.files;
        self.tasks += other.tasks;
        self.events += other.events;
        self.checks += other.checks;
    }
}

/// Everything.
pub struct State {
    pub rng: Rng,
    pub git: Git,
    pub machine: Machine,
    /// Entries of the trash that somebody works at.
    pub locked: BTreeSet<LaneId>,
    /// The states of lanes as they are durable.
    pub recorded: BTreeMap<LaneId, LaneState>,
    /// Tasks that are durable and not ended.
    pub unended: BTreeMap<TaskId, LaneId>,
    /// Commits and files that must be there.
    pub commits: BTreeSet<Commit>,
    pub files: BTreeSet<File>,
    /// What is not ours, as it must be.
    pub others: Git,
    pub strangers: BTreeMap<u32, Process>,
    /// Keepers and commands of nobody: they hid, and their keeper was ended by force.
    pub hidden: BTreeSet<u32>,
    pub planted: Option<Planted>,
    pub counts: Counts,
    /// What was found wrong first.
    pub broken: Option<String>,
    pub trace: Vec<String>,
    traced: bool,
    crash_at: Option<u64>,
    dead: bool,
    /// How many of a hundred steps fail.
    pub failing: usize,
    last_file: File,
}

/// A world, shared by everybody in it.
#[derive(Clone)]
pub struct Sim {
    state: Arc<Mutex<State>>,
    /// Something about processes has changed.
    changed: Arc<Notify>,
    /// The runtime has stopped dead.
    down: Arc<Notify>,
}

impl Sim {
    pub fn new(seed: u64, planted: Option<Planted>, traced: bool) -> Self {
        let state = State {
            rng: Rng::new(seed),
            git: Git::default(),
            machine: Machine::default(),
            locked: BTreeSet::new(),
            recorded: BTreeMap::new(),
            unended: BTreeMap::new(),
            commits: BTreeSet::new(),
            files: BTreeSet::new(),
            others: Git::default(),
            strangers: BTreeMap::new(),
            hidden: BTreeSet::new(),
            planted,
            counts: Counts::default(),
            broken: None,
            trace: Vec::new(),
            traced,
            crash_at: None,
            dead: false,
            failing: 0,
            last_file: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            changed: Arc::new(Notify::new()),
            down: Arc::new(Notify::new()),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// The runtime lives again, and dies after so many steps.
    pub fn live(&self, crash_after: Option<usize>, failing: usize) {
        let mut state = self.lock();
        state.dead = false;
        state.locked.clear();
        state.crash_at = crash_after.map(|steps| state.counts.steps + 1 + steps as u64);
        state.failing = failing;
    }

    /// From now on nothing stops or fails.
    pub fn calm(&self) {
        let mut state = self.lock();
        (state.crash_at, state.failing) = (None, 0);
    }

    /// Resolves when the runtime has stopped dead.
    pub async fn stopped(&self) {
        loop {
            let down = self.down.notified();
            if self.lock().dead {
                return;
            }
            down.await;
        }
    }

    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// A place where the runtime may stop for good, wait, or be told of a failure.
    pub async fn step(&self, what: &'static str) -> Result<(), Failure> {
        let (fails, pause) = self.place();
        match pause {
            None => std::future::pending::<()>().await,
            Some(0) => {}
            Some(ms) if ms < 3 => tokio::task::yield_now().await,
            Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
        if fails {
            self.lock().note(|| format!("  fails: {what}"));
            return Err(Failure::new(Code::GitFailed, format!("{what}: it fails now")));
        }
        Ok(())
    }

    /// The same where nothing can fail.
    pub async fn sure_step(&self) {
        let (_fails, pause) = self.place();
        match pause {
            None => std::future::pending::<()>().await,
            Some(0) => {}
            Some(ms) if ms < 6 => tokio::task::yield_now().await,
            Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        }
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether this step fails, and how long it takes; none when the runtime is dead.
    fn place(&self) -> (bool, Option<u64>) {
        let mut state = self.lock();
        if state.dead {
            return (false, None);
        }
        state.counts.steps += 1;
        if state.crash_at.is_some_and(|at| state.counts.steps >= at) {
            state.dead = true;
            state.note(|| "  the runtime stops dead".to_owned());
            self.down.notify_waiters();
            return (false, None);
        }
        let failing = state.failing;
        (state.rng.chance(failing), Some(state.rng.below(12) as u64))
    }

    /// Changes the world, and looks whether what must always hold still does.
    pub fn change<T>(&self, what: impl FnOnce() -> String, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.note(what);
        let value = change(&mut state);
        state.check();
        drop(state);
        self.changed.notify_waiters();
        value
    }

    /// Something of others: what is gone afterwards was theirs to give up.
    pub fn others_do<T>(&self, what: impl FnOnce() -> String, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        state.note(what);
        let value = change(&mut state);
        let reachable = state.git.reachable();
        let files = state.git.files(&reachable, state.last_file);
        state.commits.retain(|commit| reachable[*commit]);
        state.files.retain(|file| files[usize::try_from(*file).expect("few files")]);
        state.others = state.git.others();
        drop(state);
        self.changed.notify_waiters();
        value
    }

    /// Waits until something about processes changes. To be made before one looks.
    pub fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    pub fn break_(&self, what: impl Into<String>) {
        self.lock().break_(what);
    }
}

impl State {
    /// Tells what happens, when somebody wants to know.
    pub fn note(&mut self, what: impl FnOnce() -> String) {
        if self.traced {
            self.trace.push(what());
        }
    }

    pub fn break_(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.note(|| format!("BROKEN: {what}"));
        self.broken.get_or_insert(what);
    }

    /// A new file of somebody's.
    pub fn new_file(&mut self) -> File {
        self.last_file += 1;
        self.files.insert(self.last_file);
        self.counts.files += 1;
        self.last_file
    }

    /// A new commit of somebody's.
    pub fn new_commit(&mut self, parents: Vec<Commit>, files: BTreeSet<File>) -> Commit {
        let commit = self.git.commit(parents, files);
        self.commits.insert(commit);
        self.counts.commits += 1;
        commit
    }

    /// Starts a process of somebody else.
    pub fn new_stranger(&mut self) {
        let stranger =
            Process { start: 0, role: Role::Stranger, task: None, lane: None, keeper: None, secret: None };
        let (pid, start) = self.machine.spawn(stranger.clone());
        self.strangers.insert(pid, Process { start, ..stranger });
    }

    /// What must hold at every moment: nothing is lost, nothing of others is touched.
    fn check(&mut self) {
        self.counts.checks += 1;
        let reachable = self.git.reachable();
        if let Some(lost) = self.commits.iter().find(|commit| !reachable[**commit]).copied() {
            return self.break_(format!("commit c{lost} is reachable no more"));
        }
        let files = self.git.files(&reachable, self.last_file);
        let is_lost = |file: &&File| !files[usize::try_from(**file).expect("few files")];
        if let Some(lost) = self.files.iter().find(is_lost).copied() {
            return self.break_(format!("file {lost} is lost"));
        }
        if !self.git.others_are(&self.others) {
            return self.break_("something of others was touched");
        }
        let touched = self.strangers.iter().find(|(pid, was)| self.machine.processes.get(pid) != Some(was));
        if let Some((pid, _was)) = touched {
            let pid = *pid;
            self.break_(format!("process {pid} of others was ended"));
        }
    }
}

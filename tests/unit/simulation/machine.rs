//! Processes and run folders as values: keepers, commands, what these start, strangers.

use std::collections::BTreeMap;

use lanes::clock::Timestamp;
use lanes::ids::{LaneId, TaskId};
use lanes::keeper::{Exit, ExitStatus, Identity};

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Keeper,
    Command,
    /// Started by a command; outlives it.
    Child,
    /// Of somebody else.
    Stranger,
}

/// A living process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub start: u64,
    pub role: Role,
    pub task: Option<TaskId>,
    pub lane: Option<LaneId>,
    /// The keeper above it, by pid.
    pub keeper: Option<u32>,
    /// What marks it; erased by those who hide.
    pub secret: Option<String>,
}

/// A run folder.
#[derive(Clone, Debug)]
pub struct Run {
    /// What the keeper will write down, or has written down.
    pub about: Identity,
    /// True when it has.
    pub up: bool,
    pub exit: Option<Exit>,
}

/// A machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    pub processes: BTreeMap<u32, Process>,
    pub runs: BTreeMap<TaskId, Run>,
    boot: u32,
    clock: u64,
}

impl Machine {
    pub fn boot_id(&self) -> String {
        format!("boot-{}", self.boot)
    }

    /// Starts a process. The lowest free number is taken, so that numbers come again at once.
    pub fn spawn(&mut self, process: Process) -> (u32, u64) {
        self.clock += 1;
        let pid = (100..).find(|pid| !self.processes.contains_key(pid)).expect("there are enough numbers");
        self.processes.insert(pid, Process { start: self.clock, ..process });
        (pid, self.clock)
    }

    pub fn alive(&self, pid: u32, start: u64, boot: &str) -> bool {
        boot == self.boot_id() && self.processes.get(&pid).is_some_and(|process| process.start == start)
    }

    pub fn keeper_alive(&self, identity: &Identity) -> bool {
        self.alive(identity.keeper_pid, identity.keeper_start, &identity.boot_id)
    }

    pub fn identity(&self, task: TaskId) -> Option<&Identity> {
        self.runs.get(&task).filter(|run| run.up).map(|run| &run.about)
    }

    /// Starts a keeper, which has not written anything down yet.
    pub fn begin(&mut self, mut about: Identity) {
        let keeper = Process {
            start: 0,
            role: Role::Keeper,
            task: Some(about.id),
            lane: Some(about.lane_id),
            keeper: None,
            secret: None,
        };
        (about.keeper_pid, about.keeper_start) = self.spawn(keeper);
        about.boot_id = self.boot_id();
        self.runs.insert(about.id, Run { about, up: false, exit: None });
    }

    /// The keeper starts its command and writes down who they are.
    pub fn come_up(&mut self, task: TaskId) {
        let Some(run) = self.runs.get(&task).filter(|run| !run.up) else { return };
        if !self.keeper_alive(&run.about) {
            return;
        }
        let command = Process {
            start: 0,
            role: Role::Command,
            task: Some(task),
            lane: Some(run.about.lane_id),
            keeper: Some(run.about.keeper_pid),
            secret: Some(run.about.secret.clone()),
        };
        let (pid, start) = self.spawn(command);
        let run = self.runs.get_mut(&task).expect("it was there");
        (run.about.pid, run.about.pid_start, run.up) = (pid, start, true);
    }

    /// Ends a process, and has keepers see it.
    pub fn end(&mut self, pid: u32, status: ExitStatus) {
        let Some(ended) = self.processes.remove(&pid) else { return };
        if let (Role::Keeper, Some(_task)) = (ended.role, ended.task) {
            for child in self.processes.values_mut().filter(|child| child.keeper == Some(pid)) {
                child.keeper = None;
            }
            return;
        }
        if let (Role::Command, Some(task), Some(keeper)) = (ended.role, ended.task, ended.keeper)
            && let Some(run) = self.runs.get_mut(&task)
            && self.processes.contains_key(&keeper)
        {
            run.exit.get_or_insert(Exit {
                status,
                timed_out: false,
                at: Timestamp(2),
                ms: 1,
                max_rss_kb: 1,
                cpu_ms: 0,
                end: 0,
            });
        }
        // A keeper whose tree is empty leaves.
        if let Some(keeper) = ended.keeper {
            let empty = self.processes.values().all(|child| child.keeper != Some(keeper));
            if empty {
                self.processes.remove(&keeper);
            }
        }
    }

    /// The tree below a keeper.
    pub fn below(&self, keeper: u32) -> Vec<u32> {
        self.processes
            .iter()
            .filter(|(_pid, one)| one.keeper == Some(keeper))
            .map(|(pid, _one)| *pid)
            .collect()
    }

    /// The living processes that are provably a task's, when its keeper is gone.
    pub fn left_behind(&self, task: &Identity) -> Vec<u32> {
        if task.boot_id != self.boot_id() {
            return Vec::new();
        }
        let marked = |one: &Process| {
            one.secret.as_ref() == Some(&task.secret) && one.start >= task.pid_start && one.keeper.is_none()
        };
        self.processes.iter().filter(|(_pid, one)| marked(one)).map(|(pid, _one)| *pid).collect()
    }

    /// The machine stops and starts again.
    pub fn reboot(&mut self) {
        self.processes.clear();
        self.boot += 1;
        self.clock = 0;
    }
}

//! What a lane's tasks are held to, and by what.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Live, Shared};
use crate::api::{Guarantees, LimitView};
use crate::cgroup::{Controller, Limit, Prepared, Way};
use crate::config;
use crate::ids::{LaneId, TaskId};
use crate::keeper::{Groups, Rlimits};
use crate::lanes::lane::{Lane, Stage};
use crate::proc;
use crate::raw::Raw;
use crate::task::KeeperChoice;

/// Processes of the user that `RLIMIT_NPROC` counts besides the lane's are not more than this.
const MOST_PROCESSES: u64 = 1 << 22;

impl Live {
    /// What holds for the tasks of a lane: those that run, as the system says; else `None`.
    pub fn guarantees(&self, lane: &Lane) -> Guarantees {
        self.shared.guarantees(lane)
    }

    /// What will hold for the next task of a lane.
    pub async fn promised(&self, lane: &Lane) -> Guarantees {
        self.shared.promised(lane).await
    }

    /// Removes groups that nobody is in. To be called before any task is started.
    pub async fn tidy_groups(&self) {
        let control = self.shared.control.clone();
        let _aborted_at_the_end = tokio::task::spawn_blocking(move || control.tidy()).await;
    }
}

impl Shared {
    /// Makes the groups of a task that is about to start, and says what is set by `setrlimit` instead.
    pub(super) async fn confine(
        &self,
        lane: LaneId,
        task: TaskId,
        limits: &config::Limits,
    ) -> (Groups, Rlimits) {
        let (control, wanted) = (self.control.clone(), wanted(limits));
        let made = tokio::task::spawn_blocking(move || control.prepare(lane, task, &wanted));
        let Prepared { command, keeper, kill, unlimited } = made.await.unwrap_or_default();
        let mut rlimits = Rlimits {
            open_files: limits.open_files,
            open_files_soft: self.open_files_soft,
            ..Rlimits::default()
        };
        for limit in unlimited {
            match limit.controller {
                Controller::Memory => rlimits.memory = Some(limit.value),
                Controller::Pids if rustix::process::geteuid().is_root() => {
                    // The kernel does not hold root to it.
                }
                Controller::Pids => rlimits.processes = Some(limit.value.saturating_add(own_processes())),
                // There is no other way to limit a share.
                Controller::Cpu => {}
            }
        }
        let raw = |paths: Vec<PathBuf>| paths.into_iter().map(Raw::from).collect();
        (Groups { command: raw(command), keeper: raw(keeper), kill: kill.map(Raw::from) }, rlimits)
    }

    /// Removes the groups of a lane whose tasks have ended.
    pub(super) async fn forget_groups(&self, lane: LaneId) {
        let control = self.control.clone();
        let _aborted_at_the_end = tokio::task::spawn_blocking(move || control.remove_lane(lane)).await;
    }

    fn guarantees(&self, lane: &Lane) -> Guarantees {
        let mut tree_kill = None;
        let mut limits: BTreeMap<&'static str, LimitView> = BTreeMap::new();
        for task in lane.tasks.values().filter(|task| task.stage != Stage::Ended) {
            let Some(identity) = &task.identity else { continue };
            // The weakest of its tasks counts.
            if identity.groups.kill.is_none() {
                tree_kill = Some(self.without_groups());
            } else {
                tree_kill = tree_kill.or(Some("cgroup"));
            }
            let groups: Vec<PathBuf> =
                identity.groups.command.iter().map(|group| group.to_path_buf()).collect();
            for (limit, way) in self.control.in_force(lane.id, &groups) {
                put(&mut limits, name_of(limit.controller), limit.value, name_of_way(way));
            }
            for (name, value) in [
                ("memory", identity.rlimits.memory),
                ("open_files", identity.rlimits.open_files),
                ("processes", identity.rlimits.processes),
            ] {
                if let Some(value) = value {
                    put(&mut limits, name, value, RLIMITS);
                }
            }
        }
        self.said(tree_kill, limits)
    }

    async fn promised(&self, lane: &Lane) -> Guarantees {
        let config = self.config(lane).await.limits;
        let mut limits = BTreeMap::new();
        for limit in wanted(&config) {
            let by = match (self.control.way(limit.controller), limit.controller) {
                (Some(way), _) => name_of_way(way),
                (None, Controller::Memory) => RLIMITS,
                (None, Controller::Pids) if !rustix::process::geteuid().is_root() => RLIMITS,
                (None, Controller::Pids | Controller::Cpu) => continue,
            };
            put(&mut limits, name_of(limit.controller), limit.value, by);
        }
        if let Some(value) = config.open_files {
            put(&mut limits, "open_files", value, RLIMITS);
        }
        self.said(None, limits)
    }

    fn said(&self, tree_kill: Option<&'static str>, limits: BTreeMap<&'static str, LimitView>) -> Guarantees {
        let next = if self.control.kills() { "cgroup" } else { self.without_groups() };
        let in_force: Vec<LimitView> = limits.into_values().collect();
        // The weakest way of those that a group could hold; each limit says its own.
        let ways = [RLIMITS, name_of_way(Way::V1), name_of_way(Way::V2)];
        let grouped = |limit: &&LimitView| limit.limit != "open_files";
        let weakest = ways.into_iter().find(|way| in_force.iter().filter(grouped).any(|one| one.by == *way));
        let any = in_force.first().map(|_open_files_alone| RLIMITS);
        Guarantees {
            tree_kill: tree_kill.unwrap_or(next).to_owned(),
            limits: weakest.or(any).unwrap_or("none").to_owned(),
            in_force,
        }
    }

    /// How a tree is ended where no group holds it.
    fn without_groups(&self) -> &'static str {
        match self.launcher.choice() {
            KeeperChoice::Program(_) | KeeperChoice::SelfExec => "subreaper",
            KeeperChoice::InProcess => "process_group",
        }
    }
}

/// Limits of each process, by `setrlimit`.
const RLIMITS: &str = "rlimits";

fn put(limits: &mut BTreeMap<&'static str, LimitView>, name: &'static str, value: u64, by: &'static str) {
    limits.insert(name, LimitView { limit: name.to_owned(), value, by: by.to_owned() });
}

fn wanted(limits: &config::Limits) -> Vec<Limit> {
    let all = [
        (Controller::Memory, limits.memory),
        (Controller::Pids, limits.processes),
        (Controller::Cpu, limits.cpu_weight),
    ];
    all.into_iter().filter_map(|(controller, value)| Some(Limit { controller, value: value? })).collect()
}

const fn name_of(controller: Controller) -> &'static str {
    match controller {
        Controller::Memory => "memory",
        Controller::Pids => "processes",
        Controller::Cpu => "cpu_weight",
    }
}

const fn name_of_way(way: Way) -> &'static str {
    match way {
        Way::V1 => "cgroup_v1",
        Way::V2 => "cgroup_v2",
    }
}

/// How many processes and threads our user has, as `RLIMIT_NPROC` counts them.
fn own_processes() -> u64 {
    let uid = rustix::process::geteuid().as_raw();
    let ours = proc::all().into_iter().filter(|process| proc::owner(process.pid) == Some(uid));
    let threads = ours.map(|process| proc::threads(process.pid));
    threads.sum::<u64>().min(MOST_PROCESSES)
}

//! Where our groups go, from what `/proc` says. Pure.

use std::path::{Path, PathBuf};

use crate::proc;

/// What a group can limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Bytes of memory.
    Memory,
    /// Processes and threads.
    Pids,
    /// Share of the processor.
    Cpu,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// Its name in `/proc` and in `cgroup.controllers`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// A limit of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Of what.
    pub controller: Controller,
    /// Bytes, processes, or weight (100 is usual).
    pub value: u64,
}

/// By which kind of group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Version 1.
    V1,
    /// Version 2.
    V2,
}

/// The folder in which ours is made, for each hierarchy that may be ours to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bases {
    /// Our own group of version 2.
    pub v2: Option<PathBuf>,
    /// Roots of version 1, where our own group is the root.
    pub v1: Vec<(Controller, PathBuf)>,
}

/// Finds the bases from `/proc/self/mountinfo` and `/proc/self/cgroup`.
pub fn bases(mountinfo: &str, own: &str) -> Bases {
    let own = |wanted: Option<Controller>| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (listed, path) = (parts.next()?, parts.next()?);
            let matches = match wanted {
                None => listed.is_empty(),
                Some(controller) => listed.split(',').any(|name| name == controller.name()),
            };
            matches.then_some(path)
        })
    };
    let mut found = Bases::default();
    for (kind, root, folder, options) in mountinfo.lines().filter_map(mount) {
        match kind {
            "cgroup2" if found.v2.is_none() => {
                found.v2 = own(None).and_then(|path| below(path, root)).map(|path| folder.join(path));
            }
            "cgroup" => {
                for controller in Controller::ALL {
                    let listed = options.split(',').any(|name| name == controller.name());
                    let known = found.v1.iter().any(|(one, _)| *one == controller);
                    if listed && !known && root == "/" && own(Some(controller)) == Some("/") {
                        found.v1.push((controller, folder.clone()));
                    }
                }
            }
            _another_file_system => {}
        }
    }
    found
}

/// Type, root within the file system, place and options of a mount.
fn mount(line: &str) -> Option<(&str, &str, PathBuf, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, folder) = (before.next()?, before.next()?);
    let mut after = after.split(' ');
    let (kind, options) = (after.next()?, after.nth(1)?);
    Some((kind, root, proc::mount_path(folder.as_bytes()), options))
}

/// The path of a group below the root of a mount; none when the mount does not show it.
fn below(path: &str, root: &str) -> Option<PathBuf> {
    let rest = Path::new(path).strip_prefix(root).ok()?;
    let inside = rest.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    inside.then(|| rest.to_path_buf())
}

/// The file of a limit, and what is written there.
pub fn limit_files(way: Way, limit: Limit) -> (&'static str, String) {
    match (way, limit.controller) {
        (Way::V2, Controller::Memory) => ("memory.max", limit.value.to_string()),
        (Way::V1, Controller::Memory) => ("memory.limit_in_bytes", limit.value.to_string()),
        (Way::V1 | Way::V2, Controller::Pids) => ("pids.max", limit.value.to_string()),
        (Way::V2, Controller::Cpu) => ("cpu.weight", limit.value.to_string()),
        // A weight of 100 is as much as 1024 shares; the kernel takes no fewer than 2.
        (Way::V1, Controller::Cpu) => {
            ("cpu.shares", (limit.value.saturating_mul(1024) / 100).max(2).to_string())
        }
    }
}

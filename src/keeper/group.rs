//! Joins control groups and limits between fork and exec, and ends a group as a whole.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::process::{Resource, Rlimit};

use super::spec::{Groups, Rlimits};
use crate::raw::Raw;

/// The list of a group's processes; a number written to it joins, 0 is who writes.
const PROCS: &str = "cgroup.procs";
/// Ends everybody in a group and below it (Linux 5.14).
const KILL: &str = "cgroup.kill";

/// Moves the calling process into these groups; gives those that took it.
pub(super) fn join(folders: &[Raw]) -> Vec<Raw> {
    let mut joined = folders.to_vec();
    joined.retain(|folder| open(folder, PROCS).is_some_and(|procs| enter(&procs)));
    joined
}

fn open(folder: &Raw, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(folder.as_path().join(name), flags, Mode::empty()).ok()
}

fn enter(procs: &OwnedFd) -> bool {
    rustix::io::write(procs, b"0") == Ok(1)
}

/// What the command's process is put into before it becomes the command.
pub(super) struct Confine {
    wanted: Groups,
    procs: Vec<Option<OwnedFd>>,
    limits: Vec<(Resource, Rlimit)>,
    asked: Rlimits,
    said: Option<(OwnedFd, OwnedFd)>,
}

/// As many bytes as a pipe takes without waiting, and more than there are groups and limits.
const MOST_SAID: usize = 64;

impl Confine {
    /// Opens what the child needs: between fork and exec it may not look for anything.
    pub(super) fn prepare(groups: &Groups, rlimits: &Rlimits) -> Self {
        let procs = groups.command.iter().map(|folder| open(folder, PROCS)).collect();
        let said = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok();
        Self { wanted: groups.clone(), procs, limits: values(rlimits), asked: *rlimits, said }
    }

    /// In the child: joins and limits, and says of each whether that went well. What cannot be joined or
    /// set does not keep the command from running; others are told in the task's [`Identity`](super::Identity).
    ///
    /// Only system calls: no allocation, lock or panic.
    pub(super) fn enter(&self) {
        let say = |good: bool| {
            if let Some((_read, write)) = &self.said {
                let _nobody_reads = rustix::io::write(write, if good { b"1" } else { b"0" });
            }
        };
        for procs in &self.procs {
            say(procs.as_ref().is_some_and(enter));
        }
        for (resource, limit) in &self.limits {
            say(rustix::process::setrlimit(*resource, *limit).is_ok());
        }
    }

    /// In the keeper, once the command runs: what the child said.
    pub(super) fn outcome(self) -> (Groups, Rlimits) {
        let mut said = [0; MOST_SAID];
        let heard = match self.said {
            Some((read, write)) => {
                drop(write);
                rustix::io::read(read.as_fd(), &mut said).unwrap_or(0)
            }
            None => 0,
        };
        let good = |at: usize| at < heard && said[at] == b'1';
        let mut groups = Groups { keeper: self.wanted.keeper, ..Groups::default() };
        for (at, folder) in self.wanted.command.into_iter().enumerate() {
            if good(at) {
                groups.command.push(folder);
            }
        }
        groups.kill = self.wanted.kill.filter(|kill| groups.command.contains(kill));
        let set = |resource: Resource| {
            let at = self.limits.iter().position(|(listed, _)| *listed == resource);
            at.is_some_and(|at| good(self.procs.len() + at))
        };
        let rlimits = Rlimits {
            open_files: self.asked.open_files.filter(|_| set(Resource::Nofile)),
            open_files_soft: self.asked.open_files_soft.filter(|_| set(Resource::Nofile)),
            memory: self.asked.memory.filter(|_| set(Resource::Data)),
            processes: self.asked.processes.filter(|_| set(Resource::Nproc)),
        };
        (groups, rlimits)
    }
}

/// The limits as the system takes them: never above what already holds.
fn values(rlimits: &Rlimits) -> Vec<(Resource, Rlimit)> {
    let mut limits = Vec::new();
    let held = |resource: Resource, wanted: u64| {
        let hard = rustix::process::getrlimit(resource).maximum;
        let value = Some(hard.map_or(wanted, |hard| hard.min(wanted)));
        (resource, Rlimit { current: value, maximum: value })
    };
    match (rlimits.open_files, rlimits.open_files_soft) {
        (Some(wanted), _) => limits.push(held(Resource::Nofile, wanted)),
        (None, Some(soft)) => {
            let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
            let current = Some(maximum.map_or(soft, |hard| hard.min(soft)));
            limits.push((Resource::Nofile, Rlimit { current, maximum }));
        }
        (None, None) => {}
    }
    limits.extend(rlimits.memory.map(|bytes| held(Resource::Data, bytes)));
    limits.extend(rlimits.processes.map(|count| held(Resource::Nproc, count)));
    limits
}

/// Ends everybody in a group with SIGKILL; false where that cannot be done.
pub fn kill(folder: &Raw) -> bool {
    open(folder, KILL).is_some_and(|kill| rustix::io::write(&kill, b"1") == Ok(1))
}

/// The processes of a group and of those below it.
pub fn members(folder: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    members_below(folder, DEEPEST, &mut found);
    found
}

fn members_below(folder: &Path, depth: usize, found: &mut Vec<u32>) {
    let list = std::fs::read_to_string(folder.join(PROCS)).unwrap_or_default();
    found.extend(list.lines().filter_map(|line| line.trim().parse::<u32>().ok()));
    if let (Ok(entries), Some(depth)) = (std::fs::read_dir(folder), depth.checked_sub(1)) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            members_below(&entry.path(), depth, found);
        }
    }
}

/// Removes a group, and those that the task has made below it; false while somebody is in one.
pub fn remove(folder: &Path) -> bool {
    remove_below(folder, DEEPEST)
}

/// A task that makes deeper groups than this keeps them.
const DEEPEST: usize = 64;

fn remove_below(folder: &Path, depth: usize) -> bool {
    if let (Ok(entries), Some(depth)) = (std::fs::read_dir(folder), depth.checked_sub(1)) {
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            remove_below(&entry.path(), depth);
        }
    }
    match std::fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

//! Looks at all processes of our user in one pass: keepers, and what carries a task's mark.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Roots;
use crate::clock::{self, Timestamp};
use crate::ids::{LaneId, TaskId};
use crate::proc::{self, Process};
use crate::recovery::orphan::Running;
use crate::recovery::seen::{Known, Seen, SeenKeeper, SeenProcess, Tie};
use crate::task;

/// Clock ticks in a second, as the kernel tells times to programs on every machine that we run on.
const TICKS: u64 = 100;
/// The short name that a keeper gives itself.
const KEEPER: &[u8] = b"lanes-keeper";
/// What takes up orphans in place of the first process.
const SESSION: &[u8] = b"systemd";
/// An environment is read once, and not of a process so young that it may still become another program.
const SETTLED: Duration = Duration::from_secs(5);
/// The longest chain of parents.
const DEEPEST: usize = 4096;

/// All processes at one moment.
pub(super) struct Table {
    pub(super) boot_id: String,
    processes: BTreeMap<u32, Process>,
    now: Timestamp,
}

/// The mark in the environment of a process.
#[derive(Clone, Debug)]
struct Mark {
    task: TaskId,
    lane: Option<LaneId>,
    home: PathBuf,
}

/// What was read of processes at an earlier look, by pid and start time: an environment stays as it is.
#[derive(Debug, Default)]
pub struct Marks(HashMap<(u32, u64), Option<Mark>>);

impl Table {
    pub(super) fn read() -> Self {
        let all = proc::all().into_iter().filter(|process| !process.is_dead());
        let processes = all.map(|process| (process.pid, process)).collect();
        Self { boot_id: proc::boot_id(), processes, now: clock::now() }
    }

    /// True when exactly this process lives.
    pub(super) fn has(&self, pid: u32, start: u64) -> bool {
        self.processes.get(&pid).is_some_and(|process| process.start == start)
    }

    fn above(&self, process: &Process) -> impl Iterator<Item = &Process> {
        let next = |process: &&Process| self.processes.get(&process.ppid);
        std::iter::successors(self.processes.get(&process.ppid), next).take(DEEPEST)
    }

    fn running(&self, process: &Process) -> Running {
        let name = String::from_utf8_lossy(&process.name).into_owned();
        Running { pid: process.pid, start: process.start, boot_id: self.boot_id.clone(), name }
    }
}

/// When a process started that says so in ticks since boot.
pub(super) fn started_at(start: u64, now: Timestamp) -> Timestamp {
    let up = clock_gettime(ClockId::Boottime);
    let up_ms =
        u64::try_from(up.tv_sec).unwrap_or(0) * 1_000 + u64::try_from(up.tv_nsec).unwrap_or(0) / 1_000_000;
    let age_ms = up_ms.saturating_sub(start * (1_000 / TICKS));
    Timestamp(now.as_ms().saturating_sub(age_ms))
}

pub(super) fn look(known: &Known, roots: &[Roots], table: &Table, marks: &mut Marks, seen: &mut Seen) {
    let user = rustix::process::geteuid().as_raw();
    let own = std::process::id();
    let me = table.processes.get(&own);
    let above_us: Vec<u32> = me.map(|me| table.above(me).map(|one| one.pid).collect()).unwrap_or_default();
    let bin = known.home.join("bin");
    let mut read = HashMap::new();
    let mut folders: Vec<SeenProcess> = Vec::new();
    for process in table.processes.values() {
        if process.pid == own || above_us.contains(&process.pid) || proc::owner(process.pid) != Some(user) {
            continue;
        }
        let since = started_at(process.start, table.now);
        if process.name == KEEPER
            && let Some((program, task)) = kept(process.pid)
        {
            let by_folder = || {
                let folder = known.home.join("run").join(task.text().as_str());
                let identity = task::read_identity(&folder);
                identity.is_some_and(|it| (it.keeper_pid, it.keeper_start) == (process.pid, process.start))
            };
            let ours = program.starts_with(&bin) || by_folder();
            seen.keepers.push(SeenKeeper { running: table.running(process), since, task, ours });
            continue;
        }
        if since.age(table.now) < SETTLED {
            continue;
        }
        let key = (process.pid, process.start);
        let mark = marks.0.remove(&key).unwrap_or_else(|| mark_of(process.pid));
        if let Some(mark) = &mark {
            let tie = Tie::Mark { task: mark.task, lane: mark.lane, home: mark.home.clone() };
            let kept = is_kept(process, table);
            seen.processes.push(SeenProcess { running: table.running(process), since, tie, kept });
        } else if is_alone(process, table)
            && let Some(lane) = lane_of_folder(process.pid, known, roots)
        {
            let tie = Tie::Folder { lane };
            folders.push(SeenProcess { running: table.running(process), since, tie, kept: false });
        }
        read.insert(key, mark);
    }
    seen.processes.extend(folders);
    marks.0 = read;
}

/// The program and the task of a keeper.
fn kept(pid: u32) -> Option<(PathBuf, TaskId)> {
    let task = task::kept_by(pid)?;
    let line = proc::command_line(pid);
    let program = line.first()?;
    Some((PathBuf::from(OsStr::from_bytes(program)), task))
}

fn mark_of(pid: u32) -> Option<Mark> {
    let names = ["LANES_TASK_ID", "LANES_LANE_ID", "LANES_HOME", "LANES_TASK_SECRET"];
    let [task, lane, home, secret] = proc::variables(pid, &names);
    let text = |value: Option<Vec<u8>>| String::from_utf8(value?).ok();
    secret.filter(|secret| !secret.is_empty())?;
    Some(Mark {
        task: text(task)?.parse().ok()?,
        lane: text(lane).and_then(|lane| lane.parse().ok()),
        home: PathBuf::from(OsStr::from_bytes(&home?)),
    })
}

fn is_kept(process: &Process, table: &Table) -> bool {
    table.above(process).any(|one| one.name == KEEPER && task::kept_by(one.pid).is_some())
}

/// True for what nobody but the first process, or the user's session, is the parent of. git's own helpers
/// that stay in the background are nobody's to end.
fn is_alone(process: &Process, table: &Table) -> bool {
    let parent = table.processes.get(&process.ppid);
    let orphaned = process.ppid == 1 || parent.is_some_and(|parent| parent.name == SESSION);
    orphaned && !process.name.starts_with(b"git")
}

/// The lane in whose tree a process works, in its place or in the trash.
fn lane_of_folder(pid: u32, known: &Known, roots: &[Roots]) -> Option<LaneId> {
    let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let open = known.lanes.iter().find(|(_id, lane)| folder.starts_with(&lane.path));
    if let Some((id, _lane)) = open {
        return Some(*id);
    }
    let in_trash = |root: &Path| {
        let rest = folder.strip_prefix(root.join(crate::worktree::trash::TRASH_DIR)).ok()?;
        rest.components().next()?.as_os_str().to_str()?.parse().ok()
    };
    roots.iter().flat_map(|one| &one.folders).find_map(|(root, _all_ours)| in_trash(root))
}

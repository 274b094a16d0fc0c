//! Who a task is, by what lies on the disk and what the system says.

use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::launch::START_DEADLINE;
use crate::ids::TaskId;
use crate::keeper::{ARGUMENT, EXIT, Exit, IDENTITY, Identity};
use crate::proc;

/// How the task of this run folder ended; `None` while it has not, or when nobody could write it down.
pub fn read_exit(run_dir: &Path) -> Option<Exit> {
    read(&run_dir.join(EXIT))
}

/// Who the task of this run folder is; `None` before it started.
pub fn read_identity(run_dir: &Path) -> Option<Identity> {
    read(&run_dir.join(IDENTITY))
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// How often a keeper that has not written down who it is is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who the task is, when its keeper lives or has lived; a keeper that is still on its way is waited for.
///
/// A runtime that is ended by force right after it has started a keeper leaves one that nobody waits for,
/// which starts its command a moment later all the same.
pub async fn find_identity(run_dir: &Path, id: TaskId) -> Option<Identity> {
    let deadline = tokio::time::Instant::now() + START_DEADLINE;
    loop {
        if let Some(identity) = read_identity(run_dir) {
            return Some(identity);
        }
        let looked = tokio::task::spawn_blocking(move || is_kept(id)).await;
        if !looked.unwrap_or(false) || tokio::time::Instant::now() >= deadline {
            // It may have written that and left since we looked.
            return read_identity(run_dir);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// True when a keeper of this task lives, whether or not it has come to write down who it is.
pub fn is_kept(id: TaskId) -> bool {
    proc::all().into_iter().any(|one| !one.is_dead() && kept_by(one.pid) == Some(id))
}

/// True when exactly this process lives: same number, same start, same boot, and not merely unwaited-for.
pub fn alive(pid: u32, start: u64, boot_id: &str) -> bool {
    boot_id == proc::boot_id() && proc::process(pid).is_some_and(|p| p.start == start && !p.is_dead())
}

/// The task of this home that the process belongs to, if any: the nearest keeper above it, or what its
/// environment says.
///
/// A guard against accidents: a process that means harm can leave both behind.
pub fn peer_lane(pid: u32, home: &Path) -> Option<TaskId> {
    let run = home.join("run");
    let known = |id: &TaskId| run.join(id.text().as_str()).is_dir();
    keeper_above(pid).filter(known).or_else(|| {
        let value = proc::variable(pid, "LANES_TASK_ID")?;
        std::str::from_utf8(&value).ok()?.parse().ok().filter(known)
    })
}

/// The task of the nearest keeper among the ancestors.
pub(super) fn keeper_above(pid: u32) -> Option<TaskId> {
    ancestors(pid).into_iter().find_map(kept_by)
}

/// The parent, its parent and so on, at most as many as there can be without a circle.
pub(super) fn ancestors(pid: u32) -> Vec<u32> {
    const DEEPEST: usize = 4096;
    let parent = |pid: &u32| proc::process(*pid).map(|p| p.ppid).filter(|ppid| *ppid > 1);
    std::iter::successors(parent(&pid), parent).take(DEEPEST).collect()
}

/// The task that a process keeps, by its command line.
pub fn kept_by(pid: u32) -> Option<TaskId> {
    let line = proc::command_line(pid);
    let [_program, argument, id] = line.as_slice() else { return None };
    if argument != ARGUMENT.as_bytes() {
        return None;
    }
    std::str::from_utf8(id).ok()?.parse().ok()
}

//! Ends a task whole, whatever became of its keeper.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::sweep::{all_gone, round};
use super::{Link, Swept, TaskError, alive, pidfd, read_exit, read_identity, sweep};
use crate::fault;
use crate::keeper::{self, Exit, Identity, SOCKET, signal};
use crate::proc::{self, Process};
use crate::raw::Raw;

/// After the grace a keeper has so long to end its tree and leave, before that is done for it.
const KEEPER_PATIENCE: Duration = Duration::from_secs(20);
/// A keeper without living descendants leaves at once; one that is stopped does not.
const LEAVING: Duration = Duration::from_secs(2);
/// Rounds of SIGKILL below a keeper that cannot be asked.
const ROUNDS: usize = 50;
/// What is killed has so long to be gone before the next round.
const ROUND: Duration = Duration::from_millis(200);

/// What became of a task that was ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndedTask {
    /// How its command ended; `None` when nobody knows.
    pub exit: Option<Exit>,
    /// Processes that were ended without its keeper.
    pub swept: Vec<Swept>,
    /// True when nobody of the task is known to live.
    pub complete: bool,
}

/// Ends the task of this run folder: its keeper is asked; where it cannot be, what is below it is ended,
/// and what carries the task's secret.
///
/// Returns within the grace and some seconds; for a task that has ended, at once.
pub async fn end(run_dir: &Path, grace: Duration) -> EndedTask {
    let Some(task) = read_identity(run_dir) else {
        return EndedTask { complete: true, ..EndedTask::default() };
    };
    fault::pass("task.end");
    let asked = ask(run_dir, grace).await.is_ok();
    fault::pass("task.asked");
    let mut swept = Vec::new();
    let in_process = task.keeper_pid == std::process::id();
    if !in_process && !keeper_ended(&task, LEAVING).await {
        let grace = if asked { Duration::ZERO } else { grace };
        swept = end_below(&task, grace).await;
    }
    // A keeper takes its socket away when nobody of its task is left: then there is nothing to look for,
    // and looking at every process for each of two hundred tasks takes seconds.
    let left_by_itself = asked && !in_process && run_dir.is_dir() && !run_dir.join(SOCKET).exists();
    if !left_by_itself {
        swept.extend(sweep(&task, grace).await);
    }
    let exit = read_exit(run_dir);
    // Of a keeper in process only its connection and its last word tell.
    let complete = if in_process { asked || exit.is_some() } else { !keeper_lives(&task) };
    EndedTask { exit, swept, complete }
}

/// Asks the keeper, and waits for it to leave.
async fn ask(run_dir: &Path, grace: Duration) -> Result<(), TaskError> {
    let link = Link::connect(run_dir).await?;
    link.kill_tree(grace).await?;
    let after = grace.saturating_add(KEEPER_PATIENCE);
    tokio::time::timeout(after, link.gone()).await.map_err(|_| TaskError::NoAnswer { after })
}

fn keeper_lives(task: &Identity) -> bool {
    alive(task.keeper_pid, task.keeper_start, &task.boot_id)
}

/// True when the keeper has ended, or does so in this time.
async fn keeper_ended(task: &Identity, at_most: Duration) -> bool {
    if task.boot_id != proc::boot_id() {
        return true;
    }
    ended_within(task.keeper_pid, task.keeper_start, at_most).await
}

/// Ends what is below a keeper that lives but cannot be asked; then it leaves by itself, or is ended.
pub(super) async fn end_below(task: &Identity, grace: Duration) -> Vec<Swept> {
    if !keeper_lives(task) {
        return Vec::new();
    }
    end_tree(task.keeper_pid, task.keeper_start, task.groups.kill.as_ref(), grace).await
}

fn lives(pid: u32, start: u64) -> bool {
    proc::process(pid).is_some_and(|process| process.start == start && !process.is_dead())
}

/// True when exactly this process has ended, or does so in this time.
async fn ended_within(pid: u32, start: u64, at_most: Duration) -> bool {
    let process = pidfd::open(pid);
    // Looked at after it was opened: now it is this process or none.
    if let Some(process) = process.filter(|_| lives(pid, start)) {
        let _looked_at_below = tokio::time::timeout(at_most, pidfd::ended(process)).await;
    }
    !lives(pid, start)
}

/// Ends all below a keeper of this boot, then the keeper.
pub(super) async fn end_tree(pid: u32, start: u64, group: Option<&Raw>, grace: Duration) -> Vec<Swept> {
    let mut swept = Vec::new();
    let below = || -> Vec<Process> {
        if !lives(pid, start) {
            return Vec::new();
        }
        let mut found = proc::descendants(pid);
        found.retain(|p| !p.is_dead());
        found
    };
    let asked = below();
    round(&asked, &[Signal::TERM, Signal::CONT], &mut swept);
    all_gone(&asked, grace).await;
    for _round in 0..ROUNDS {
        let left = below();
        if left.is_empty() {
            break;
        }
        if let Some(group) = group {
            keeper::kill_group(group);
        }
        round(&left, &[Signal::KILL], &mut swept);
        all_gone(&left, ROUND).await;
    }
    if !ended_within(pid, start, LEAVING).await
        && let Some(keeper) = proc::process(pid).filter(|p| p.start == start)
        && signal(&keeper, &[Signal::KILL])
    {
        let _looked_at_by_the_caller = ended_within(pid, start, LEAVING).await;
    }
    swept
}

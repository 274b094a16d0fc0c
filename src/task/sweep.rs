//! Ends what a keeper that was ended by force left behind.

use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::identity::{ancestors, keeper_above};
use super::pidfd;
use crate::keeper::{self, Identity, has_secret, signal};
use crate::proc::{self, Process};

/// Rounds of SIGKILL; each ends whoever is there, so more are needed only while they multiply.
const ROUNDS: usize = 50;
/// What is killed has so long to be gone before the next round.
const ROUND: Duration = Duration::from_millis(200);

/// A process that was ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// Its short name.
    pub name: String,
}

/// Ends every process of a task whose keeper is gone: TERM, the grace, SIGKILL, until none is left.
///
/// Only processes that are in the control group of this task alone, or carry its secret in their
/// environment and belong to our user; that started no earlier than the task's command in the same boot
/// and have no living keeper above them. Returns what it
/// signalled. While the keeper lives nothing happens: it does this better.
pub async fn sweep(task: &Identity, grace: Duration) -> Vec<Swept> {
    let mut swept: Vec<Swept> = Vec::new();
    if super::alive(task.keeper_pid, task.keeper_start, &task.boot_id) || task.boot_id != proc::boot_id() {
        return swept;
    }
    let group = task.groups.kill.as_ref();
    let asked = left_behind(task);
    round(&asked, &[Signal::TERM, Signal::CONT], &mut swept);
    all_gone(&asked, grace).await;
    for _round in 0..ROUNDS {
        let left = left_behind(task);
        if left.is_empty() {
            break;
        }
        if let Some(group) = group.filter(|_| !holds_us(task)) {
            keeper::kill_group(group);
        }
        round(&left, &[Signal::KILL], &mut swept);
        all_gone(&left, ROUND).await;
    }
    if let Some(group) = group {
        keeper::remove_group(group.as_path());
    }
    swept
}

/// Signals all of them, and notes down who could be.
pub(super) fn round(processes: &[Process], signals: &[Signal], swept: &mut Vec<Swept>) {
    for process in processes {
        let new = !swept.iter().any(|s| s.pid == process.pid && s.start == process.start);
        if signal(process, signals) && new {
            let name = String::from_utf8_lossy(&process.name).into_owned();
            swept.push(Swept { pid: process.pid, start: process.start, name });
        }
    }
}

/// The living processes that are provably the task's.
fn left_behind(task: &Identity) -> Vec<Process> {
    let own = std::process::id();
    let above_us = ancestors(own);
    let uid = rustix::process::geteuid().as_raw();
    let grouped = members(task);
    proc::all()
        .into_iter()
        .filter(|p| !p.is_dead() && p.start >= task.pid_start)
        .filter(|p| p.pid != own && !above_us.contains(&p.pid))
        .filter(|p| grouped.contains(&p.pid) || has_secret(p.pid, &task.secret))
        .filter(|p| proc::owner(p.pid) == Some(uid) || grouped.contains(&p.pid))
        .filter(|p| keeper_above(p.pid).is_none())
        .collect()
}

/// Who is in the control group that holds this task alone: whatever their environment says, they are its.
fn members(task: &Identity) -> Vec<u32> {
    task.groups.kill.as_ref().map(|group| keeper::group_members(group.as_path())).unwrap_or_default()
}

/// True when we are in the task's group ourselves, as a runtime within a task is.
fn holds_us(task: &Identity) -> bool {
    let own = std::process::id();
    let above = ancestors(own);
    members(task).into_iter().any(|pid| pid == own || above.contains(&pid))
}

/// Waits until all have ended, at most so long.
pub(super) async fn all_gone(processes: &[Process], at_most: Duration) {
    let deadline = Instant::now() + at_most;
    for process in processes {
        let Some(fd) = pidfd::open(process.pid) else { continue };
        if proc::start_of(process.pid) != Some(process.start) {
            continue;
        }
        let _too_slow = tokio::time::timeout_at(deadline, pidfd::ended(fd)).await;
    }
}

//! The processes of one task: found, told apart from others, signalled.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::group;
use crate::proc::{self, Process};
use crate::raw::Raw;

/// How the processes of a task are known.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    /// We are their subreaper: all our descendants, whatever they did to get away.
    Subreaper,
    /// We are a host with children of its own: descendants and session of the command, and whoever has
    /// the task's secret in the environment.
    Marked {
        /// The command.
        command: u32,
        /// When it started.
        start: u64,
        /// The task's secret.
        secret: String,
        /// The control group that holds this task alone, if it has one.
        group: Option<Raw>,
    },
}

impl Tree {
    /// Every living process of the task, the command included.
    pub(super) fn living(&self) -> Vec<Process> {
        let mut found = match self {
            Self::Subreaper => proc::descendants(std::process::id()),
            Self::Marked { command, start, secret, group } => {
                marked(*command, *start, secret, group.as_ref())
            }
        };
        found.retain(|p| !p.is_dead());
        found
    }

    /// Signals every living process of the task; says how many could be.
    pub(super) fn signal(&self, signals: &[Signal]) -> usize {
        self.living().iter().filter(|p| signal(p, signals)).count()
    }
}

fn marked(command: u32, start: u64, secret: &str, group: Option<&Raw>) -> Vec<Process> {
    let own = std::process::id();
    let everybody = proc::all();
    // Only while the pid is still the command's: later its number may be another's session.
    let command_lives = everybody.iter().any(|p| p.pid == command && p.start == start);
    let below: Vec<u32> = if command_lives {
        proc::descendants(command).into_iter().map(|p| p.pid).chain([command]).collect()
    } else {
        Vec::new()
    };
    let grouped = group.map(|group| group::members(group.as_path())).unwrap_or_default();
    everybody
        .into_iter()
        .filter(|p| p.pid != own && (p.start >= start || grouped.contains(&p.pid)))
        .filter(|p| {
            grouped.contains(&p.pid)
                || below.contains(&p.pid)
                || p.session == command
                || has_secret(p.pid, secret)
        })
        .collect()
}

/// True when `pid` was started with the task's secret.
pub fn has_secret(pid: u32, secret: &str) -> bool {
    !secret.is_empty() && proc::variable(pid, SECRET).is_some_and(|value| value == secret.as_bytes())
}

/// The variable that marks every process of a task.
pub const SECRET: &str = "LANES_TASK_SECRET";

/// Signals exactly this process, never one that has its pid now; false when it is gone or not ours.
pub fn signal(process: &Process, signals: &[Signal]) -> bool {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    if proc::start_of(process.pid) != Some(process.start) {
        return false;
    }
    let mut sent = true;
    for signal in signals {
        sent &= pidfd_send_signal(&fd, *signal).is_ok();
    }
    sent
}

//! Topics: how they are written, how patterns match them, which there are.

use std::fmt;
use std::str::FromStr;

use super::BusError;
use super::error::shorten;

/// Longer names come from nobody who means it.
pub const MAX_NAME: usize = 128;

/// More patterns in one subscription come from nobody who means it, and each costs every event.
pub const MAX_PATTERNS: usize = 64;

/// True for `[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*` of at most [`MAX_NAME`] bytes: topics and methods.
pub fn is_name(text: &str) -> bool {
    let mut at_start = true;
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' => at_start = false,
            b'0'..=b'9' | b'_' if !at_start => {}
            b'.' if !at_start => at_start = true,
            _other => return false,
        }
    }
    !at_start && text.len() <= MAX_NAME
}

/// Which topics somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    /// `*`: every topic.
    All,
    /// `lane.*`: topics below `lane.`, at any depth; holds the prefix with its dot.
    Prefix(String),
    /// This topic alone.
    Exact(String),
}

impl Pattern {
    /// True when `topic` is wanted.
    pub fn matches(&self, topic: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => topic.len() > prefix.len() && topic.starts_with(prefix.as_str()),
            Self::Exact(name) => topic == name,
        }
    }

    /// Reads patterns; none at all means every topic.
    ///
    /// # Errors
    /// [`BusError::Pattern`] with the first that is none, [`BusError::Patterns`] for too many.
    pub fn parse_all<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Self>, BusError> {
        if texts.is_empty() {
            return Ok(vec![Self::All]);
        }
        if texts.len() > MAX_PATTERNS {
            return Err(BusError::Patterns { found: texts.len() });
        }
        texts.iter().map(|text| text.as_ref().parse()).collect()
    }
}

impl FromStr for Pattern {
    type Err = BusError;

    fn from_str(text: &str) -> Result<Self, BusError> {
        if text == "*" {
            return Ok(Self::All);
        }
        if let Some(parent) = text.strip_suffix(".*")
            && is_name(parent)
        {
            return Ok(Self::Prefix(format!("{parent}.")));
        }
        if is_name(text) {
            return Ok(Self::Exact(text.to_owned()));
        }
        Err(BusError::Pattern { pattern: shorten(text) })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

/// A topic we publish on, for the documentation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The topic.
    pub name: &'static str,
    /// When it is published, and what its payload holds.
    pub about: &'static str,
}

const fn known(name: &'static str, about: &'static str) -> Known {
    Known { name, about }
}

/// Every topic we publish on, in the order of the documentation. Embedders may publish on others.
#[rustfmt::skip]
pub const TOPICS: &[Known] = &[
    known("lane.created", "a lane was accepted and gets its worktree: {name, branch, base, path}"),
    known("lane.state.changed", "every transition: {from, to, event, reason?}"),
    known("lane.shared", "several agents may work in it from now on: {}"),
    known("lane.unshared", "one agent at a time again: {reason?}"),
    known("lane.attached", "an agent or client joined: {agent, session_id?}"),
    known("lane.detached", "an agent or client left: {agent, session_id?, reason?}"),
    known("lane.cleaning", "its end began: {forced, dirty, unmerged}"),
    known("lane.closed", "it has ended: {close_reason, trash?}"),
    known("lane.restored", "a new lane holds what a cleaned one held: {restored_from}"),
    known("lane.provision_failed", "its worktree could not be made and nothing is left: {code, message}"),
    known("lane.worktree.provisioned", "its worktree is there: {backend, ms, base, branch, path}"),
    known("lane.worktree.removed", "its worktree is out of the way: {path, trash?}"),
    known("lane.worktree.saved", "what was not committed is archived: {path, files, bytes}"),
    known("lane.worktree.set_aside", "somebody worked in a tree of the pool, it is in the trash now: {path, trash}"),
    known("lane.worktree.prepare_failed", "pool.prepare failed, pooled trees are not used until it or its files change: {reason}"),
    known(
        "lane.worktree.mounted",
        "its overlay was not mounted, and is now or cannot be: {path, mounted, reason, error}",
    ),
    known("lane.worktree.orphan_found", "a worktree that looks like ours has no lane: {path, suggestion}"),
    known("lane.par_task.bound", "a keeper holds a command of the lane: {task_id, kind, pid, keeper_pid}"),
    known("lane.par_task.terminated", "a keeper and its command are gone: {task_id, exit?}"),
    known("lane.par_task.stale", "a task neither answers nor moves: {task_id, silent_ms, reason}"),
    known("lane.par_task.force_killed", "a task was killed with its tree: {task_id, reason, ms}"),
    known("lane.command.started", "a run began: {task_id, argv (redacted), cwd, timeout_ms?}"),
    known("lane.command.completed", "a run ended: {task_id, exit {code | signal}, ms, max_rss_kb, reason?}"),
    known("lane.command.timeout", "a run took longer than it may: {task_id, timeout_ms}"),
    known("lane.ptys_terminated", "the terminals were ended by cleanup: {count, forced}"),
    known("terminal.spawned", "a terminal has its command: {task_id, argv (redacted), cols, rows}"),
    known("terminal.state.changed", "every transition of a terminal: {task_id, from, to, event}"),
    known("terminal.resized", "its window has another size: {task_id, cols, rows, by?}"),
    known("terminal.exited", "its command ended: {task_id, exit {code | signal}, ms, max_rss_kb}"),
    known("terminal.output_dropped", "recorded output was rotated away: {task_id, from, to}"),
    known("terminal.title", "the program set a title, untrusted: {task_id, title}"),
    known("terminal.cwd", "the program told its folder, untrusted: {task_id, cwd}"),
    known("terminal.notification", "the program notifies, untrusted: {task_id, title?, body}"),
    known("terminal.prompt", "a prompt mark, untrusted: {task_id, mark, exit?}"),
    known("reconciliation.started", "recovery looks at what exists: {trigger}"),
    known("reconciliation.completed", "recovery is done: {repairs, suggestions, ms}"),
    known("orphan.suggested", "something looks like ours without proof: {orphan_id, kind, what, why, owner, risk, since, action, cycle}"),
    known("orphan.confirmed", "the user had it dealt with: {orphan_id, kind, what, notes, trash?}"),
    known("orphan.declined", "the user keeps it for now: {orphan_id, kind, what, until}"),
    known("daemon.started", "a runtime owns this home: {pid, version, store_moved_aside?}"),
    known("daemon.stopping", "it refuses new requests: {reason}"),
    known("daemon.safe_mode.changed", "it acts only by hand, or again by itself: {safe_mode, reason}"),
    known("orchestration.started", "a plan runs: {plan_id, packages}"),
    known("orchestration.state.changed", "every transition of a plan: {plan_id, from, to, event}"),
    known("orchestration.completed", "a plan has ended: {plan_id, done, failed, blocked, ms}"),
    known("work_package.state.changed", "every transition of a package: {package_id, from, to, event, reason?}"),
    known("work_package.reviewed", "a verdict: {package_id, verdict, feedback?, agent}"),
    known("agent.started", "an agent works on a package: {agent, role, package_id, task_id}"),
    known("agent.completed", "an agent is done: {agent, role, package_id, verdict, evidence}"),
    known("agent.unavailable", "an agent is left out for a while: {agent, reason, until?}"),
];

//! Waits for processes that ended: for everybody below a keeper, for one child in a host.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::tree::Tree;

/// What the command used.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) max_rss_kb: u64,
    pub(super) cpu_ms: u64,
}

/// What came of waiting.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// The command's status and usage, when it ended just now; no status when somebody else took it.
    pub(super) command: Option<(Option<i32>, Usage)>,
    /// True when anybody ended.
    pub(super) somebody: bool,
}

/// How ends are noticed.
#[derive(Debug)]
pub(super) enum Reaper {
    /// By SIGCHLD: every descendant is or becomes our child.
    Children {
        /// A signalfd of SIGCHLD.
        signals: OwnedFd,
        /// The command.
        command: u32,
        /// True when nobody is left.
        alone: bool,
    },
    /// By pidfd: a host's other children are not ours to wait for.
    Watched {
        /// The command.
        command: u32,
        /// Of the command, until it was waited for.
        pidfd: Option<OwnedFd>,
        /// Of the others, once the command ended.
        others: Vec<OwnedFd>,
    },
}

impl Reaper {
    /// In a host: watches this child.
    pub(super) fn watch(command: u32) -> std::io::Result<Self> {
        Ok(Self::Watched { command, pidfd: Some(open(command)?), others: Vec::new() })
    }

    /// What to wait for.
    pub(super) fn fds(&self) -> impl Iterator<Item = &OwnedFd> {
        let (first, others) = match self {
            Self::Children { signals, .. } => (Some(signals), &[][..]),
            Self::Watched { pidfd, others, .. } => (pidfd.as_ref(), &others[..]),
        };
        first.into_iter().chain(others)
    }

    /// True when the command and all of its descendants have ended.
    pub(super) fn is_alone(&self) -> bool {
        match self {
            Self::Children { alone, .. } => *alone,
            Self::Watched { pidfd, others, .. } => pidfd.is_none() && others.is_empty(),
        }
    }

    /// Waits, without waiting, for whoever ended.
    pub(super) fn reap(&mut self, tree: &Tree) -> Ended {
        let mut ended = Ended::default();
        match self {
            Self::Children { signals, command, alone } => {
                let mut told = [0_u8; 128];
                while rustix::io::read(&*signals, &mut told).is_ok() {}
                loop {
                    match wait4(-1) {
                        Wait::Ended(pid, status, usage) => {
                            ended.somebody = true;
                            if pid == *command {
                                ended.command = Some((Some(status), usage));
                            }
                        }
                        Wait::NotYet => break *alone = false,
                        Wait::Nobody => break *alone = true,
                    }
                }
            }
            Self::Watched { command, pidfd, others } => {
                if pidfd.is_some() {
                    let found = match wait4(i32::try_from(*command).unwrap_or(0)) {
                        Wait::Ended(_pid, status, usage) => Some((Some(status), usage)),
                        // The host waits for any child, or ignores SIGCHLD: it has our command's status.
                        Wait::Nobody => Some((None, Usage::default())),
                        Wait::NotYet => None,
                    };
                    if found.is_some() {
                        *pidfd = None;
                        ended = Ended { command: found, somebody: true };
                    }
                }
                let before = others.len();
                if pidfd.is_none() {
                    *others = watch_all(tree);
                }
                ended.somebody |= others.len() != before;
            }
        }
        ended
    }

    /// Looks again who is there, where nobody tells us.
    pub(super) fn refresh(&mut self, tree: &Tree) {
        if let Self::Watched { pidfd: None, others, .. } = self {
            *others = watch_all(tree);
        }
    }
}

fn watch_all(tree: &Tree) -> Vec<OwnedFd> {
    tree.living().iter().filter_map(|p| open(p.pid).ok()).collect()
}

fn open(pid: u32) -> std::io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

enum Wait {
    Ended(u32, i32, Usage),
    NotYet,
    Nobody,
}

fn wait4(pid: i32) -> Wait {
    let mut status = 0;
    // SAFETY: an all-zero `rusage` is a valid value: it is plain numbers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live through the call.
    let ended = unsafe { libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage) };
    match u32::try_from(ended) {
        Ok(0) => Wait::NotYet,
        Ok(pid) => Wait::Ended(pid, status, usage_of(&usage)),
        Err(_no_children) => Wait::Nobody,
    }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let ms = |t: libc::timeval| t.tv_sec.saturating_mul(1000).saturating_add(t.tv_usec / 1000);
    let cpu = ms(usage.ru_utime).saturating_add(ms(usage.ru_stime));
    Usage { max_rss_kb: u64::try_from(usage.ru_maxrss).unwrap_or(0), cpu_ms: u64::try_from(cpu).unwrap_or(0) }
}

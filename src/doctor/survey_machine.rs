//! Looks at git and the machine.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, getrlimit};

use super::machine::{GitFacts, MachineFacts};
use super::state::DaemonFacts;
use super::survey::Subject;
use crate::cgroup::{Control, Controller};
use crate::clock::{self, Timestamp};
use crate::proc;
use crate::task::Room;
use crate::worktree::git::find_on_path;
use crate::worktree::{Git, GitConfig, WorktreeError};

/// git, with what is to be said about it.
pub(super) struct FoundGit {
    pub facts: GitFacts,
    pub git: Option<Git>,
}

/// Finds git as the daemon would, with the patience of a look.
pub(super) async fn git(subject: &Subject, daemon: &DaemonFacts) -> FoundGit {
    let found = find(subject).await;
    let of_daemon = match daemon {
        DaemonFacts::Answers { pid, .. } => proc::variable(*pid, "PATH")
            .and_then(|path| find_on_path(Path::new("git"), OsStr::from_bytes(&path))),
        DaemonFacts::Nobody { .. }
        | DaemonFacts::Embedded(_)
        | DaemonFacts::Silent(_)
        | DaemonFacts::Refuses(_) => None,
    };
    match found {
        Ok(git) => {
            let found = Ok((git.program().to_path_buf(), git.version().to_owned()));
            FoundGit { facts: GitFacts { found, of_daemon }, git: Some(git) }
        }
        Err(error) => FoundGit { facts: GitFacts { found: Err(error.to_string()), of_daemon }, git: None },
    }
}

/// git with the patience of a look.
///
/// # Errors
/// `GIT_MISSING`, `GIT_TOO_OLD`, `GIT_TIMEOUT`.
pub(super) async fn find(subject: &Subject) -> Result<Git, WorktreeError> {
    let config =
        GitConfig { timeout: subject.patience, checkout_timeout: subject.patience, ..GitConfig::default() };
    Git::find(config).await
}

/// Looks at what the machine allows. Blocks.
pub(super) fn machine(home: &Path, newest_event: Option<Timestamp>) -> MachineFacts {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let files = getrlimit(Resource::Nofile);
    let uid = rustix::process::geteuid();
    let threads = |pid: u32| if proc::owner(pid) == Some(uid.as_raw()) { proc::threads(pid) } else { 0 };
    let running = proc::all().iter().map(|process| threads(process.pid)).sum();
    let most = getrlimit(Resource::Nproc).current.filter(|_most| !uid.is_root());
    let control = Control::look(home);
    let limits = Controller::ALL.into_iter().filter(|one| control.way(*one).is_some());
    MachineFacts {
        terminals: Room::look().terminals,
        reserved_terminals: number("/proc/sys/kernel/pty/reserve").unwrap_or(0),
        files: (files.current, files.maximum),
        processes: (running, most),
        group_ends_trees: control.kills(),
        group_limits: limits.map(Controller::name).collect(),
        watches: number("/proc/sys/fs/inotify/max_user_watches"),
        tells_pressure: fs::read("/proc/pressure/io").is_ok(),
        knows_boot: !proc::boot_id().is_empty(),
        now: clock::now(),
        newest_event,
    }
}

/// The file system that a path is on, or would be.
pub(super) fn disk_of(path: &Path) -> Option<super::Disk> {
    let there: PathBuf = path.ancestors().find(|folder| folder.exists())?.to_path_buf();
    let kind = rustix::fs::statfs(&there).ok()?;
    let room = rustix::fs::statvfs(&there).ok()?;
    Some(super::Disk {
        path: path.to_path_buf(),
        kind: super::FileSystem::from_magic(kind.f_type.cast_unsigned()),
        free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
        free_inodes: (room.f_files > 0).then_some(room.f_favail),
        read_only: room.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

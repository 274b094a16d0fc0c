//! What looks left over: its kind, whose it was, since when, and how risky it is to touch.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::ids::{LaneId, TaskId};
use crate::raw::Raw;

/// Younger than this, and of a known owner: low risk.
const YOUNG: Duration = Duration::from_secs(60 * 60);
/// Older than this: high risk.
const OLD: Duration = Duration::from_secs(24 * 60 * 60);
/// Characters of the hash in an id: nobody has so many orphans that two meet.
const HASH_CHARS: usize = 12;

/// What is left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A tree that no lane has.
    Worktree,
    /// git's entry of a tree that is gone.
    AdminEntry,
    /// A process of a task that has ended, without a keeper.
    Process,
    /// A keeper whose task no open lane knows.
    Keeper,
    /// The folder of a keeper's socket, without the keeper.
    RunFolder,
    /// Recorded output of a lane that is neither open nor in the trash.
    LogFolder,
    /// What was being removed when the runtime stopped.
    UndoRest,
    /// A socket, or a link to one, that nobody uses.
    Socket,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Worktree,
        Self::AdminEntry,
        Self::Process,
        Self::Keeper,
        Self::RunFolder,
        Self::LogFolder,
        Self::UndoRest,
        Self::Socket,
    ];

    /// Its name for users.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Worktree => "worktree",
            Self::AdminEntry => "admin_entry",
            Self::Process => "process",
            Self::Keeper => "keeper",
            Self::RunFolder => "run_folder",
            Self::LogFolder => "log_folder",
            Self::UndoRest => "undo_rest",
            Self::Socket => "socket",
        }
    }

    /// What its ids begin with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Worktree => "tree",
            Self::AdminEntry => "entry",
            Self::Process => "process",
            Self::Keeper => "keeper",
            Self::RunFolder => "run",
            Self::LogFolder => "log",
            Self::UndoRest => "undo",
            Self::Socket => "socket",
        }
    }

    /// What confirming does.
    pub const fn action(self) -> &'static str {
        match self {
            Self::Worktree => "move it to the trash, where it can be restored from",
            Self::AdminEntry => "move it to the trash; its commits stay reachable",
            Self::Process => "end it: TERM, 5 s, KILL",
            Self::Keeper => "end it and all below it: TERM, 5 s, KILL",
            Self::RunFolder | Self::LogFolder | Self::UndoRest | Self::Socket => "remove it",
        }
    }
}

/// How much there is to lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// Young, and its owner is known.
    Low,
    /// Between an hour and a day old.
    Medium,
    /// Older than a day, or nobody knows whose.
    High,
}

impl Risk {
    /// Its name for users.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Whose it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// A lane of ours.
    Lane(LaneId),
    /// Nobody knows.
    Unknown,
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lane(id) => id.fmt(f),
            Self::Unknown => f.pad("unknown"),
        }
    }
}

/// A file or folder, and which one it is: paths are no identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub path: PathBuf,
    /// Its device.
    pub dev: u64,
    /// Its inode.
    pub ino: u64,
    /// When it was made, in nanoseconds since the epoch: inodes come again. 0 where nobody tells.
    pub born: u64,
}

/// A process, and which one it is: pids come again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its id.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub start: u64,
    /// The boot these belong to.
    pub boot_id: String,
    /// Its short name; of its own choosing.
    pub name: String,
}

/// What is left over, with all that is needed to deal with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A tree.
    Tree {
        /// Where.
        place: Place,
        /// The repository whose root it is in: its common directory.
        repo: PathBuf,
        /// git's entry of it, when there is one.
        admin: Option<String>,
    },
    /// git's entry of a tree that is gone.
    Entry {
        /// Where.
        place: Place,
        /// The repository: its common directory.
        repo: PathBuf,
        /// The entry's name.
        admin: String,
        /// Where the tree was.
        tree: PathBuf,
    },
    /// A process.
    Process(Running),
    /// A keeper.
    Keeper(Running, TaskId),
    /// A folder or file to be removed.
    Rest(Kind, Place),
}

/// Something left over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// What.
    pub what: What,
    /// Whose it was.
    pub owner: Whose,
    /// The task it was of.
    pub task: Option<TaskId>,
    /// Since when it is there.
    pub since: Timestamp,
    /// Why it is taken for left over.
    pub reason: String,
}

impl Orphan {
    /// Its kind.
    pub const fn kind(&self) -> Kind {
        match &self.what {
            What::Tree { .. } => Kind::Worktree,
            What::Entry { .. } => Kind::AdminEntry,
            What::Process(_) => Kind::Process,
            What::Keeper(..) => Kind::Keeper,
            What::Rest(kind, _) => *kind,
        }
    }

    /// Its id: the same for the same thing, in every cycle and after every restart.
    pub fn id(&self) -> String {
        let identity = match &self.what {
            What::Tree { place, .. } | What::Entry { place, .. } | What::Rest(_, place) => {
                format!("{}:{}:{}", place.dev, place.ino, place.born)
            }
            What::Process(running) | What::Keeper(running, _) => {
                format!("{}:{}:{}", running.boot_id, running.pid, running.start)
            }
        };
        let digest = Sha256::digest(format!("{}:{identity}", self.kind().name()));
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}", self.kind().prefix(), &hex[..HASH_CHARS])
    }

    /// What it is, for people and programs: a path, or a process.
    pub fn resource(&self) -> Raw {
        match &self.what {
            What::Tree { place, .. } | What::Entry { place, .. } | What::Rest(_, place) => {
                place.path.as_path().into()
            }
            What::Process(running) | What::Keeper(running, _) => {
                format!("process {} ({})", running.pid, running.name).into()
            }
        }
    }

    /// How risky it is to touch, as of now.
    pub fn risk(&self, now: Timestamp) -> Risk {
        let age = self.since.age(now);
        match self.owner {
            Whose::Unknown => Risk::High,
            Whose::Lane(_) if age > OLD => Risk::High,
            Whose::Lane(_) if age >= YOUNG => Risk::Medium,
            Whose::Lane(_) => Risk::Low,
        }
    }
}

/// The riskiest first, then the oldest.
pub fn sort(orphans: &mut [Orphan], now: Timestamp) {
    orphans.sort_by_cached_key(|orphan| (std::cmp::Reverse(orphan.risk(now)), orphan.since, orphan.id()));
}

//! The configuration as values, with the default of every key.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `lanes.*`
    pub lanes: Lanes,
    /// `worktree.*`
    pub worktree: Worktree,
    /// `pool.*`
    pub pool: Pool,
    /// `copy`: globs of files that git does not track, copied from the main checkout.
    pub copy: Vec<String>,
    /// `link`: paths linked to the main checkout.
    pub link: Vec<String>,
    /// `hooks.*`
    pub hooks: Hooks,
    /// `agents`: definitions of agents by name, as written.
    pub agents: BTreeMap<String, toml::Value>,
    /// `verify`: the gate command.
    pub verify: Option<Hook>,
    /// `stop.*`
    pub stop: Stop,
    /// `task.*`
    pub task: Task,
    /// `limits.*`
    pub limits: Limits,
    /// `disk.*`
    pub disk: Disk,
    /// `trash.*`
    pub trash: Trash,
    /// `events.*`
    pub events: Events,
    /// `daemon.*`
    pub daemon: Daemon,
    /// `watchdog.*`
    pub watchdog: Watchdog,
    /// `attach.*`
    pub attach: Attach,
    /// `git.*`
    pub git: Git,
}

/// `lanes.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Open lanes of one workspace.
    pub capacity: usize,
    /// What the branch of a lane starts with.
    pub branch_prefix: String,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { capacity: 50, branch_prefix: "lanes/".into() }
    }
}

/// The way a tree is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// The fastest that is there.
    #[default]
    Auto,
    /// The git command line.
    Git,
    /// A parallel copy of the template.
    Copy,
    /// A ready tree of the pool.
    Pool,
    /// An overlayfs over the template.
    Overlay,
}

impl Backend {
    /// All, by name.
    pub const ALL: [(&'static str, Self); 5] = [
        ("auto", Self::Auto),
        ("git", Self::Git),
        ("copy", Self::Copy),
        ("pool", Self::Pool),
        ("overlay", Self::Overlay),
    ];
}

/// `worktree.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worktree {
    /// The folder of all trees of the workspace; a relative one starts at the main checkout.
    pub root: Option<PathBuf>,
    /// The way a tree is made.
    pub backend: Backend,
    /// Initialises submodules when the tree has any.
    pub submodules: bool,
}

impl Default for Worktree {
    fn default() -> Self {
        Self { root: None, backend: Backend::Auto, submodules: true }
    }
}

/// Where the package managers that we know keep what they have resolved.
const LOCK_FILES: [&str; 17] = [
    "Cargo.lock",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "bun.lock",
    "deno.lock",
    "uv.lock",
    "poetry.lock",
    "Pipfile.lock",
    "requirements.txt",
    "go.sum",
    "Gemfile.lock",
    "composer.lock",
    "mix.lock",
    "pubspec.lock",
    "gradle.lockfile",
];

/// `pool.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Ready trees kept.
    pub size: usize,
    /// What it grows to with use.
    pub max: usize,
    /// Runs in a pooled tree before it is asked for.
    pub prepare: Option<Hook>,
    /// Tracked files, by path or by name in any folder, that `prepare` goes by: it runs again when one changed.
    pub prepare_files: Vec<String>,
}

impl Default for Pool {
    fn default() -> Self {
        let prepare_files = LOCK_FILES.map(str::to_owned).to_vec();
        Self { size: 2, max: 8, prepare: None, prepare_files }
    }
}

/// `hooks.*`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// After the tree is there, before the lane is ready.
    pub post_create: Option<Hook>,
    /// Before the tasks of a closing lane are stopped.
    pub pre_cleanup: Option<Hook>,
}

/// A command of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A text that the user approved, for `/bin/sh -c`.
    Shell(String),
    /// Program and arguments.
    Argv(Vec<String>),
}

impl Hook {
    /// Program and arguments to start.
    pub fn argv(&self) -> Vec<OsString> {
        match self {
            Self::Shell(text) => vec!["/bin/sh".into(), "-c".into(), text.into()],
            Self::Argv(words) => words.iter().map(OsString::from).collect(),
        }
    }
}

/// `stop.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Between the first signal to a terminal and SIGKILL.
    pub terminal_grace: Duration,
    /// Between the first signal to a run and SIGKILL.
    pub run_grace: Duration,
}

impl Default for Stop {
    fn default() -> Self {
        Self { terminal_grace: Duration::from_secs(5), run_grace: Duration::from_secs(10) }
    }
}

/// `task.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// No answer and no progress for so long: stale.
    pub stale_after: Duration,
    /// Bytes of recorded output kept for a task.
    pub log_limit: u64,
}

impl Default for Task {
    fn default() -> Self {
        Self { stale_after: Duration::from_secs(30), log_limit: 256 << 20 }
    }
}

/// `limits.*`; what is missing is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory of a lane.
    pub memory: Option<u64>,
    /// Processes and threads of a lane.
    pub processes: Option<u64>,
    /// Share of the processor under contention, 1 to 10,000 (100 is usual).
    pub cpu_weight: Option<u64>,
    /// Open files of each process of a task.
    pub open_files: Option<u64>,
}

/// `disk.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that must stay free.
    pub min_free: u64,
    /// Inodes that must stay free.
    pub min_inodes: u64,
    /// Bytes that spare trees and trash of a workspace may take together, when limited. Spares are given up
    /// for it; trash is not: `trash.max` limits that.
    pub budget: Option<u64>,
}

/// What must stay free on the disk of the home when a lane is made, where `disk.min_free` does not ask for less.
pub const HOME_MIN_FREE: u64 = 64 << 20;
/// The same in inodes, with `disk.min_inodes`.
pub const HOME_MIN_INODES: u64 = 1_000;

impl Disk {
    /// Bytes and inodes that must stay free on the disk of the home.
    pub fn of_home(&self) -> (u64, u64) {
        (self.min_free.min(HOME_MIN_FREE), self.min_inodes.min(HOME_MIN_INODES))
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self { min_free: 512 << 20, min_inodes: 10_000, budget: None }
    }
}

/// `trash.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trash {
    /// How long a closed lane can be restored.
    pub keep: Duration,
    /// Bytes of trash of a workspace, when limited.
    pub max: Option<u64>,
}

impl Default for Trash {
    fn default() -> Self {
        Self { keep: Duration::from_secs(30 * 86_400), max: None }
    }
}

/// `events.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Events {
    /// How long past events are kept.
    pub keep: Duration,
}

impl Default for Events {
    fn default() -> Self {
        Self { keep: Duration::from_secs(90 * 86_400) }
    }
}

/// `daemon.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// The daemon leaves when nothing was live and nobody was there for so long.
    pub idle_exit: Option<Duration>,
    /// After so many crashes within 60 s it starts in safe mode; 0: never.
    pub crash_limit: u64,
}

impl Default for Daemon {
    fn default() -> Self {
        Self { idle_exit: None, crash_limit: 3 }
    }
}

/// `watchdog.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// Between two looks for what is left over.
    pub every: Duration,
    /// What was declined is not suggested again for so long.
    pub cooldown: Duration,
}

impl Default for Watchdog {
    fn default() -> Self {
        Self { every: Duration::from_secs(60), cooldown: Duration::from_secs(86_400) }
    }
}

/// `attach.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attach {
    /// As written: keys separated by spaces.
    pub detach_key: String,
}

impl Default for Attach {
    fn default() -> Self {
        Self { detach_key: "ctrl-\\ d".into() }
    }
}

/// `git.*`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Git {
    /// A call that only looks or changes refs.
    pub timeout: Duration,
    /// A call that writes a tree.
    pub checkout_timeout: Duration,
}

impl Default for Git {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), checkout_timeout: Duration::from_secs(15 * 60) }
    }
}

//! What can go wrong with worktrees, and what the caller is told then.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::failure::{self, Code, DISK_HINT, Failure};
use crate::fault::Injected;

/// The longest piece of git's own words that goes into a message; more is noise on a screen.
pub const STDERR_TAIL_BYTES: usize = 2_000;
/// The longest name from outside that is quoted in a message.
const QUOTED_CHARS: usize = 120;

/// Why an operation on worktrees did not happen.
#[derive(Debug, thiserror::Error)]
pub enum WorktreeError {
    /// No git program was found.
    #[error("could not find {program:?} on the PATH")]
    FindGit {
        /// The name or path that was looked for.
        program: PathBuf,
    },
    /// The git that is there lacks what we need.
    #[error("git {found} is too old, {wanted} or newer is needed")]
    GitVersion {
        /// What it says it is.
        found: String,
        /// The oldest that works.
        wanted: String,
    },
    /// The program could not be started.
    #[error("could not start {command}: {source}")]
    StartGit {
        /// What was to run, for people.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// git ended with an error.
    #[error("{command} failed ({status}): {stderr}")]
    RunGit {
        /// What was run, for people.
        command: String,
        /// `exit 128`, `signal 9`.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// The tree was made, but the repository's hook said no.
    #[error("the hook {} failed ({status}): {stderr}", quoted_path(.hook))]
    Hook {
        /// The hook.
        hook: PathBuf,
        /// `exit 3`.
        status: String,
        /// The end of what it said.
        stderr: String,
    },
    /// git did not end in time; its process group was killed.
    #[error("{command} did not end within {}", humantime::format_duration(*.after))]
    GitTimeout {
        /// What was run, for people.
        command: String,
        /// How long it had.
        after: Duration,
    },
    /// git said more than we are willing to hold; its process group was killed.
    #[error("{command} printed more than {limit} bytes")]
    GitOutputLimit {
        /// What was run, for people.
        command: String,
        /// The bound.
        limit: usize,
    },
    /// git said something that is not what it documents.
    #[error("could not read the answer of {command}: {what}")]
    ReadGit {
        /// What was run, for people.
        command: String,
        /// What was expected.
        what: &'static str,
    },
    /// libgit2 could not read something; callers usually ask git then.
    #[error("could not {attempt} in {}: {}", quoted_path(.path), .source.message())]
    ReadRepository {
        /// What was attempted.
        attempt: &'static str,
        /// The git directory.
        path: PathBuf,
        /// Why not.
        source: git2::Error,
    },
    /// There is no repository at or above the folder.
    #[error("{} is not in a git repository: {reason}", quoted_path(.from))]
    NotARepository {
        /// Where the search began.
        from: PathBuf,
        /// What was found instead.
        reason: String,
    },
    /// The repository belongs to somebody else, and git was not told to trust it.
    #[error("the repository {} belongs to another user (uid {owner})", quoted_path(.path))]
    ForeignRepository {
        /// The git directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
    /// HEAD names a branch without a commit.
    #[error("the repository {} has no commit on its current branch yet", quoted_path(.path))]
    NoCommits {
        /// The git directory.
        path: PathBuf,
    },
    /// The revision does not name a commit.
    #[error("the base {} {reason}", quoted(.rev))]
    BaseNotFound {
        /// What was asked for.
        rev: String,
        /// Why it is not one.
        reason: String,
    },
    /// A lane's name breaks a rule.
    #[error("the name {} cannot be used: {rule}", quoted(.name))]
    NameInvalid {
        /// The name.
        name: String,
        /// The rule, in words.
        rule: &'static str,
    },
    /// A branch's name breaks a rule.
    #[error("the branch name {} cannot be used: {rule}", quoted(.name))]
    BranchInvalid {
        /// The name.
        name: String,
        /// The rule, in words.
        rule: &'static str,
    },
    /// The branch that was to be made is there, or another one stands in its way.
    #[error("cannot make the branch {}: {reason}", quoted(.name))]
    BranchExists {
        /// The name.
        name: String,
        /// What is in the way.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// The branch that was asked for is not there.
    #[error("there is no branch {}", quoted(.name))]
    BranchMissing {
        /// The name.
        name: String,
    },
    /// The branch is checked out somewhere else.
    #[error("the branch {} is checked out in {}", quoted(.name), quoted_path(.at))]
    BranchCheckedOut {
        /// The name.
        name: String,
        /// Where.
        at: PathBuf,
    },
    /// A folder for trees may not be used.
    #[error("the folder {} for worktrees cannot be used: {reason}", quoted_path(.root))]
    Root {
        /// The folder.
        root: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Less space or fewer inodes are free than the floor allows.
    #[error("only {free} {unit} are free on the disk of {}, {floor} are needed", quoted_path(.path))]
    DiskLow {
        /// Where the tree was to be.
        path: PathBuf,
        /// What is free.
        free: u64,
        /// What must stay free.
        floor: u64,
        /// Bytes or inodes.
        unit: &'static str,
        /// The key that asks for it; none when it is what is to be written.
        key: Option<&'static str>,
    },
    /// Something is already where the tree was to be.
    #[error("{} is already there", quoted_path(.path))]
    PathTaken {
        /// The place.
        path: PathBuf,
    },
    /// A tree, lock or token is not the one of the record.
    #[error("{} is not ours to touch: {reason}", quoted_path(.path))]
    NotOurs {
        /// The place.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A copy or link pattern cannot be followed.
    #[error("cannot {attempt} {}: {reason}", quoted(.pattern))]
    Place {
        /// `copy` or `link`.
        attempt: &'static str,
        /// The pattern or path.
        pattern: String,
        /// Why not.
        reason: String,
    },
    /// No tree of this kind is kept in stock: git makes it when it is asked for. Expected, and no fault.
    #[error("no such tree can be kept in stock: {reason}")]
    NotStocked {
        /// Why not.
        reason: String,
    },
    /// A tree in stock is not as it was made: it is not used, and nothing of it was changed.
    #[error("the tree in stock {} cannot be used: {reason}", quoted_path(.path))]
    SpareUnusable {
        /// The tree.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// Parts of a tree could not be removed.
    #[error("could not remove {left} files below {}, the first is {}: {reason}", quoted_path(.root), quoted_path(.first))]
    RemoveTree {
        /// The tree.
        root: PathBuf,
        /// The first file that stayed.
        first: PathBuf,
        /// How many entries stayed.
        left: u64,
        /// Why the first one stayed.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// The workspace lock was not to be had in time.
    #[error("{} is held by {holder} for longer than {}", quoted_path(.path), humantime::format_duration(*.after))]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Who wrote their name into it.
        holder: String,
        /// How long we waited.
        after: Duration,
    },
    /// A file operation failed.
    #[error("could not {attempt} {}: {source}", quoted_path(.path))]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A tree cannot be copied.
    #[error("could not copy {}: {reason}", quoted_path(.path))]
    CopyTree {
        /// What of it.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A record on disk is not what we wrote.
    #[error("could not read {}: {source}", quoted_path(.path))]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// No overlay can be made here.
    #[error("worktree.backend is overlay, and an overlay cannot be made: {reason}")]
    OverlayRefused {
        /// Why not.
        reason: String,
    },
    /// The tree is an overlay that is not mounted: its folder shows nothing of it.
    #[error("the overlay of {} is not mounted: {reason}", quoted_path(.path))]
    Unmounted {
        /// Where it belongs.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The work did not come to its end because the runtime is going down.
    #[error("could not finish {attempt}: the runtime stopped")]
    Stopped {
        /// What was attempted.
        attempt: &'static str,
    },
}

impl WorktreeError {
    /// A failed file operation.
    pub fn file(attempt: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { attempt, path: path.into(), source: source.into() }
    }

    fn code(&self) -> Code {
        match self {
            Self::FindGit { .. } => Code::GitMissing,
            Self::GitVersion { .. } => Code::GitTooOld,
            Self::StartGit { .. }
            | Self::RunGit { .. }
            | Self::Hook { .. }
            | Self::GitOutputLimit { .. }
            | Self::ReadGit { .. } => Code::GitFailed,
            Self::GitTimeout { .. } => Code::GitTimeout,
            Self::NotARepository { .. } | Self::ForeignRepository { .. } => Code::NotARepository,
            Self::ReadRepository { .. } => Code::GitFailed,
            Self::NoCommits { .. } => Code::NoCommits,
            Self::BaseNotFound { .. } | Self::BranchMissing { .. } => Code::BaseNotFound,
            Self::NameInvalid { .. } | Self::BranchInvalid { .. } => Code::NameInvalid,
            Self::BranchExists { .. } => Code::BranchExists,
            Self::BranchCheckedOut { .. } => Code::BranchCheckedOut,
            Self::Root { .. } | Self::Place { .. } | Self::OverlayRefused { .. } => Code::ConfigInvalid,
            Self::DiskLow { .. } => Code::DiskLow,
            Self::Lock { .. } => Code::Busy,
            Self::File { source, .. } => failure::about(source).0,
            Self::PathTaken { .. }
            | Self::NotOurs { .. }
            | Self::NotStocked { .. }
            | Self::SpareUnusable { .. }
            | Self::RemoveTree { .. }
            | Self::CopyTree { .. }
            | Self::Record { .. }
            | Self::Unmounted { .. }
            | Self::Stopped { .. } => Code::Io,
        }
    }

    /// What happened and what helps, in one line.
    pub(super) fn with_hint(&self) -> String {
        format!("{self}; {}", self.hint())
    }

    /// True when another way to make the tree may do: what was wrong is what it was to be made from.
    pub fn is_of_spare(&self) -> bool {
        matches!(self, Self::NotStocked { .. } | Self::SpareUnusable { .. } | Self::CopyTree { .. })
    }

    /// True when there was no room left.
    pub(super) fn is_disk_full(&self) -> bool {
        match self {
            Self::File { source, .. } => is_disk_full(source),
            Self::RunGit { stderr, .. } => says_disk_full(stderr),
            _other => false,
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::FindGit { .. } => put_git(super::git::MIN_VERSION_TEXT),
            Self::GitVersion { wanted, .. } => put_git(wanted),
            Self::ReadGit { command, .. } if command.ends_with("git version") => {
                put_git(super::git::MIN_VERSION_TEXT)
            }
            Self::RunGit { stderr, .. } if says_disk_full(stderr) => DISK_HINT.to_owned(),
            Self::RunGit { .. } => "what git said is above; correct it, then try again".to_owned(),
            Self::Hook { .. } => {
                "correct the hook so that it succeeds in a new worktree, then try again; nothing was left behind".to_owned()
            }
            Self::GitTimeout { .. } => {
                "look for a slow disk, a network file system, or a hook or filter that waits for something"
                    .to_owned()
            }
            Self::StartGit { .. } | Self::ReadGit { .. } | Self::GitOutputLimit { .. } => {
                "try the same with git itself; when it works there, restart the daemon: lanes daemon restart"
                    .to_owned()
            }
            Self::NotARepository { .. } => "go into a git repository, or name one with -C".to_owned(),
            Self::ForeignRepository { path, .. } => {
                format!("if you trust it: git config --global --add safe.directory {}", quoted_path(path))
            }
            Self::NoCommits { .. } => "make a first commit: git commit --allow-empty -m 'first'".to_owned(),
            Self::BaseNotFound { .. } => "see what there is with: git branch --all; git tag".to_owned(),
            Self::NameInvalid { .. } => {
                "use 1 to 63 letters, digits, '.', '_' or '-', beginning with a letter or digit".to_owned()
            }
            Self::BranchExists { hint, .. } | Self::RemoveTree { hint, .. } => hint.clone(),
            Self::BranchMissing { .. } => {
                "see what there is with: git branch; without --branch one is made".to_owned()
            }
            Self::BranchCheckedOut { name, .. } => format!(
                "a branch can be in one place only: close what holds it, or start a new branch from it with --base {}",
                quoted(name)
            ),
            Self::Root { .. } => {
                "set worktree.root to a folder of your own that nobody else can write to".to_owned()
            }
            Self::Place { attempt, .. } => format!("correct `{attempt}` in lanes.toml, or .worktreeinclude"),
            Self::DiskLow { key: Some(key), .. } => {
                format!("free some space: lanes gc, lanes trash empty, lanes cleanup --merged, or lower {key}")
            }
            Self::DiskLow { key: None, .. } => DISK_HINT.to_owned(),
            Self::PathTaken { .. } => "move it away, or choose another name for the lane".to_owned(),
            Self::Lock { .. } => "try again in a moment".to_owned(),
            Self::BranchInvalid { .. } => "git check-ref-format says which names are possible".to_owned(),
            Self::File { source, path, .. } if source.raw_os_error() == Some(libc::EPERM) => format!(
                "it may be immutable: lsattr -d {0}; sudo chattr -i {0}; then try again",
                quoted_path(path)
            ),
            Self::File { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("see who may do that: ls -ld {0} {0}/..; then try again", quoted_path(path))
            }
            Self::File { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                "make the file system writable again, then try again".to_owned()
            }
            Self::File { source, .. } => failure::about(source).1.to_owned(),
            Self::ReadRepository { .. } => "see what git itself says there: git status".to_owned(),
            Self::NotStocked { .. } | Self::SpareUnusable { .. } => {
                "nothing needs to be done: git makes the tree".to_owned()
            }
            Self::NotOurs { .. } => "look what is there; it was left alone".to_owned(),
            Self::CopyTree { .. } => "the tree it was to be copied from is not used; nothing else is to be done".to_owned(),
            Self::Record { .. } => {
                "it is damaged: move it aside when you do not need it, then: lanes reconcile".to_owned()
            }
            Self::OverlayRefused { .. } => {
                "set worktree.backend to auto, pool, copy or git; or correct that, then try again".to_owned()
            }
            Self::Unmounted { .. } => {
                "nothing of it is lost; lanes doctor --fix mounts it, or says what is in the way".to_owned()
            }
            Self::Stopped { .. } => "it is taken up again when the daemon starts".to_owned(),
        }
    }
}

/// The daemon looks for git with the PATH that it was started with.
fn put_git(version: &str) -> String {
    format!("install git {version} or newer, put it first on the PATH, then: lanes daemon restart")
}

/// True when there is no room left, or none for this user.
pub(super) fn is_disk_full(error: &io::Error) -> bool {
    failure::about(error).0 == Code::DiskLow
}

/// True when git's words say that the disk is full (its exit code does not). A file of the tree that it
/// could open but not write to is reported without a reason; a full disk is what does that.
pub(super) fn says_disk_full(stderr: &str) -> bool {
    stderr.lines().any(|line| line.starts_with("error: unable to write file "))
        || stderr.contains("No space left on device")
        || stderr.contains("Disk quota exceeded")
}

impl From<Injected> for WorktreeError {
    fn from(injected: Injected) -> Self {
        Self::file("pass", injected.name, injected.source)
    }
}

impl From<WorktreeError> for Failure {
    fn from(error: WorktreeError) -> Self {
        let code = match &error {
            WorktreeError::RunGit { stderr, .. } if says_disk_full(stderr) => Code::DiskLow,
            other => other.code(),
        };
        Self::new(code, error.to_string()).hint(error.hint())
    }
}

/// A text from outside in quotes, without control or bidirectional characters, and not too long.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for (at, c) in text.chars().enumerate() {
        if at == QUOTED_CHARS {
            out.push('…');
            break;
        }
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || is_format(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// A path in quotes, made safe for people to read.
pub fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// Characters that change how the ones around them are shown.
fn is_format(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x61C | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB
        | 0xE0000..=0xE007F)
}

/// The end of what a program said, as text without escapes that move a cursor.
pub fn tail(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(STDERR_TAIL_BYTES);
    let text = String::from_utf8_lossy(&bytes[start..]);
    let clean: String = text
        .chars()
        .map(|c| if c == '\n' || c == '\t' || !(c.is_control() || is_format(c)) { c } else { '\u{FFFD}' })
        .collect();
    clean.trim().to_owned()
}

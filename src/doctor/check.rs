//! One thing that was looked at, and what may be done about it.

use std::path::PathBuf;

use serde::Serialize;

use crate::ids::TaskId;

/// How a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// It will hurt some day.
    Warn,
    /// It hurts now.
    Fail,
}

impl Status {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, such as `git.version`; several may have the same.
    pub id: &'static str,
    /// How it is.
    pub status: Status,
    /// What was found, for people.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// True when `--fix` would mend it.
    pub fixable: bool,
    /// After `--fix`: whether it was mended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<bool>,
    /// How it would be mended.
    #[serde(skip)]
    pub mend: Option<Mend>,
}

impl Check {
    fn new(id: &'static str, status: Status, message: impl Into<String>) -> Self {
        Self { id, status, message: message.into(), hint: None, fixable: false, fixed: None, mend: None }
    }

    /// As it should be.
    pub fn ok(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Status::Ok, message)
    }

    /// Worth knowing.
    pub fn note(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Status::Note, message)
    }

    /// It will hurt some day.
    pub fn warn(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Status::Warn, message)
    }

    /// It hurts now.
    pub fn fail(id: &'static str, message: impl Into<String>) -> Self {
        Self::new(id, Status::Fail, message)
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with how it would be mended.
    #[must_use]
    pub fn mend(mut self, mend: Mend) -> Self {
        self.fixable = true;
        self.mend = Some(mend);
        self
    }
}

/// What may be mended without asking more than once: it is ours, or git says that it is safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mend {
    /// Removes the socket of a daemon that is gone.
    Socket,
    /// Removes run folders without a keeper, of no open lane.
    Runs(Vec<TaskId>),
    /// Closes files and folders of the home to others.
    Modes(Vec<PathBuf>),
    /// Removes copies of the keeper's program that nobody runs from.
    Copies(Vec<PathBuf>),
    /// Lets trees of ours find their repository again: the tree and its admin directory.
    Links(Vec<(PathBuf, PathBuf)>),
    /// Has the owner mount the overlays that are not.
    Overlays,
    /// Takes a setting out of the configuration that all worktrees of a repository share.
    Setting {
        /// The common git directory.
        common_dir: PathBuf,
        /// `core.bare` or `core.worktree`.
        key: &'static str,
        /// What it was, to be put back by the user.
        value: String,
    },
    /// Asks the daemon to free what nobody needs, in the workspace of this place.
    Gc(PathBuf),
    /// Locks the admin entry of the vault again.
    VaultLock(PathBuf),
}

/// A count with its noun.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    match n {
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

/// The first few of a list, and how many more there are.
pub(super) fn some<T: ToString>(all: &[T]) -> String {
    const SHOWN: usize = 5;
    let mut text = all.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more) = all.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

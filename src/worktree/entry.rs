//! Makes git's entry of a tree by hand, with what `git worktree add` writes into it.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::branch_take;
use super::discover::read_small;
use super::error::WorktreeError;
use super::model::{Order, Repository};
use super::pace::Pace;
use super::remove::remove_tree;
use super::spare::Kept;
use super::trash_locate::admin_path;
use super::undo::stage_of;
use crate::files;

/// What the checkout of a tree depends on, besides its commit: it goes with every copy of the tree.
const OF_CHECKOUT: [&str; 2] = ["config.worktree", "info/sparse-checkout"];
/// What git puts into the second line of `logs/HEAD` of a new tree.
const CHECKED_OUT: &[u8] = b"\treset: moving to HEAD";

/// An entry that is to be.
pub(super) struct NewEntry<'a> {
    /// The admin directory that it is to be like: its permissions, sparse patterns, the name in its log.
    pub like: &'a Path,
    /// Where the tree is to be.
    pub tree: &'a Path,
    /// The branch (full name); detached when none.
    pub branch: Option<&'a str>,
    /// The commit.
    pub base: &'a str,
    /// Why it is locked.
    pub lock_reason: &'a str,
}

impl NewEntry<'_> {
    /// Writes the entry into a folder where git does not look. What is there goes first. Blocks.
    ///
    /// # Errors
    /// `File`, `RemoveTree`.
    pub(super) fn stage(&self, stage: &Path) -> Result<(), WorktreeError> {
        let _before = remove_tree(stage, None, &Pace::full())?;
        let failed = |error| WorktreeError::file("make", stage, error);
        self.fill(stage).map_err(failed)
    }

    fn fill(&self, stage: &Path) -> io::Result<()> {
        self.make_folder(stage, "")?;
        self.make_folder(stage, "refs")?;
        let line = |text: &str| format!("{text}\n").into_bytes();
        let files = [
            ("HEAD", head_of(self.branch, self.base)),
            ("ORIG_HEAD", line(self.base)),
            ("commondir", line("../..")),
            ("gitdir", gitdir_of(self.tree)),
            ("locked", line(self.lock_reason)),
        ];
        for (name, text) in files {
            self.write(stage, name, &text)?;
        }
        if let Some(log) = first_log(self.like, self.base, self.branch.is_some()) {
            self.make_folder(stage, "logs")?;
            self.write(stage, "logs/HEAD", &log)?;
        }
        for name in OF_CHECKOUT {
            if let Some(text) = read_plain(&self.like.join(name))? {
                if let Some((folder, _file)) = name.split_once('/') {
                    self.make_folder(stage, folder)?;
                }
                self.write(stage, name, &text)?;
            }
        }
        Ok(())
    }

    fn make_folder(&self, stage: &Path, name: &str) -> io::Result<()> {
        let path = stage.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        fs::set_permissions(path, Permissions::from_mode(mode_of(&self.like.join(name), 0o755)))
    }

    fn write(&self, stage: &Path, name: &str, text: &[u8]) -> io::Result<()> {
        let path = stage.join(name);
        fs::write(&path, text)?;
        fs::set_permissions(path, Permissions::from_mode(mode_of(&self.like.join(name), 0o644)))
    }
}

/// Stages the entry of a lane whose tree is made like a template, on the lane's branch; where it is comes back.
///
/// # Errors
/// As [`NewEntry::stage`].
pub(super) fn stage_from(
    repo: &Repository,
    template: &Kept,
    order: &Order,
) -> Result<PathBuf, WorktreeError> {
    let stage = stage_of(repo, order);
    let full = branch_take::full_name(order);
    let entry = NewEntry {
        like: &template.admin(repo),
        tree: order.path.as_path(),
        branch: Some(&full),
        base: &template.spare.base,
        lock_reason: &order.lock_reason,
    };
    entry.stage(&stage)?;
    Ok(stage)
}

/// Makes a staged entry known to git, at once. Blocks.
///
/// # Errors
/// `File`, also when the name is taken.
pub(super) fn publish(repo: &Repository, stage: &Path, name: &str) -> Result<PathBuf, WorktreeError> {
    let admin = admin_path(repo, name)?;
    let worktrees = repo.common_dir.join("worktrees");
    fs::create_dir_all(&worktrees).map_err(|error| WorktreeError::file("make", worktrees, error))?;
    renameat_with(CWD, stage, CWD, &admin, RenameFlags::NOREPLACE)
        .map_err(|error| WorktreeError::file("make", &admin, error))?;
    Ok(admin)
}

/// Makes the folder of a tree with the `.git` that leads to its entry, like another tree. Blocks.
///
/// # Errors
/// `PathTaken`, `File`.
pub(super) fn make_tree(tree: &Path, admin: &Path, like: &Path) -> Result<(), WorktreeError> {
    match DirBuilder::new().mode(0o700).create(tree) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(WorktreeError::PathTaken { path: tree.to_path_buf() });
        }
        made => made.map_err(|error| WorktreeError::file("make the folder", tree, error))?,
    }
    point_tree(tree, admin, like)?;
    fs::set_permissions(tree, Permissions::from_mode(mode_of(like, 0o755)))
        .map_err(|error| WorktreeError::file("make", tree, error))
}

/// Makes a tree lead to its entry, in the place of whatever it leads to. Blocks.
///
/// # Errors
/// `File`.
pub(super) fn point_tree(tree: &Path, admin: &Path, like: &Path) -> Result<(), WorktreeError> {
    let path = tree.join(".git");
    files::exchange(&path, &gitfile_of(admin), mode_of(&like.join(".git"), 0o644))
        .map_err(|error| WorktreeError::file("write", path, error))
}

/// Gives an index the permissions that another tree's has. Blocks.
///
/// # Errors
/// `File`.
pub(super) fn like_index(index: &Path, like: &Path) -> Result<(), WorktreeError> {
    fs::set_permissions(index, Permissions::from_mode(mode_of(like, 0o644)))
        .map_err(|error| WorktreeError::file("set the permissions of", index, error))
}

/// Exchanges a file of an entry, with the permissions that it had.
///
/// # Errors
/// `File`.
pub(super) fn exchange(admin: &Path, name: &str, text: &[u8]) -> Result<(), WorktreeError> {
    let path = admin.join(name);
    files::exchange(&path, text, mode_of(&path, 0o644))
        .map_err(|error| WorktreeError::file("write", path, error))
}

/// What `HEAD` says on a branch (full name), or detached.
pub(super) fn head_of(branch: Option<&str>, base: &str) -> Vec<u8> {
    match branch {
        Some(branch) => format!("ref: {branch}\n").into_bytes(),
        None => format!("{base}\n").into_bytes(),
    }
}

/// What `gitdir` says of a tree.
pub(super) fn gitdir_of(tree: &Path) -> Vec<u8> {
    let mut text = tree.join(".git").into_os_string().into_encoded_bytes();
    text.push(b'\n');
    text
}

/// What the `.git` of a tree says.
pub(super) fn gitfile_of(admin: &Path) -> Vec<u8> {
    [b"gitdir: ", admin.as_os_str().as_bytes(), b"\n"].concat()
}

/// What `logs/HEAD` says of a tree that was just made; none where this user keeps no such logs, as the log
/// of the entry that it is like shows.
pub(super) fn first_log(like: &Path, base: &str, on_branch: bool) -> Option<Vec<u8>> {
    let who = who_made(like)?;
    let mut log = log_line(None, base, &who);
    log.push(b'\n');
    if on_branch {
        // git checks out by a reset.
        log.extend(log_line(Some(base), base, &who));
        log.extend_from_slice(CHECKED_OUT);
        log.push(b'\n');
    }
    Some(log)
}

/// A line of a log up to its reason: from nothing, or from a commit.
pub(super) fn log_line(from: Option<&str>, to: &str, who: &[u8]) -> Vec<u8> {
    let none = "0".repeat(to.len());
    let from = from.unwrap_or(&none);
    [from.as_bytes(), b" ", to.as_bytes(), b" ", who, b" ", &now_in_logs()].concat()
}

/// Who made a tree, by its log: name and address as git wrote them.
pub(super) fn who_made(admin: &Path) -> Option<Vec<u8>> {
    let log = read_small(&admin.join("logs/HEAD"))?;
    let line = log.split(|byte| *byte == b'\n').next()?;
    let facts = line.split(|byte| *byte == b'\t').next()?;
    let mut words = facts.splitn(3, |byte| *byte == b' ');
    let who = words.nth(2)?;
    let end = who.iter().rposition(|byte| *byte == b'>')?;
    Some(who[..=end].to_vec())
}

/// The time as logs have it: seconds, and how far the local time is from UTC.
fn now_in_logs() -> Vec<u8> {
    let Ok(now) = git2::Signature::now("-", "-") else { return b"0 +0000".to_vec() };
    let (seconds, minutes) = (now.when().seconds(), now.when().offset_minutes());
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.unsigned_abs();
    format!("{seconds} {sign}{:02}{:02}", minutes / 60, minutes % 60).into_bytes()
}

/// The permissions of what is there.
fn mode_of(path: &Path, otherwise: u32) -> u32 {
    let there = fs::symlink_metadata(path).ok().filter(|meta| !meta.is_symlink());
    there.map_or(otherwise, |meta| meta.permissions().mode() & 0o7777)
}

fn read_plain(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => fs::read(path).map(Some),
        Ok(_other) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

//! Hands a pooled tree to a lane: a few small files and a rename.
//!
//! From the first of them on the tree is the lane's, and an undo of its order takes all of it away. Nothing
//! is synced: the order is in the store before, and after a crash of the machine the lane is undone.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::blocking::blocking;
use super::branch_take::{self, Taken};
use super::discover::{read_small, trim_newlines};
use super::entry;
use super::error::WorktreeError;
use super::git::Git;
use super::lock::WorkspaceLock;
use super::model::{Order, Repository};
use super::provision::{LOCK_PATIENCE, admin_dir_of};
use super::spare::{Kept, SpareKind, forget_spare, read_spare};
use super::token::hand_token;
use crate::fault;

/// Locks of git in an entry: somebody is at work in the tree.
const LOCKS: [&str; 2] = ["index.lock", "HEAD.lock"];

/// Makes a pooled tree the tree of an order: its branch, its place, its lock. The admin directory comes back.
///
/// When the future is dropped, the step that is under way is still done; an undo of the order waits for it
/// at the workspace lock.
///
/// # Errors
/// `SpareUnusable` when it is not as it was made, `BRANCH_EXISTS`, `BRANCH_CHECKED_OUT`, `PathTaken`, `Lock`,
/// `File`, those of git. After any of them the order has to be undone; as long as the spare carries no
/// order, that leaves it as it is.
pub async fn claim(
    git: &Git,
    repo: &Repository,
    kept: &Kept,
    order: &Order,
) -> Result<PathBuf, WorktreeError> {
    let holder = format!("claim for {}", order.name);
    let held = WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, &holder).await?;
    let claim =
        Claim { admin: kept.admin(repo), repo: repo.clone(), kept: kept.clone(), order: order.clone() };
    let (claim, held, taken) = run(claim, held, Claim::begin).await?;
    let admin = claim.admin.clone();
    if taken == Taken::AskGit {
        branch_take::take_with_git(git, repo, order, &kept.spare.base).await?;
        let _claimed = run(claim, held, |claim| claim.finish().map(|()| Taken::Done)).await?;
    }
    Ok(admin)
}

/// Runs a part of a claim where it may block, with the lock held until it is done.
async fn run(
    claim: Claim,
    held: WorkspaceLock,
    part: fn(&Claim) -> Result<Taken, WorktreeError>,
) -> Result<(Claim, WorkspaceLock, Taken), WorktreeError> {
    blocking("claiming", move || {
        let taken = part(&claim)?;
        Ok((claim, held, taken))
    })
    .await
}

struct Claim {
    repo: Repository,
    kept: Kept,
    order: Order,
    admin: PathBuf,
}

impl Claim {
    /// Everything, where libgit2 can make the branch; else what comes before it.
    fn begin(&self) -> Result<Taken, WorktreeError> {
        check(&self.repo, &self.kept, &self.order)?;
        let base = &self.kept.spare.base;
        let foreseen = branch_take::foresee(&self.repo, &self.order, base)?;
        let who = entry::who_made(&self.admin);
        hand_token(&self.admin, &self.order)?;
        fault::at("claim.token")?;
        if branch_take::take(foreseen, &self.repo, &self.order, base, who.as_deref())? == Taken::AskGit {
            return Ok(Taken::AskGit);
        }
        self.finish()?;
        Ok(Taken::Done)
    }

    /// What comes after the branch.
    fn finish(&self) -> Result<(), WorktreeError> {
        fault::at("claim.branch")?;
        let (base, full) = (&self.kept.spare.base, branch_take::full_name(&self.order));
        let log = entry::first_log(&self.admin, base, true);
        entry::exchange(&self.admin, "HEAD", &entry::head_of(Some(&full), base))?;
        if let Some(log) = log {
            entry::exchange(&self.admin, "logs/HEAD", &log)?;
        }
        fault::at("claim.head")?;
        let (from, to) = (self.kept.tree(), self.order.path.as_path());
        entry::exchange(&self.admin, "gitdir", &entry::gitdir_of(to))?;
        entry::exchange(&self.admin, "locked", format!("{}\n", self.order.lock_reason).as_bytes())?;
        fault::at("claim.gitdir")?;
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => return Err(WorktreeError::PathTaken { path: to.to_path_buf() }),
            moved => moved.map_err(|error| WorktreeError::file("move", from, error))?,
        }
        fault::at("claim.moved")?;
        forget_spare(&self.admin)
    }
}

/// Makes sure that a spare fits the order. Blocks.
fn check(repo: &Repository, kept: &Kept, order: &Order) -> Result<(), WorktreeError> {
    if kept.spare.home != order.home {
        return unusable(kept.tree(), "it belongs to another runtime");
    }
    check_base(kept, order)?;
    check_spare(repo, kept, SpareKind::Pooled)
}

/// Makes sure that a new branch begins where a spare is. One that is there is compared with that by itself.
pub(super) fn check_base(kept: &Kept, order: &Order) -> Result<(), WorktreeError> {
    if order.branch.created && kept.spare.base != order.base.sha {
        return unusable(kept.tree(), "it is not at the base of the lane");
    }
    Ok(())
}

/// Makes sure that a spare is as it was made, as far as its entry tells. Its files are not looked at. Blocks.
///
/// # Errors
/// `SpareUnusable` with what does not fit.
pub(super) fn check_spare(repo: &Repository, kept: &Kept, kind: SpareKind) -> Result<(), WorktreeError> {
    let (admin, tree) = (kept.admin(repo), kept.tree());
    let Some(spare) = read_spare(&admin) else { return unusable(tree, "it is nobody's spare any more") };
    let folder = fs::symlink_metadata(tree);
    let head = read_small(&admin.join("HEAD")).unwrap_or_default();
    match () {
        () if !spare.ready || spare.kind != kind => unusable(tree, "it is not ready"),
        () if spare != kept.spare => unusable(tree, "it was changed meanwhile"),
        () if !folder.is_ok_and(|meta| (meta.dev(), meta.ino()) == (kept.dev, kept.ino)) => {
            unusable(tree, "its folder is gone, or another one is there")
        }
        () if admin_dir_of(repo, tree).ok().as_ref() != Some(&admin) => {
            unusable(tree, "its .git does not lead to its entry")
        }
        () if trim_newlines(&head) != spare.base.as_bytes() => unusable(tree, "somebody moved its HEAD"),
        () if LOCKS.iter().any(|lock| admin.join(lock).symlink_metadata().is_ok()) => {
            unusable(tree, "a git is at work in it")
        }
        () if admin.join("index").symlink_metadata().is_err() => unusable(tree, "it has no index"),
        () => Ok(()),
    }
}

pub(super) fn unusable<T>(tree: &Path, reason: &str) -> Result<T, WorktreeError> {
    Err(WorktreeError::SpareUnusable { path: tree.to_path_buf(), reason: reason.to_owned() })
}

//! Tells somebody who only looks where the tree of a record is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::changes::changes;
use super::error::WorktreeError;
use super::git::{Git, Place};
use super::model::{Order, Repository, Tree};
use super::overlay;
use super::pins::scan_ids;
use super::token::found_tree;
use super::trash::read_small;
use super::trash_locate::{TreeAt, find_tree_of};
use super::trash_retire::commit_of;

/// Where the tree of a record is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// In its place, and provably the one of the order; with its device and inode as they are now.
    Here(Box<Tree>),
    /// Somebody moved it here.
    Moved(PathBuf),
    /// Nowhere.
    Gone,
    /// Something else is in its place: what.
    Foreign(String),
}

/// Looks for the tree of an order. Blocks.
///
/// A tree that carries the token of the order is its tree whatever its device is: devices are numbered anew
/// by a start of the machine. What does not carry it must be the folder of the record by device and inode.
///
/// # Errors
/// `File` when the place cannot be looked at, `NotOurs` when the record names no admin directory, `Unmounted`
/// for an overlay that is not mounted: nothing can be told of it then.
pub fn whereabouts(repo: &Repository, order: &Order, tree: &Tree) -> Result<Whereabouts, WorktreeError> {
    if let Ok(found) = found_tree(repo, order) {
        return Ok(Whereabouts::Here(Box::new(Tree { dev: found.dev, ino: found.ino, ..tree.clone() })));
    }
    if let Some(error) = overlay::unmounted(order)? {
        return Err(error);
    }
    Ok(match find_tree_of(repo, order, tree)? {
        TreeAt::Here(place) if place == tree.path.as_path() => Whereabouts::Here(Box::new(tree.clone())),
        TreeAt::Here(place) => Whereabouts::Moved(place),
        TreeAt::Gone => Whereabouts::Gone,
        TreeAt::Foreign(what) => Whereabouts::Foreign(what),
    })
}

/// False only when the tree is as provisioning made it: HEAD has been nowhere but at the base, and no file
/// differs.
pub async fn is_worked_in(git: &Git, repo: &Repository, order: &Order, tree: &Tree) -> bool {
    if has_moved_on(git, repo, order, &tree.admin_id).await {
        return true;
    }
    let admin = repo.common_dir.join("worktrees").join(&tree.admin_id);
    let counted = changes(git, repo, tree.path.as_path(), &admin, &order.base).await;
    counted.map_or(true, |changes| changes.files > 0)
}

/// False only when HEAD of a tree has been nowhere but at the base; its files are not looked at.
pub async fn has_moved_on(git: &Git, repo: &Repository, order: &Order, admin_id: &str) -> bool {
    let admin = repo.common_dir.join("worktrees").join(admin_id);
    let mut been_at = BTreeSet::new();
    let log = match read_small(&admin.join("logs/HEAD"), MAX_LOG_BYTES) {
        Ok(log) => log,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(_large_or_unreadable) => return true,
    };
    scan_ids(&log, repo.oid_len, &mut been_at);
    let Ok(head) = commit_of(git, &Place::git_dir(&admin), "HEAD").await else { return true };
    been_at.extend(head);
    been_at.iter().any(|commit| *commit != order.base.sha)
}

/// A log of a tree that nobody worked in has a line or two.
const MAX_LOG_BYTES: u64 = 1 << 16;

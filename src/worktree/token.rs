//! The proof, in a tree's admin directory, that the tree is ours: the order it was made by.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::error::WorktreeError;
use super::layout::write_private;
use super::model::{Order, Repository, Tree};
use super::resolve::{admin_dirs, tree_of};
use crate::ids::LaneId;

/// The file in the admin directory.
const TOKEN_FILE: &str = "lanes.json";
/// An order is a few kilobytes; what is larger is not one.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// Writes the order into the admin directory, for its owner's eyes only.
///
/// # Errors
/// `File`, `Record`.
pub fn write_token(admin_dir: &Path, order: &Order) -> Result<(), WorktreeError> {
    let path = admin_dir.join(TOKEN_FILE);
    let text =
        serde_json::to_vec(order).map_err(|source| WorktreeError::Record { path: path.clone(), source })?;
    write_private(&path, &text)
}

/// The same without waiting for the disk: the order is in the store by then.
///
/// # Errors
/// `File`, `Record`.
pub(super) fn hand_token(admin_dir: &Path, order: &Order) -> Result<(), WorktreeError> {
    let path = admin_dir.join(TOKEN_FILE);
    let text =
        serde_json::to_vec(order).map_err(|source| WorktreeError::Record { path: path.clone(), source })?;
    crate::files::exchange(&path, &text, 0o600).map_err(|error| WorktreeError::file("write", path, error))
}

/// True when an admin directory has an order, one that cannot be read included: it is a lane's.
pub(super) fn has_order(admin_dir: &Path) -> bool {
    admin_dir.join(TOKEN_FILE).symlink_metadata().is_ok()
}

/// The order that an admin directory carries; none when it carries none that can be read.
pub fn read_token(admin_dir: &Path) -> Option<Order> {
    let path = admin_dir.join(TOKEN_FILE);
    let meta = std::fs::symlink_metadata(&path).ok()?;
    if !meta.is_file() || meta.len() > MAX_TOKEN_BYTES {
        return None;
    }
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// All trees of a repository that carry an order: the order, the admin id, and where the tree is.
pub fn owned_trees(repo: &Repository) -> Vec<(Order, String, PathBuf)> {
    let owned = |(id, dir): (String, PathBuf)| {
        let order = read_token(&dir)?;
        let path = tree_of(&dir).unwrap_or_else(|| order.path.to_path_buf());
        Some((order, id, path))
    };
    admin_dirs(&repo.common_dir).into_iter().filter_map(owned).collect()
}

/// The lanes whose admin entries carry their lock reason but no order yet: git was cut off before.
pub fn begun_trees(repo: &Repository) -> Vec<LaneId> {
    let begun = |(_id, dir): (String, PathBuf)| {
        let no_order = !has_order(&dir);
        let reason = lock_reason(&dir).filter(|_| no_order)?;
        reason.strip_prefix("lanes ")?.split(' ').next()?.parse().ok()
    };
    admin_dirs(&repo.common_dir).into_iter().filter_map(begun).collect()
}

/// The tree of an order as it is found on disk, when it is provably of the order.
///
/// # Errors
/// `NotOurs` when it carries another token or none; `File`.
pub fn found_tree(repo: &Repository, order: &Order) -> Result<Tree, WorktreeError> {
    let path = order.path.as_path();
    let admin = super::provision::admin_dir_of(repo, path)?;
    let Some(carried) = read_token(&admin).filter(|carried| carried.token == order.token) else {
        let reason = "it does not carry the lane's token".to_owned();
        return Err(WorktreeError::NotOurs { path: path.into(), reason });
    };
    let about = path.symlink_metadata().map_err(|error| WorktreeError::file("look at", path, error))?;
    Ok(Tree {
        path: order.path.clone(),
        admin_id: admin.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        dev: about.dev(),
        ino: about.ino(),
        branch: carried.branch,
        backend: "adopted".to_owned(),
        ms: 0,
        notes: Vec::new(),
    })
}

/// Why a tree is locked, as git keeps it.
pub fn lock_reason(admin_dir: &Path) -> Option<String> {
    let bytes = super::discover::read_small(&admin_dir.join("locked"))?;
    Some(String::from_utf8_lossy(super::discover::trim_newlines(&bytes)).into_owned())
}

/// True when an admin directory is provably of this order: by its token, or, before that is written, by the
/// lock reason that names the lane.
pub fn is_of(admin_dir: &Path, order: &Order) -> bool {
    if has_order(admin_dir) {
        return read_token(admin_dir).is_some_and(|found| found.token == order.token);
    }
    let mine = format!("lanes {} ", order.lane_id);
    lock_reason(admin_dir).is_some_and(|reason| reason == order.lock_reason || reason.starts_with(&mine))
}

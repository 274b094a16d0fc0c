//! Makes the admin entry of a restored tree from the one in the trash.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

use super::error::WorktreeError;
use super::model::{Repository, TrashEntry};
use super::pace::Pace;
use super::remove::remove_tree;
use super::restore::Restoring;
use super::token::write_token;
use super::trash::{self, Spot, is_there};
use super::trash_locate::{admin_path, has_token};
use super::trash_lock;
use super::trash_move::{copy_folder, move_folder};

/// How many names are tried for an admin directory.
const MAX_NAMES: usize = 10_000;
/// Locks that a killed git leaves behind.
const STALE: [&str; 4] = ["index.lock", "HEAD.lock", "ORIG_HEAD.lock", "config.worktree.lock"];

/// A free name under `worktrees/`, after the last part of the tree's path as git does it.
pub(super) fn free_name(repo: &Repository, path: &Path) -> Result<String, WorktreeError> {
    let last = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let mut base: String = last.chars().map(safe).collect();
    if base.is_empty() || base.starts_with('.') || base.ends_with(".lock") || base.contains("..") {
        base = "lane".to_owned();
    }
    for at in 0..MAX_NAMES {
        let name = if at == 0 { base.clone() } else { format!("{base}{at}") };
        if !is_there(&admin_path(repo, &name)?)? {
            return Ok(name);
        }
    }
    Err(WorktreeError::PathTaken { path: repo.common_dir.join("worktrees").join(base) })
}

fn stage_path(repo: &Repository, intent: &Restoring) -> PathBuf {
    repo.common_dir.join(format!("lanes-restoring-{}", intent.order.lane_id))
}

/// Copies the admin directory beside `worktrees/`, where git does not look, and makes it the new tree's.
pub(super) fn stage(repo: &Repository, spot: &Spot, intent: &Restoring) -> Result<PathBuf, WorktreeError> {
    let stage = stage_path(repo, intent);
    if is_there(&spot.admin())? {
        copy_folder(&spot.admin(), &stage, &["modules"])?;
    } else {
        let _old = remove_tree(&stage, None, &Pace::full())?;
        std::fs::create_dir(&stage).map_err(|error| WorktreeError::file("make", &stage, error))?;
        make_head(repo, spot, &stage)?;
    }
    for name in STALE {
        let lock = stage.join(name);
        trash::remove_file_if_there(&lock).map_err(|error| WorktreeError::file("remove", lock, error))?;
    }
    let mut gitdir = intent.order.path.as_path().join(".git").as_os_str().as_bytes().to_vec();
    gitdir.push(b'\n');
    let reason = format!("{}\n", intent.order.lock_reason);
    for (name, text) in
        [("gitdir", gitdir.as_slice()), ("commondir", b"../..\n"), ("locked", reason.as_bytes())]
    {
        let file = stage.join(name);
        trash::write_synced(&file, text).map_err(|error| WorktreeError::file("write", file, error))?;
    }
    write_token(&stage, &intent.order)?;
    Ok(stage)
}

/// Somebody removed the admin directory before the lane was retired: a new HEAD, the index follows.
fn make_head(repo: &Repository, spot: &Spot, stage: &Path) -> Result<(), WorktreeError> {
    let entry: Option<TrashEntry> = trash::load(spot)?;
    let head = entry.and_then(|entry| match (entry.on_branch, entry.head) {
        (Some(branch), _) => Some(format!("ref: refs/heads/{branch}\n")),
        (None, head) => head.map(|oid| format!("{oid}\n")),
    });
    let usual_refs = !repo.common_dir.join("reftable").is_dir();
    let (Some(head), true) = (head, usual_refs) else {
        let reason = "its admin directory was removed from outside, its HEAD is not known".to_owned();
        return Err(WorktreeError::NotOurs { path: spot.dir.clone(), reason });
    };
    let file = stage.join("HEAD");
    trash::write_synced(&file, head.as_bytes()).map_err(|error| WorktreeError::file("write", file, error))
}

/// Moves the submodules' repositories in and makes the entry known to git, at once and locked.
pub(super) async fn publish(
    repo: &Repository,
    spot: &Spot,
    intent: &Restoring,
) -> Result<PathBuf, WorktreeError> {
    let stage = stage_path(repo, intent);
    let modules = spot.admin().join("modules");
    if is_there(&modules)? {
        move_folder(&modules, &stage.join("modules"))?;
    }
    let admin = admin_path(repo, &intent.admin_id)?;
    let _lock = trash_lock::lock(repo).await?;
    let worktrees = repo.common_dir.join("worktrees");
    std::fs::create_dir_all(&worktrees).map_err(|error| WorktreeError::file("make", worktrees, error))?;
    rustix::fs::renameat_with(CWD, &stage, CWD, &admin, RenameFlags::NOREPLACE)
        .map_err(|error| WorktreeError::file("make", &admin, error))?;
    Ok(admin)
}

/// Writes the `.git` file of the tree.
pub(super) fn point_tree(tree: &Path, admin: &Path) -> Result<(), WorktreeError> {
    let mut text = b"gitdir: ".to_vec();
    text.extend_from_slice(admin.as_os_str().as_bytes());
    text.push(b'\n');
    let file = tree.join(".git");
    // A tree that its owner may not write to gets its file all the same, and stays as it is.
    let before = std::fs::metadata(tree).map_err(|error| WorktreeError::file("look at", tree, error))?;
    let mode = before.permissions().mode() & 0o7777;
    let set = |mode| std::fs::set_permissions(tree, std::fs::Permissions::from_mode(mode));
    let closed = mode & 0o300 != 0o300;
    let write = || {
        if closed {
            set(mode | 0o300)?;
        }
        let written = trash::write_synced(&file, &text)
            // As git makes it.
            .and_then(|()| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)));
        if closed {
            set(mode)?;
        }
        written
    };
    write().map_err(|error| WorktreeError::file("write", &file, error))
}

/// Takes the entry away again; the submodules go back into the trash first.
pub(super) async fn withdraw(
    repo: &Repository,
    spot: &Spot,
    intent: &Restoring,
) -> Result<(), WorktreeError> {
    let _lock = trash_lock::lock(repo).await?;
    let admin = admin_path(repo, &intent.admin_id)?;
    let mut made = vec![stage_path(repo, intent)];
    if has_token(&admin, &intent.order.token) {
        made.push(admin);
    }
    let kept = spot.admin().join("modules");
    for folder in made {
        let modules = folder.join("modules");
        if is_there(&modules)? && !is_there(&kept)? {
            move_folder(&modules, &kept)?;
        }
        let _gone = remove_tree(&folder, None, &Pace::full())?;
    }
    Ok(())
}

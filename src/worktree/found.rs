//! Takes hold of a tree or an entry that no lane has, so that it can be retired like a lane's.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::layout::write_private;
use super::model::{Base, Branch, Order, Repository, Tree};
use super::overlay;
use super::pace::Pace;
use super::remove::remove_tree;
use super::restore_admin::free_name;
use super::token::{read_token, write_token};
use super::trash::is_there;
use super::trash_branch::used_branches;
use super::trash_locate::{admin_path, gitfile};
use super::trash_lock;
use super::trash_retire::{branch_of, commit_of, identity};
use crate::fault;

/// How the tree was made, in its record: it was found.
pub const FOUND: &str = "found";
/// What a `.git` that leads nowhere is called while the tree has another one.
const ASIDE: &str = ".git.found";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The folder; it need not be there.
    pub path: PathBuf,
    /// Its device and inode; none when it is gone.
    pub identity: Option<(u64, u64)>,
    /// git's entry of it, when there is one.
    pub admin: Option<String>,
}

/// Makes what was found provably of `order`: its entry gets the token; a folder that git does not know gets
/// an entry, on the order's branch when that is there and free, else at its base. No file of the folder is
/// touched but `.git`, and one that leads nowhere is kept beside it. The order comes back with the base,
/// the branch and the place as they are. May be repeated.
///
/// # Errors
/// `NotOurs` when another folder is there now, or the repository's refs are not files; `File`, those of git.
pub async fn take_hold(
    git: &Git,
    repo: &Repository,
    found: &Found,
    order: &Order,
) -> Result<(Order, Tree), WorktreeError> {
    fault::at("found.begin")?;
    if let Some(expected) = found.identity {
        check(&found.path, expected)?;
    }
    let _lock = trash_lock::lock(repo).await?;
    let admin_id = match &found.admin {
        Some(admin) => admin.clone(),
        None => make_entry(git, repo, &found.path, order).await?,
    };
    let admin = admin_path(repo, &admin_id)?;
    take_overlay(&admin, order)?;
    let head = commit_of(git, &Place::git_dir(&admin), "HEAD").await?;
    let branch = branch_of(git, repo, &admin).await?;
    let base = match head {
        Some(sha) => Base { rev: "HEAD".to_owned(), sha, target: None },
        None => order.base.clone(),
    };
    // Not ours to delete, whatever it is called.
    let branch = Branch { name: branch.unwrap_or_else(|| order.branch.name.clone()), created: false };
    let order = Order { path: found.path.clone().into(), base, branch, ..order.clone() };
    if found.identity.is_some() {
        point(&admin, &found.path)?;
    }
    fault::at("found.pointed")?;
    write_private(&admin.join("locked"), format!("{}\n", order.lock_reason).as_bytes())?;
    write_token(&admin, &order)?;
    fault::at("found.held")?;
    let (dev, ino) = found.identity.unwrap_or_default();
    let tree = Tree {
        path: order.path.clone(),
        admin_id,
        dev,
        ino,
        branch: order.branch.clone(),
        backend: FOUND.to_owned(),
        ms: 0,
        notes: Vec::new(),
    };
    Ok((order, tree))
}

/// The layers of an overlay go by the id of its lane.
fn take_overlay(admin: &Path, order: &Order) -> Result<(), WorktreeError> {
    let Some(before) = read_token(admin).filter(|before| before.lane_id != order.lane_id) else {
        return Ok(());
    };
    match overlay::of(before.root.as_path(), before.lane_id)? {
        Some(overlay) => overlay.hand_over(order.root.as_path(), order.lane_id),
        None => Ok(()),
    }
}

fn check(path: &Path, expected: (u64, u64)) -> Result<(), WorktreeError> {
    if identity(path)? == expected {
        return Ok(());
    }
    let reason = "another folder is there now".to_owned();
    Err(WorktreeError::NotOurs { path: path.to_path_buf(), reason })
}

/// Makes an entry for a folder that git does not know; it appears as a whole, locked.
async fn make_entry(
    git: &Git,
    repo: &Repository,
    folder: &Path,
    order: &Order,
) -> Result<String, WorktreeError> {
    if repo.common_dir.join("reftable").is_dir() {
        let reason =
            "git does not know it, and an entry for it can only be made where refs are files".to_owned();
        return Err(WorktreeError::NotOurs { path: folder.to_path_buf(), reason });
    }
    let full = format!("refs/heads/{}", order.branch.name);
    let is_free = !used_branches(git, repo, Path::new("/nonexistent")).await?.contains(&full);
    let tip = commit_of(git, &Place::repository(repo), &full).await?;
    let base = commit_of(git, &Place::repository(repo), &order.base.sha).await?;
    let (head, start) = match (tip, base) {
        (Some(tip), _) if is_free => (format!("ref: {full}\n"), Some(tip)),
        (_, Some(base)) => (format!("{base}\n"), Some(base)),
        // No commit at all.
        (_, None) => (format!("ref: {full}\n"), None),
    };
    let stage = repo.common_dir.join(format!("lanes-restoring-{}", order.lane_id));
    let _before = remove_tree(&stage, None, &Pace::full())?;
    std::fs::create_dir(&stage).map_err(|error| WorktreeError::file("make", &stage, error))?;
    let mut gitdir = folder.join(".git").as_os_str().as_bytes().to_vec();
    gitdir.push(b'\n');
    let locked = format!("{}\n", order.lock_reason);
    let files = [
        ("HEAD", head.as_bytes()),
        ("commondir", b"../..\n".as_slice()),
        ("gitdir", gitdir.as_slice()),
        ("locked", locked.as_bytes()),
    ];
    for (name, text) in files {
        write_private(&stage.join(name), text)?;
    }
    fault::at("found.staged")?;
    let id = match named_entry(repo, folder) {
        Some(named) => named,
        None => free_name(repo, folder)?,
    };
    let admin = admin_path(repo, &id)?;
    let worktrees = repo.common_dir.join("worktrees");
    std::fs::create_dir_all(&worktrees).map_err(|error| WorktreeError::file("make", worktrees, error))?;
    renameat_with(CWD, &stage, CWD, &admin, RenameFlags::NOREPLACE)
        .map_err(|error| WorktreeError::file("make", &admin, error))?;
    fault::at("found.entered")?;
    if let Some(start) = start {
        // The tree as it is differs from this as it differs.
        let args = ["read-tree", start.as_str()];
        git.ask(Mode::Write, &Place::git_dir(&admin), args).await?;
    }
    Ok(id)
}

/// The entry that the folder's `.git` names, when that is of this repository and gone.
fn named_entry(repo: &Repository, folder: &Path) -> Option<String> {
    let said = super::discover::read_small(&folder.join(".git"))?;
    let named = folder.join(gitfile(&said)?);
    let id = named.file_name()?.to_str()?;
    let is_it = named.parent() == Some(repo.common_dir.join("worktrees").as_path());
    (is_it && named.symlink_metadata().is_err()).then(|| id.to_owned())
}

/// Makes the folder name its entry, where it does not.
fn point(admin: &Path, folder: &Path) -> Result<(), WorktreeError> {
    let dot_git = folder.join(".git");
    if is_there(&dot_git)? {
        let said = super::discover::read_small(&dot_git).unwrap_or_default();
        if gitfile(&said).is_some_and(|named| is_same(&folder.join(named), admin)) {
            return Ok(());
        }
        let moved = renameat_with(CWD, &dot_git, CWD, folder.join(ASIDE), RenameFlags::NOREPLACE);
        moved.map_err(|error| WorktreeError::file("move aside", &dot_git, error))?;
    }
    super::restore_admin::point_tree(folder, admin)
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

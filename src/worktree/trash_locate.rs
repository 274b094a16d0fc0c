//! Tells whether a tree and its admin directory are the ones of the record.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::{WorktreeError, quoted_path};
use super::index_file::IndexFile;
use super::model::{Order, Repository, Tree};
use super::token::read_token;
use super::trash::{is_there, read_small};

/// Files of an index that are compared with what is on the disk, at most.
const MAX_COMPARED: usize = 1_000;

/// True when an admin directory carries this token.
pub(super) fn has_token(admin: &Path, token: &str) -> bool {
    read_token(admin).is_some_and(|order| order.token == token)
}

/// Where the tree of a record is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TreeAt {
    /// Here, and it is the one of the record.
    Here(PathBuf),
    /// Nowhere.
    Gone,
    /// Something else is in its place: what.
    Foreign(String),
}

/// Where the admin directory of a record is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AdminAt {
    /// Here, and it is the one of the record.
    Here(PathBuf),
    /// Nowhere.
    Gone,
    /// Something else has its name: what.
    Foreign(String),
}

/// Where `worktrees/<admin id>` of a record is.
///
/// # Errors
/// `NotOurs` when the record names no folder directly under `worktrees/`.
pub(super) fn admin_path(repo: &Repository, admin_id: &str) -> Result<PathBuf, WorktreeError> {
    let plain = !admin_id.is_empty() && !matches!(admin_id, "." | "..") && !admin_id.contains(['/', '\0']);
    let path = repo.common_dir.join("worktrees").join(admin_id);
    match plain {
        true => Ok(path),
        false => {
            Err(WorktreeError::NotOurs { path, reason: "the record names no admin directory".to_owned() })
        }
    }
}

/// Looks for the admin directory: ours when it carries the token of the order.
///
/// # Errors
/// As [`admin_path`]; `File` when it cannot be looked at.
pub(super) fn find_admin(repo: &Repository, order: &Order, tree: &Tree) -> Result<AdminAt, WorktreeError> {
    let path = admin_path(repo, &tree.admin_id)?;
    let facts = match std::fs::symlink_metadata(&path) {
        Ok(facts) => facts,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(AdminAt::Gone),
        Err(error) => return Err(WorktreeError::file("look at", path, error)),
    };
    if !facts.is_dir() {
        return Ok(AdminAt::Foreign("it is not a folder".to_owned()));
    }
    if !has_token(&path, &order.token) {
        return Ok(AdminAt::Foreign("it does not carry the lane's token".to_owned()));
    }
    Ok(match user_of(&path, tree) {
        Some(copy) => AdminAt::Foreign(format!("it is the one of {} now", quoted_path(&copy))),
        None => AdminAt::Here(path),
    })
}

/// Another folder than the record's that uses the admin directory: a copy that was made the real one.
fn user_of(admin: &Path, tree: &Tree) -> Option<PathBuf> {
    let folder = back_link(admin)?;
    let facts = std::fs::symlink_metadata(&folder).ok()?;
    let text = read_small(&folder.join(".git"), 1 << 16).ok()?;
    let uses = gitfile(&text).is_some_and(|named| same(&folder.join(named), admin));
    (uses && (facts.dev(), facts.ino()) != (tree.dev, tree.ino)).then_some(folder)
}

/// The folder that an admin directory says its tree is.
fn back_link(admin: &Path) -> Option<PathBuf> {
    let gitdir = read_small(&admin.join("gitdir"), 1 << 16).ok()?;
    let said = Path::new(std::ffi::OsStr::from_bytes(gitdir.strip_suffix(b"\n").unwrap_or(&gitdir)));
    // Newer versions of git can be told to write it relative to the admin directory.
    Some(admin.join(said).parent()?.to_path_buf())
}

/// Looks for the tree: at its place, else where the admin directory says it was moved to. It is ours when
/// it is the folder of the record (device and inode) and its `.git` file, if it still has one, names the
/// admin directory.
///
/// # Errors
/// `File` when the place cannot be looked at.
pub(super) fn find_tree(repo: &Repository, tree: &Tree) -> Result<TreeAt, WorktreeError> {
    let admin = admin_path(repo, &tree.admin_id)?;
    let at_place = judge(tree.path.as_path(), tree, &admin)?;
    if matches!(at_place, TreeAt::Here(_)) {
        return Ok(at_place);
    }
    match back_link(&admin).filter(|moved| moved != tree.path.as_path()) {
        Some(moved) => match judge(&moved, tree, &admin)? {
            TreeAt::Here(moved) => Ok(TreeAt::Here(moved)),
            TreeAt::Gone | TreeAt::Foreign(_) => Ok(at_place),
        },
        None => Ok(at_place),
    }
}

/// As [`find_tree`], for the tree of an order: a folder that another order's admin directory is for is that
/// one's, also when it is the folder of the record (a tree that was brought back whole is).
///
/// # Errors
/// As [`find_admin`] and [`find_tree`].
pub(super) fn find_tree_of(repo: &Repository, order: &Order, tree: &Tree) -> Result<TreeAt, WorktreeError> {
    let carried = read_token(&admin_path(repo, &tree.admin_id)?);
    Ok(match find_tree(repo, tree)? {
        TreeAt::Here(_place) if carried.is_some_and(|carried| carried.token != order.token) => {
            TreeAt::Foreign("it is the tree of another lane".to_owned())
        }
        found => found,
    })
}

fn judge(path: &Path, tree: &Tree, admin: &Path) -> Result<TreeAt, WorktreeError> {
    if !is_there(path)? {
        return Ok(TreeAt::Gone);
    }
    let facts =
        std::fs::symlink_metadata(path).map_err(|error| WorktreeError::file("look at", path, error))?;
    if !facts.is_dir() {
        return Ok(TreeAt::Foreign("a file or link is there instead".to_owned()));
    }
    if (facts.dev(), facts.ino()) != (tree.dev, tree.ino) {
        return Ok(TreeAt::Foreign("another folder is there instead".to_owned()));
    }
    let dot_git = path.join(".git");
    if !is_there(&dot_git)? {
        // Inode numbers are used again: an unmarked folder may be a new one.
        return Ok(match knows_a_file_of(&admin.join("index"), path) {
            true => TreeAt::Here(path.to_path_buf()),
            false => TreeAt::Foreign("it has no .git file".to_owned()),
        });
    }
    let text = read_small(&dot_git, 1 << 16).unwrap_or_default();
    Ok(match gitfile(&text).is_some_and(|named| same(&path.join(named), admin)) {
        true => TreeAt::Here(path.to_path_buf()),
        false => TreeAt::Foreign("its .git names another repository".to_owned()),
    })
}

/// True when the index remembers a file in the folder by its inode and time: the folder is the one that was
/// checked out.
fn knows_a_file_of(index: &Path, folder: &Path) -> bool {
    let Some(index) = [40, 64].iter().find_map(|oid_len| IndexFile::read(index, *oid_len).ok()) else {
        return false;
    };
    index.entries().take(MAX_COMPARED).any(|entry| {
        let path = folder.join(std::ffi::OsStr::from_bytes(entry.path()));
        let stat = entry.stat();
        std::fs::symlink_metadata(path).is_ok_and(|facts| {
            stat.mtime.0 != 0 && (facts.mtime() as u32, facts.ino() as u32) == (stat.mtime.0, stat.ino)
        })
    })
}

/// The path in a `.git` file.
pub(super) fn gitfile(bytes: &[u8]) -> Option<&Path> {
    let path = bytes.strip_prefix(b"gitdir: ")?;
    let end = path.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |at| at + 1);
    (end > 0).then(|| Path::new(std::ffi::OsStr::from_bytes(&path[..end])))
}

/// True when both paths mean the same; the last part need not be there.
fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| {
        let parent = path.parent()?.canonicalize().ok()?;
        Some(parent.join(path.file_name()?))
    };
    one == other || (real(one).is_some() && real(one) == real(other))
}

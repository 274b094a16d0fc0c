//! Trees that no lane has yet: templates and pooled trees, and what says so on the disk.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::WorktreeError;
use super::extras::EXTRAS_FILE;
use super::layout;
use super::model::{Order, Repository};
use super::provision::admin_dir_of;
use super::resolve::{admin_dirs, tree_of};
use super::token::{has_order, read_token};
use super::trash::remove_file_if_there;
use crate::clock::{self, Timestamp};
use crate::files;
use crate::ids::WorkspaceId;
use crate::raw::Raw;

/// The file in the admin directory.
const SPARE_FILE: &str = "lanes-spare.json";
/// A record is less than a kilobyte; what is larger is not one.
const MAX_SPARE_BYTES: u64 = 1 << 16;
/// What the names of spares begin with; then the home, then what makes it unique.
const PREFIX: &str = "spare-";
/// What the lock reason of a spare begins with; the boot id and the pid of its maker follow.
pub const SPARE_REASON: &str = "lanes spare";

/// What a spare is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpareKind {
    /// What others are made from; never handed out.
    Template,
    /// Handed out by a claim.
    Pooled,
}

impl SpareKind {
    /// The folder of a root that its trees lie in.
    pub const fn folder(self) -> &'static str {
        match self {
            Self::Template => ".template",
            Self::Pooled => ".pool",
        }
    }
}

/// What the admin directory of a spare says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spare {
    /// What it is for.
    pub kind: SpareKind,
    /// `LANES_HOME` of the runtime that made it: nobody else claims, changes or removes it.
    pub home: Raw,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The folder of all trees of the workspace.
    pub root: Raw,
    /// The tree.
    pub path: Raw,
    /// The commit that is checked out, detached.
    pub base: String,
    /// What else decided how the files look: settings, attributes, sparse patterns.
    pub print: String,
    /// The fingerprint of the `pool.prepare` that has run in it, and of the files that it names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prepared: Option<String>,
    /// False while it is being made: then it is rubbish once its maker is gone.
    pub ready: bool,
    /// When it was made, or brought to its base.
    pub at: Timestamp,
}

/// A spare as it is found on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What it says of itself.
    pub spare: Spare,
    /// The name of its admin entry, and of its folder.
    pub name: String,
    /// Device of the tree.
    pub dev: u64,
    /// Inode of the tree.
    pub ino: u64,
}

impl Kept {
    /// Its admin directory.
    pub fn admin(&self, repo: &Repository) -> PathBuf {
        repo.common_dir.join("worktrees").join(&self.name)
    }

    /// Its tree.
    pub fn tree(&self) -> &Path {
        self.spare.path.as_path()
    }
}

/// What an admin directory keeps of a spare that nobody has finished yet.
pub(super) fn unfinished(want: &Want, tree: &Path) -> Spare {
    Spare {
        kind: want.kind,
        home: want.home.clone(),
        workspace_id: want.workspace_id,
        root: want.root.clone(),
        path: tree.into(),
        base: want.base.clone(),
        print: want.print.clone(),
        prepared: None,
        ready: false,
        at: clock::now(),
    }
}

/// Says that a spare is whole: from now on it is one.
///
/// # Errors
/// `File`, `Record`.
pub(super) fn finish(admin: &Path, name: &str, spare: Spare) -> Result<Kept, WorktreeError> {
    let spare = Spare { ready: true, at: clock::now(), ..spare };
    let path = spare.path.as_path();
    let meta = fs::symlink_metadata(path).map_err(|error| WorktreeError::file("look at", path, error))?;
    write_spare(admin, &spare)?;
    Ok(Kept { spare, name: name.to_owned(), dev: meta.dev(), ino: meta.ino() })
}

/// Makes the folder that the trees of a kind lie in, and says where one of this name is to be.
///
/// # Errors
/// `File`, `Root`.
pub(super) fn place_of(
    repo: &Repository,
    root: &Path,
    kind: SpareKind,
    name: &str,
) -> Result<PathBuf, WorktreeError> {
    layout::make_again(repo, root)?;
    let folder = root.join(kind.folder());
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(|error| WorktreeError::file("make the folder", &folder, error))?;
    layout::check_private(&folder)?;
    Ok(folder.join(name))
}

/// A name that no other spare has.
pub fn spare_name(home: &Path) -> String {
    let unique = uuid::Uuid::new_v4().simple().to_string();
    format!("{}{}", prefix_of(home), &unique[..12])
}

/// True when a folder or entry of that name is a spare of this home, or what is left of one.
pub fn is_named_by(home: &Path, name: &str) -> bool {
    name.strip_prefix(&prefix_of(home)).is_some_and(|rest| !rest.is_empty())
}

fn prefix_of(home: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let digest = Sha256::digest(home.as_os_str().as_bytes());
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{hex}-")
}

/// Writes what a spare is into its admin directory.
///
/// # Errors
/// `File`, `Record`.
pub fn write_spare(admin: &Path, spare: &Spare) -> Result<(), WorktreeError> {
    let path = admin.join(SPARE_FILE);
    let text =
        serde_json::to_vec(spare).map_err(|source| WorktreeError::Record { path: path.clone(), source })?;
    files::replace(&path, &text).map_err(|error| WorktreeError::file("write", &path, error))
}

/// What an admin directory says of the spare it belongs to; none for a lane's, or one that cannot be read.
pub fn read_spare(admin: &Path) -> Option<Spare> {
    if has_order(admin) { None } else { read_record(admin) }
}

fn read_record(admin: &Path) -> Option<Spare> {
    let path = admin.join(SPARE_FILE);
    let meta = fs::symlink_metadata(&path).ok()?;
    if !meta.is_file() || meta.len() > MAX_SPARE_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The orders of claims that were cut off: the tree has an order, and is still the spare that it was. Nobody was
/// told of such a lane. Blocks.
pub fn half_claimed(repo: &Repository) -> Vec<Order> {
    let cut_off = |(_name, admin): (String, PathBuf)| {
        let spare = read_record(&admin)?;
        // One that was set aside is retired from where it lies.
        read_token(&admin).filter(|order| order.path != spare.path)
    };
    admin_dirs(&repo.common_dir).into_iter().filter_map(cut_off).collect()
}

/// Takes the record out: the tree is a lane's now.
///
/// # Errors
/// `File`.
pub fn forget_spare(admin: &Path) -> Result<(), WorktreeError> {
    for name in [EXTRAS_FILE, SPARE_FILE] {
        let path = admin.join(name);
        remove_file_if_there(&path).map_err(|error| WorktreeError::file("remove", path, error))?;
    }
    Ok(())
}

/// The spares of a home in a repository whose trees are in their places, ready or not. Blocks.
pub fn spares(repo: &Repository, home: &Path) -> Vec<Kept> {
    let kept = |(name, admin): (String, PathBuf)| {
        let spare = read_spare(&admin).filter(|spare| spare.home.as_path() == home)?;
        if tree_of(&admin).as_deref() != Some(spare.path.as_path())
            || admin_dir_of(repo, spare.path.as_path()).ok().as_ref() != Some(&admin)
        {
            return None;
        }
        let meta = fs::symlink_metadata(spare.path.as_path()).ok().filter(fs::Metadata::is_dir)?;
        Some(Kept { spare, name, dev: meta.dev(), ino: meta.ino() })
    };
    admin_dirs(&repo.common_dir).into_iter().filter_map(kept).collect()
}

/// What a spare is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    /// What it is for.
    pub kind: SpareKind,
    /// The runtime that makes it.
    pub home: Raw,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The folder of all trees of the workspace.
    pub root: Raw,
    /// The commit.
    pub base: String,
    /// What else decides how the files look.
    pub print: String,
    /// The boot and pid of the maker, for the lock.
    pub lock_reason: String,
}

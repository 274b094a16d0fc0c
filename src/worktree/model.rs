//! The values that the files of this folder pass around.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{LaneId, WorkspaceId};
use crate::raw::Raw;

/// A git repository as found on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The common git directory, canonical: what all worktrees share, and what identifies the repository.
    pub common_dir: PathBuf,
    /// The main checkout, canonical; none in a bare repository.
    pub main_tree: Option<PathBuf>,
    /// What people call it: the last part of its path without `.git`.
    pub name: String,
    /// Hexadecimal digits of an object id: 40 (SHA-1) or 64 (SHA-256).
    pub oid_len: usize,
    /// False when libgit2 cannot open it (SHA-256, reftable, unknown extensions): git is asked instead.
    pub libgit2: bool,
}

/// Where a lane starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Base {
    /// What was asked for, or the current branch.
    pub rev: String,
    /// The commit it meant at that time.
    pub sha: String,
    /// The full name of the ref, when it was a branch: what "merged" is judged against besides the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// The branch of a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branch {
    /// Short name, such as `lanes/a`.
    pub name: String,
    /// True when the lane made it; only such branches are ever deleted.
    pub created: bool,
}

/// What provisioning is asked to make. Written to the store before the first step (the intent), so that
/// `undo` can run after a crash at any step with nothing else known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Whose tree.
    pub lane_id: LaneId,
    /// The lane's name.
    pub name: String,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The secret that proves the tree ours; also in the admin directory.
    pub token: String,
    /// `LANES_HOME` of the runtime that owns the lane.
    pub home: Raw,
    /// The folder of all trees of the workspace.
    pub root: Raw,
    /// The tree.
    pub path: Raw,
    /// Where it starts.
    pub base: Base,
    /// Its branch; `created: true` means "make it", false "check out the one that is there".
    pub branch: Branch,
    /// `lanes <lane id> <boot id> <pid>`.
    pub lock_reason: String,
    /// Initialise submodules when the tree has any.
    pub submodules: bool,
    /// Globs of files that git does not track, copied from the main checkout (config `copy`, approved).
    pub copy: Vec<String>,
    /// Paths linked to the main checkout (config `link`, approved).
    pub link: Vec<String>,
}

/// A tree that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Where it is.
    pub path: Raw,
    /// The name of its admin directory under `worktrees/` of the common directory, as git chose it.
    pub admin_id: String,
    /// Device of the directory, to know it again.
    pub dev: u64,
    /// Inode of the directory.
    pub ino: u64,
    /// Its branch as provisioned.
    pub branch: Branch,
    /// The way it was made: `git`, later `copy`, `pool`, `overlay`.
    pub backend: String,
    /// Milliseconds from the first step to the last.
    pub ms: u64,
    /// What did not go as asked but did no harm, for people (a hook that was not run, a glob that matched nothing).
    pub notes: Vec<String>,
}

impl Tree {
    /// The tree of an order of which only the admin entry is known: no folder is ever taken for it.
    pub fn unseen(order: &Order, admin_id: &str) -> Self {
        Self {
            path: order.path.clone(),
            admin_id: admin_id.to_owned(),
            dev: 0,
            ino: 0,
            branch: order.branch.clone(),
            backend: "adopted".to_owned(),
            ms: 0,
            notes: Vec::new(),
        }
    }
}

/// What a lane has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Changes {
    /// Commits that the lane has and its target does not.
    pub ahead: u64,
    /// Commits that the target has and the lane does not.
    pub behind: u64,
    /// Files that differ from HEAD, untracked ones included.
    pub files: u64,
    /// Lines added against HEAD, in tracked text files.
    pub insertions: u64,
    /// Lines removed against HEAD, in tracked text files.
    pub deletions: u64,
}

/// What became of the files of a retired tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Saved {
    /// The renamed tree is there, saving goes on in the background.
    Pending,
    /// The renamed tree is kept as it is, and why.
    Whole {
        /// Nested repository, submodules, larger than the limit, could not be archived: in words.
        reason: String,
    },
    /// What could not be had from git again is in the archive, the rest is freed.
    Archived {
        /// Files, links and folders in the archive.
        files: u64,
        /// Size of the archive in bytes.
        bytes: u64,
    },
}

/// One retired lane in `.trash/<lane id>/`; the same text lies there as `entry.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrashEntry {
    /// What was asked for when the tree was made.
    pub order: Order,
    /// The tree as it was.
    pub tree: Tree,
    /// The commit that HEAD was at; none when the branch was unborn.
    pub head: Option<String>,
    /// The branch that HEAD was on (short name); none when detached.
    pub on_branch: Option<String>,
    /// True when our own branch was deleted, because what it had is elsewhere.
    pub branch_deleted: bool,
    /// Where our own branch was when it was deleted.
    #[serde(default)]
    pub branch_tip: Option<String>,
    /// Its settings in the repository's configuration, to be set again with it.
    #[serde(default)]
    pub branch_config: Vec<(Raw, Raw)>,
    /// Commits and staged blobs kept reachable through the vault.
    pub pins: Vec<String>,
    /// The commit in the vault that held them first; the chain may have been made anew since.
    pub vault_commit: Option<String>,
    /// What became of the files.
    pub saved: Saved,
    /// Why saving or freeing has to wait, and what helps; it is tried again from time to time.
    #[serde(default)]
    pub stays: Option<String>,
    /// When it was retired.
    pub at: Timestamp,
    /// False until the lane's admin entry is out and its branch dealt with: `retire` goes on from here.
    pub complete: bool,
    /// What was not as expected, for people (the tree was gone, something foreign was left alone).
    #[serde(default)]
    pub notes: Vec<String>,
}

//! Brings a retired tree back as the tree of a new lane.
//!
//! A transaction: `restoring.json` names the order before the first effect; after a failure, or by
//! [`roll_back`] after a crash, everything is in the trash again. The entry goes last, by one rename.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::archive::Manifest;
use super::archive_walk::open_top;
use super::error::WorktreeError;
use super::git::Git;
use super::model::{Branch, Order, Repository, Saved, TrashEntry, Tree};
use super::overlay::{self, Overlay};
use super::pace::Pace;
use super::pins_copy;
use super::remove::remove_tree;
use super::restore_admin;
use super::restore_branch::{self, Plan};
use super::restore_index;
use super::restore_modules;
use super::restore_unpack;
use super::token::found_tree;
use super::trash::{self, GONE_PREFIX, Spot, TRASH_DIR, is_there};
use super::trash_lock;
use super::trash_retire::{identity, rename_checked};
use crate::fault;
use crate::ids::LaneId;

/// What is being brought back where: all that [`roll_back`] needs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Restoring {
    pub order: Order,
    pub admin_id: String,
    pub dev: u64,
    pub ino: u64,
    pub from_archive: bool,
    /// The branches that are made again, and their commits.
    pub branch: Vec<(String, String)>,
}

/// The steps of [`bring_back`], in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestoreStep {
    /// The files are in the trash again, the intent is on the disk.
    Unpack,
    /// The branch is there again.
    Branch,
    /// The admin entry is there.
    Admin,
    /// The tree is in its place.
    Tree,
    /// The entry is out of the trash.
    Done,
}

/// Brings a retired tree back: its files as they were, its index, its unfinished operations, its reflogs and
/// submodules, as a locked worktree at `order.path` with the token and lock reason of `order`. Its branch is
/// made again when it was deleted with the lane; when it is elsewhere now or somebody else is on it, HEAD is
/// detached at the recorded commit and a note says so.
///
/// The branch of `order` is not used: the new lane's branch is in the returned [`Tree`], and is what the owner
/// token in the admin directory says. Once this has returned, the entry is out of the trash. After a crash call [`roll_back`] before anything
/// else looks at `order.path`.
///
/// # Errors
/// `PathTaken`, `NotOurs` for an entry that is not complete, else what git or the disk said. The entry is as
/// usable as before then.
pub async fn bring_back(
    git: &Git,
    repo: &Repository,
    entry: &TrashEntry,
    order: &Order,
) -> Result<Tree, WorktreeError> {
    match bring_back_until(git, repo, entry, order, RestoreStep::Done).await {
        Ok(tree) => Ok(tree),
        Err(error) => {
            // The first failure is the one to tell; rolling back is repeated by recovery, from the intent.
            let back = roll_back(git, repo, entry.order.root.as_path(), entry.order.lane_id).await;
            if let Err(second) = back {
                tracing::warn!(lane = %entry.order.lane_id, error = %second, "could not roll back a restore");
            }
            Err(error)
        }
    }
}

/// Does the steps of [`bring_back`] up to this one: what a crash after it leaves behind.
///
/// # Errors
/// As [`bring_back`]; nothing is rolled back.
#[doc(hidden)]
pub async fn bring_back_until(
    git: &Git,
    repo: &Repository,
    entry: &TrashEntry,
    order: &Order,
    last: RestoreStep,
) -> Result<Tree, WorktreeError> {
    let began = Instant::now();
    let spot = Spot::new(entry.order.root.as_path(), entry.order.lane_id);
    roll_back(git, repo, entry.order.root.as_path(), entry.order.lane_id).await?;
    let _lock = lock_spot(&spot).await?;
    let entry = usable(&spot)?;
    let path = order.path.to_path_buf();
    if is_there(&path)? {
        return Err(WorktreeError::PathTaken { path });
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| WorktreeError::file("make", parent, error))?;
    }
    let _was_missing = pins_copy::put_back(git, repo, &spot, &entry).await?;
    let from_archive = matches!(entry.saved, Saved::Archived { .. });
    fault::at("restore.unpack")?;
    let manifest = match from_archive {
        true => Some(restore_unpack::unpack(git, repo, &spot).await?),
        false => None,
    };
    fault::at("restore.unpacked")?;
    let source = if from_archive { spot.staging() } else { spot.tree() };
    if let Some(overlay) = overlay::of(entry.order.root.as_path(), entry.order.lane_id)? {
        overlay.bring_up(&source)?;
    }
    if !is_there(&source)? {
        // It was gone before the lane was retired: an empty tree, everything deleted.
        std::fs::create_dir(&source).map_err(|error| WorktreeError::file("make", &source, error))?;
    }
    let (dev, ino) = identity(&source)?;
    let plan = restore_branch::plan(git, repo, &entry).await?;
    let admin_id = restore_admin::free_name(repo, &path)?;
    let branch = branch_of(&entry, &plan);
    let order = Order { branch: branch.clone(), ..order.clone() };
    let intent = Restoring { order, admin_id, dev, ino, from_archive, branch: plan.create.clone() };
    trash::write_record(&spot.restoring(), &intent)?;
    fault::at("restore.intent")?;
    let work = Work { git, repo, spot: &spot, entry: &entry, intent: &intent, source: &source, plan: &plan };
    let mut notes = entry.notes.clone();
    notes.extend(plan.notes.clone());
    if last >= RestoreStep::Branch {
        restore_branch::create(git, repo, &spot, &entry, &plan).await?;
        fault::at("restore.branch")?;
    }
    if last >= RestoreStep::Admin {
        work.admin(manifest.as_ref(), &mut notes).await?;
        fault::at("restore.admin")?;
    }
    if last >= RestoreStep::Tree {
        work.tree(&mut notes).await?;
        fault::at("restore.tree")?;
    }
    if last >= RestoreStep::Done {
        if from_archive {
            sync_disk(&path).await?;
        }
        fault::at("restore.synced")?;
        notes.extend(forget(&spot, &Pace::full()).await?);
    }
    let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let Restoring { admin_id, order, .. } = intent;
    Ok(Tree { path: order.path, admin_id, dev, ino, branch, backend: "restore".to_owned(), ms, notes })
}

/// Puts everything of an unfinished [`bring_back`] into the trash again; nothing to do is success.
///
/// # Errors
/// What git or the disk said; may be repeated.
pub async fn roll_back(
    git: &Git,
    repo: &Repository,
    root: &Path,
    lane_id: LaneId,
) -> Result<(), WorktreeError> {
    let spot = Spot::new(root, lane_id);
    if !is_there(&spot.restoring())? {
        return Ok(());
    }
    let _lock = lock_spot(&spot).await?;
    let Some(intent) = trash::read_record::<Restoring>(&spot.restoring())? else { return Ok(()) };
    fault::at("rollback.begin")?;
    let place = intent.order.path.to_path_buf();
    if let Some(overlay) = overlay::of(intent.order.root.as_path(), intent.order.lane_id)? {
        put_back_overlay(&overlay, &place, &spot, lane_id)?;
    }
    if is_there(&place)? {
        let now = identity(&place)?;
        // Devices are numbered anew by a start of the machine; the token is what stays.
        let ours = now == (intent.dev, intent.ino) || found_tree(repo, &intent.order).is_ok();
        if ours && intent.from_archive {
            let _gone = remove_tree(&place, Some(now), &Pace::full())?;
        } else if ours {
            rename_checked(&place, &spot.tree(), now)?;
        }
    }
    let _gone = remove_tree(&spot.staging(), None, &Pace::full())?;
    fault::at("rollback.tree")?;
    restore_admin::withdraw(repo, &spot, &intent).await?;
    fault::at("rollback.admin")?;
    restore_branch::withdraw(git, repo, &intent).await?;
    fault::at("rollback.branch")?;
    trash::remove_file_if_there(&spot.restoring())
        .and_then(|()| trash::sync_parent(&spot.restoring()))
        .map_err(|error| WorktreeError::file("remove", spot.restoring(), error))
}

/// Puts an overlay that was moved to its new lane's place, or was about to be, into the trash again. One that
/// was unmounted since is mounted by whoever needs it.
fn put_back_overlay(
    overlay: &Overlay,
    place: &Path,
    spot: &Spot,
    lane_id: LaneId,
) -> Result<(), WorktreeError> {
    match overlay.place(place)? {
        overlay::Place::Mounted(dev, ino) => rename_checked(place, &spot.tree(), (dev, ino))?,
        overlay::Place::Bare => {
            std::fs::remove_dir(place).map_err(|error| WorktreeError::file("remove", place, error))?
        }
        overlay::Place::Missing | overlay::Place::Taken(_) => {}
    }
    if !is_there(&spot.tree())? {
        std::fs::create_dir(spot.tree()).map_err(|error| WorktreeError::file("make", spot.tree(), error))?;
    }
    let root = spot.dir.parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    overlay.hand_over(root, lane_id)
}

/// The lane that an entry is being brought back as. Blocks.
///
/// # Errors
/// `File` or `Record` when the intent cannot be read.
pub fn restoring_as(root: &Path, lane_id: LaneId) -> Result<Option<LaneId>, WorktreeError> {
    let intent = trash::read_record::<Restoring>(&Spot::new(root, lane_id).restoring())?;
    Ok(intent.map(|intent| intent.order.lane_id))
}

/// The archive goes when the files it had are on the disk, not only in memory.
async fn sync_disk(path: &Path) -> Result<(), WorktreeError> {
    let path = path.to_path_buf();
    let work = move |_pace: &Pace, _cancel: &CancellationToken| {
        let failed = |error: rustix::io::Errno| WorktreeError::file("sync", &path, error);
        rustix::fs::syncfs(open_top(&path).map_err(failed)?).map_err(failed)
    };
    Pace::full().run("syncing a restored tree", work).await
}

/// The branch of the new lane. One that is not as it was left is nobody's to delete.
fn branch_of(entry: &TrashEntry, plan: &Plan) -> Branch {
    let own = &entry.order.branch;
    match &plan.on_branch {
        Some(name) if *name == own.name => own.clone(),
        Some(name) => Branch { name: name.clone(), created: false },
        None if plan.detach.is_none() => own.clone(),
        None => Branch { name: own.name.clone(), created: false },
    }
}

async fn lock_spot(spot: &Spot) -> Result<std::fs::File, WorktreeError> {
    if !is_there(&spot.dir)? {
        let reason = "there is no such entry in the trash".to_owned();
        return Err(WorktreeError::NotOurs { path: spot.dir.clone(), reason });
    }
    trash_lock::lock_entry(spot).await
}

fn usable(spot: &Spot) -> Result<TrashEntry, WorktreeError> {
    match trash::load(spot)? {
        Some(entry) if entry.complete => Ok(entry),
        Some(_) | None => {
            let reason = "it is no complete entry of the trash".to_owned();
            Err(WorktreeError::NotOurs { path: spot.dir.clone(), reason })
        }
    }
}

/// Takes an entry out of the trash at once, then frees it. Gives what could not be freed now, and what helps;
/// the next `empty` tries again.
pub(super) async fn forget(spot: &Spot, pace: &Pace) -> Result<Option<String>, WorktreeError> {
    let gone = gone_name(spot);
    std::fs::rename(&spot.dir, &gone).map_err(|error| WorktreeError::file("remove", &spot.dir, error))?;
    // It is done now: whoever calls may not take anything back that only the entry could bring again.
    if let Err(error) = trash::sync_parent(&spot.dir) {
        tracing::warn!(entry = %spot.dir.display(), %error, "after a power cut it may be in the trash again");
    }
    fault::pass("forget.taken");
    let work = move |pace: &Pace, _cancel: &CancellationToken| free(&gone, pace);
    let left = pace.run("freeing an entry of the trash", work).await.err().map(|error| error.with_hint());
    tidy(&spot.dir);
    Ok(left)
}

/// Frees an entry that is out of the trash already.
pub(super) fn free(gone: &Path, pace: &Pace) -> Result<(), WorktreeError> {
    let name = gone.file_name().and_then(|name| name.to_str()?.strip_prefix(GONE_PREFIX)?.parse().ok());
    if let (Some(lane_id), Some(root)) = (name, gone.parent().and_then(Path::parent)) {
        overlay::discard(root, lane_id, &gone.join("tree"), pace)?;
    }
    remove_tree(gone, None, pace).map(drop)
}

/// Removes the folder of the trash when it is empty.
pub(super) fn tidy(entry_dir: &Path) {
    if let Some(trash) = entry_dir.parent().filter(|trash| trash.ends_with(TRASH_DIR)) {
        let _not_empty = std::fs::remove_dir(trash);
    }
}

fn gone_name(spot: &Spot) -> PathBuf {
    let mut name = std::ffi::OsString::from(GONE_PREFIX);
    name.push(spot.dir.file_name().unwrap_or_default());
    spot.dir.with_file_name(name)
}

struct Work<'a> {
    git: &'a Git,
    repo: &'a Repository,
    spot: &'a Spot,
    entry: &'a TrashEntry,
    intent: &'a Restoring,
    source: &'a Path,
    plan: &'a Plan,
}

impl Work<'_> {
    async fn admin(&self, manifest: Option<&Manifest>, notes: &mut Vec<String>) -> Result<(), WorktreeError> {
        let stage = restore_admin::stage(self.repo, self.spot, self.intent)?;
        if let Some(manifest) = manifest {
            let top =
                open_top(self.source).map_err(|error| WorktreeError::file("open", self.source, error))?;
            let done = restore_index::restamp(&stage.join("index"), self.repo.oid_len, &manifest.items, &top);
            if let Err(error) = done {
                notes.push(format!("git will look at every file again: {error}"));
            }
        }
        fault::at("restore.staged")?;
        let admin = restore_admin::publish(self.repo, self.spot, self.intent).await?;
        fault::at("restore.published")?;
        restore_branch::settle_head(self.git, &admin, self.plan).await?;
        restore_admin::point_tree(self.source, &admin)
    }

    async fn tree(&self, notes: &mut Vec<String>) -> Result<(), WorktreeError> {
        let place = self.intent.order.path.to_path_buf();
        if let Some(overlay) = overlay::of(self.entry.order.root.as_path(), self.entry.order.lane_id)? {
            overlay.hand_over(self.intent.order.root.as_path(), self.intent.order.lane_id)?;
            fault::at("overlay.moved")?;
        }
        rename_checked(self.source, &place, (self.intent.dev, self.intent.ino))?;
        fault::at("restore.moved")?;
        let admin = self.repo.common_dir.join("worktrees").join(&self.intent.admin_id);
        if is_there(&admin.join("modules"))? {
            notes.extend(restore_modules::point(self.git, &admin, &place).await?);
        }
        if !is_there(&admin.join("index"))? && !is_there(&self.spot.admin())? {
            restore_branch::fresh_index(self.git, self.entry, &admin).await?;
        }
        Ok(())
    }
}

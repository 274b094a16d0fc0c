//! Retires a lane's tree: pins, the rename into the trash, the admin entry, the branch.
//!
//! The intent (`entry.json` with `complete: false`) is on the disk before the first step. Each step looks
//! at the disk for what is left of it to do, so that the call can be repeated after a crash anywhere.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode as FileMode, OFlags};

use super::archive_walk::{open_dir, open_top};
use super::error::{WorktreeError, quoted, quoted_path};
use super::git::{Git, Mode, Place};
use super::in_use;
use super::model::{Order, Repository, Saved, TrashEntry, Tree};
use super::overlay;
use super::overlay_mount::rename_mounted;
use super::pace::Pace;
use super::pins::{self, plain};
use super::pins_copy;
use super::pins_vault::{self, Link};
use super::refs_files;
use super::remove::{c_name, open_beneath, own_again, remove_tree};
use super::reserve;
use super::token::lock_reason;
use super::trash::{self, Spot, is_there};
use super::trash_branch;
use super::trash_locate::{AdminAt, TreeAt, find_admin, find_tree_of};
use super::trash_lock;
use super::trash_move::move_folder;
use crate::{clock, fault};

/// The steps of [`retire`], in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetireStep {
    /// The intent is on the disk.
    Intent,
    /// The vault holds what only the lane held.
    Pin,
    /// The tree is in the trash.
    Tree,
    /// The admin directory is in the trash.
    Admin,
    /// Our own branch is deleted, if it was merged.
    Branch,
    /// The entry is complete.
    Done,
}

/// Takes a lane's tree out of the repository without losing anything: fast, idempotent, to be called again
/// after a crash. What was removed from outside is no error; what was put in its place is not touched and
/// said in the entry's notes.
///
/// # Errors
/// `NotOurs` when the record does not fit the trash entry; otherwise what git or the disk said. Calling
/// again goes on where it stopped.
pub async fn retire(
    git: &Git,
    repo: &Repository,
    order: &Order,
    tree: &Tree,
) -> Result<TrashEntry, WorktreeError> {
    match retire_until(git, repo, order, tree, RetireStep::Done).await {
        Err(error) if error.is_disk_full() && reserve::release(order.root.as_path()) => {
            retire_until(git, repo, order, tree, RetireStep::Done).await
        }
        other => other,
    }
}

/// Does the steps of [`retire`] up to this one: what a crash after it leaves behind.
///
/// # Errors
/// As [`retire`].
#[doc(hidden)]
pub async fn retire_until(
    git: &Git,
    repo: &Repository,
    order: &Order,
    tree: &Tree,
    last: RetireStep,
) -> Result<TrashEntry, WorktreeError> {
    let spot = Spot::new(order.root.as_path(), order.lane_id);
    let tree = &overlay::settled(order, tree)?;
    let mut entry = match trash::load(&spot)? {
        Some(entry) if entry.order.token == order.token => entry,
        Some(_other) => {
            let reason = "the trash holds another tree under this lane's id".to_owned();
            return Err(WorktreeError::NotOurs { path: spot.dir, reason });
        }
        None => begin(git, repo, order, tree, &spot).await?,
    };
    if !entry.complete {
        // Devices are numbered anew by a start of the machine; who calls has looked at the tree since.
        (entry.tree.dev, entry.tree.ino) = (tree.dev, tree.ino);
    }
    fault::at("retire.intent")?;
    let work = Retiring { git, repo, spot: &spot };
    if !entry.complete && last >= RetireStep::Pin {
        work.pin(&mut entry).await?;
        fault::at("retire.pin")?;
    }
    if !entry.complete && last >= RetireStep::Tree {
        work.move_tree(&mut entry)?;
        fault::at("retire.tree")?;
    }
    if !entry.complete && last >= RetireStep::Admin {
        work.move_admin(&mut entry).await?;
        fault::at("retire.admin")?;
    }
    if !entry.complete && last >= RetireStep::Branch {
        trash_branch::delete_if_merged(git, repo, &spot, &mut entry).await?;
        fault::at("retire.branch")?;
    }
    if !entry.complete && last >= RetireStep::Done {
        entry.complete = true;
        trash::store(&spot, &entry)?;
    }
    fault::at("retire.done")?;
    Ok(entry)
}

/// What retiring would find that is not as expected, for people. Changes nothing.
///
/// # Errors
/// `NotOurs` for a record that names no admin directory, `File` when something cannot be looked at.
pub fn foretell(repo: &Repository, order: &Order, tree: &Tree) -> Result<Vec<String>, WorktreeError> {
    if let Some(error) = overlay::unmounted(order)? {
        return Ok(vec![error.to_string()]);
    }
    let (_admin, mut notes) = look(repo, order, tree)?;
    notes.extend(mounted(repo, order, tree)?);
    Ok(notes)
}

/// The admin directory, if it is there, and what is not as expected.
fn look(
    repo: &Repository,
    order: &Order,
    tree: &Tree,
) -> Result<(Option<PathBuf>, Vec<String>), WorktreeError> {
    let mut notes = Vec::new();
    let admin = match find_admin(repo, order, tree)? {
        AdminAt::Here(admin) => {
            notes.extend(foreign_lock(&admin));
            Some(admin)
        }
        AdminAt::Gone => {
            notes.push("its entry in git had been removed before: what was staged is not known".to_owned());
            None
        }
        AdminAt::Foreign(what) => {
            notes.push(format!("its entry in git, {}, was left alone: {what}", tree.admin_id));
            None
        }
    };
    match find_tree_of(repo, order, tree)? {
        TreeAt::Here(_place) => {}
        TreeAt::Gone => {
            notes.push("its files had been removed before: only what was committed is left".to_owned());
        }
        TreeAt::Foreign(what) => notes.push(left_alone(tree, &what)),
    }
    Ok((admin, notes))
}

async fn begin(
    git: &Git,
    repo: &Repository,
    order: &Order,
    tree: &Tree,
    spot: &Spot,
) -> Result<TrashEntry, WorktreeError> {
    let (admin, notes) = look(repo, order, tree)?;
    let branch_ref = format!("refs/heads/{}", order.branch.name);
    let (head, on_branch) = match &admin {
        Some(admin) => {
            let place = Place::git_dir(admin);
            (commit_of(git, &place, "HEAD").await?, branch_of(git, repo, admin).await?)
        }
        None => {
            let head = commit_of(git, &Place::repository(repo), &branch_ref).await?;
            let on_branch = head.is_some().then(|| order.branch.name.clone());
            (head, on_branch)
        }
    };
    let entry = TrashEntry {
        order: order.clone(),
        tree: tree.clone(),
        head,
        on_branch,
        branch_deleted: false,
        branch_tip: None,
        branch_config: Vec::new(),
        pins: Vec::new(),
        vault_commit: None,
        saved: Saved::Pending,
        stays: mounted(repo, order, tree)?,
        at: clock::now(),
        complete: false,
        notes,
    };
    fault::at("retire.begin")?;
    trash::make_spot(spot)?;
    trash::store(spot, &entry)?;
    Ok(entry)
}

/// What stays in the place of the tree, for people.
fn left_alone(tree: &Tree, what: &str) -> String {
    let place = quoted_path(tree.path.as_path());
    format!("{place} was left alone, as {what}: look at it, and remove it yourself when nobody needs it")
}

/// A lock of the tree that is not ours.
fn foreign_lock(admin: &Path) -> Option<String> {
    let reason = lock_reason(admin).filter(|reason| !reason.starts_with("lanes "))?;
    Some(format!("somebody had locked it: {}", quoted(&reason)))
}

/// What is mounted in the tree goes with it, and keeps it from being saved.
fn mounted(repo: &Repository, order: &Order, tree: &Tree) -> Result<Option<String>, WorktreeError> {
    let TreeAt::Here(from) = find_tree_of(repo, order, tree)? else { return Ok(None) };
    let mounts = in_use::mounts_below(&from);
    let spot = Spot::new(order.root.as_path(), order.lane_id);
    let inside = mounts.first().and_then(|at| at.strip_prefix(&from).ok());
    Ok(inside.map(|inside| in_use::mounted_at(&spot.tree().join(inside))))
}

pub(super) async fn commit_of(git: &Git, place: &Place, rev: &str) -> Result<Option<String>, WorktreeError> {
    let rev = format!("{rev}^{{commit}}");
    let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", rev.as_str()];
    let found = git.run(plain(git, Mode::Look, place, &args), git.timeout()).await?.found("git rev-parse")?;
    // git before 2.30 prints the option that ends options, too.
    Ok(found.map(|found| found.text().lines().last().unwrap_or_default().to_owned()))
}

pub(super) async fn branch_of(
    git: &Git,
    repo: &Repository,
    admin: &Path,
) -> Result<Option<String>, WorktreeError> {
    if let Some(target) = refs_files::symbolic(repo, &admin.join("HEAD")) {
        return Ok(target.and_then(|name| name.strip_prefix("refs/heads/").map(str::to_owned)));
    }
    let symbolic = plain(git, Mode::Look, &Place::git_dir(admin), &["symbolic-ref", "--quiet", "HEAD"]);
    let target = git.run(symbolic, git.timeout()).await?.found("git symbolic-ref")?;
    Ok(target.and_then(|target| target.text().strip_prefix("refs/heads/").map(str::to_owned)))
}

struct Retiring<'a> {
    git: &'a Git,
    repo: &'a Repository,
    spot: &'a Spot,
}

impl Retiring<'_> {
    async fn pin(&self, entry: &mut TrashEntry) -> Result<(), WorktreeError> {
        if is_there(&self.spot.admin())? {
            return Ok(());
        }
        let found = find_admin(self.repo, &entry.order, &entry.tree)?;
        let admin = match found {
            AdminAt::Here(admin) => {
                // Since the intent was written somebody may have worked on: the store was set back, and the
                // lane was open again.
                entry.head = commit_of(self.git, &Place::git_dir(&admin), "HEAD").await?;
                entry.on_branch = branch_of(self.git, self.repo, &admin).await?;
                admin
            }
            AdminAt::Gone | AdminAt::Foreign(_) if entry.vault_commit.is_some() => return Ok(()),
            // Nothing to read: HEAD and the branch are pinned all the same.
            AdminAt::Gone | AdminAt::Foreign(_) => self.spot.admin(),
        };
        let branch = entry.order.branch.created.then_some(entry.order.branch.name.as_str());
        let held = pins::collect(self.git, self.repo, &admin, entry.head.as_deref(), branch).await?;
        let names = held.names();
        if entry.vault_commit.is_some() && names.iter().all(|name| entry.pins.contains(name)) {
            return Ok(());
        }
        entry.pins = names;
        entry.notes.extend(held.notes);
        pins_copy::keep(self.git, self.repo, self.spot, entry).await;
        // Until the entry says what it pins, nobody may make the chain anew.
        let _lock = trash_lock::lock(self.repo).await?;
        if !entry.pins.is_empty() {
            let link = Link {
                lane_id: entry.order.lane_id,
                at: entry.at,
                commits: &held.commits,
                objects: &held.objects,
            };
            let root = entry.order.root.as_path();
            entry.vault_commit = Some(pins_vault::hold(self.git, self.repo, root, &link).await?);
            fault::at("retire.held")?;
        }
        trash::store(self.spot, entry)
    }

    fn move_tree(&self, entry: &mut TrashEntry) -> Result<(), WorktreeError> {
        if is_there(&self.spot.tree())? {
            return Ok(());
        }
        match find_tree_of(self.repo, &entry.order, &entry.tree)? {
            TreeAt::Here(place) => {
                rename_checked(&place, &self.spot.tree(), (entry.tree.dev, entry.tree.ino))
            }
            TreeAt::Gone => Ok(()),
            TreeAt::Foreign(what) => {
                let note = left_alone(&entry.tree, &what);
                if !entry.notes.contains(&note) {
                    entry.notes.push(note);
                }
                trash::store(self.spot, entry)
            }
        }
    }

    async fn move_admin(&self, entry: &mut TrashEntry) -> Result<(), WorktreeError> {
        let AdminAt::Here(admin) = find_admin(self.repo, &entry.order, &entry.tree)? else { return Ok(()) };
        let to = self.spot.admin();
        let _lock = trash_lock::lock(self.repo).await?;
        if is_there(&to)? {
            // A crash after the copy across file systems was complete.
            let _gone = remove_tree(&admin, None, &Pace::full())?;
            return Ok(());
        }
        move_folder(&admin, &to)
    }
}

/// Renames a folder and makes sure that it was the one that was meant; if not, it goes back.
pub(super) fn rename_checked(from: &Path, to: &Path, expect: (u64, u64)) -> Result<(), WorktreeError> {
    let failed = |source: rustix::io::Errno| WorktreeError::file("move", from, source);
    let (Some(above), Some(name)) = (from.parent(), from.file_name()) else {
        return Err(WorktreeError::NotOurs { path: from.to_path_buf(), reason: "it has no name".to_owned() });
    };
    let (Some(into), Some(new_name)) = (to.parent(), to.file_name()) else {
        return Err(WorktreeError::NotOurs { path: to.to_path_buf(), reason: "it has no name".to_owned() });
    };
    let above = open_top(above).map_err(failed)?;
    let into = open_top(into).map_err(failed)?;
    let flags = rustix::fs::RenameFlags::NOREPLACE;
    let rename = || rustix::fs::renameat_with(&above, name, &into, new_name, flags);
    match rename() {
        // To move a folder is to change its `..`, which needs the right to write to it.
        Err(rustix::io::Errno::ACCESS) => {
            let (folder, mode) = make_writable(&above, name, expect).map_err(failed)?;
            let renamed = rename();
            rustix::fs::fchmod(&folder, mode).map_err(failed)?;
            renamed.map_err(failed)?;
        }
        // The folder of an overlay.
        Err(rustix::io::Errno::BUSY) => {
            rename_mounted(from, (above.as_fd(), name), (into.as_fd(), new_name)).map_err(failed)?;
        }
        other => other.map_err(failed)?,
    }
    let stat = rustix::fs::statat(&into, new_name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
    if (stat.st_dev, stat.st_ino) == expect {
        return Ok(());
    }
    match rustix::fs::renameat_with(&into, new_name, &above, name, flags) {
        Err(rustix::io::Errno::BUSY) => rename_mounted(to, (into.as_fd(), new_name), (above.as_fd(), name)),
        other => other,
    }
    .map_err(failed)?;
    let reason = "another folder was put in its place just now".to_owned();
    Err(WorktreeError::NotOurs { path: from.to_path_buf(), reason })
}

/// Gives the owner all rights on a folder, and returns it with the mode that it had.
fn make_writable(
    above: &OwnedFd,
    name: &OsStr,
    expect: (u64, u64),
) -> rustix::io::Result<(OwnedFd, FileMode)> {
    let before = rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = FileMode::from_raw_mode(before.st_mode & 0o7777);
    if (before.st_dev, before.st_ino) != expect {
        return Err(rustix::io::Errno::ACCESS);
    }
    // One that its owner may not even read is opened through what cannot be exchanged for a link.
    let handle = open_beneath(above.as_fd(), &c_name(name.as_encoded_bytes()), OFlags::PATH)?;
    own_again(handle.as_fd())?;
    let folder = open_dir(above, name)?;
    let stat = rustix::fs::fstat(&folder)?;
    if (stat.st_dev, stat.st_ino) != expect {
        return Err(rustix::io::Errno::ACCESS);
    }
    Ok((folder, mode))
}

/// The folder's device and inode.
pub(super) fn identity(path: &Path) -> Result<(u64, u64), WorktreeError> {
    let facts =
        std::fs::symlink_metadata(path).map_err(|error| WorktreeError::file("look at", path, error))?;
    Ok((facts.dev(), facts.ino()))
}

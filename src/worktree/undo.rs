//! Takes back a provisioning, from its order alone, however far it came.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::blocking::blocking;
use super::discover::gitfile_target;
use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::model::{Order, Repository};
use super::pace::Pace;
use super::provision::{LOCK_PATIENCE, MARK};
use super::resolve::{admin_dirs, heads, tree_of};
use super::spare::SpareKind;
use super::{begun, layout, lock::WorkspaceLock, overlay, remove::remove_tree, token};
use crate::fault;
use crate::ids::LaneId;

/// How often processes that a crashed provisioning left are looked for and killed; one may just fork.
const KILL_ROUNDS: u32 = 100;
/// The pauses before what failed is tried again: a busy lock, a disk that is full for a moment.
const PAUSES: [Duration; 3] = [Duration::from_millis(50), Duration::from_millis(250), Duration::from_secs(1)];
/// The pause between such rounds.
const KILL_PAUSE: Duration = Duration::from_millis(10);

/// Removes what provisioning of this order made: its processes, tree, admin entry, and the branch when we
/// made it, it still is at the base, and nobody else has it checked out; and the root when nothing else is in
/// it. Idempotent; what is not provably of
/// this order is not touched.
///
/// What fails is tried again a few times: whoever asks forgets the order afterwards, and what is left then is
/// left for good.
///
/// # Errors
/// `RemoveTree`, `File`, `Lock`, those of git. It may be repeated.
pub async fn undo(git: &Git, repo: &Repository, order: &Order) -> Result<(), WorktreeError> {
    end_processes(order).await;
    for pause in PAUSES {
        match undo_once(git, repo, order).await {
            Ok(()) => return Ok(()),
            Err(error) => {
                tracing::warn!(lane = %order.lane_id, %error, "could not undo a provisioning, trying again");
                tokio::time::sleep(pause).await;
            }
        }
    }
    undo_once(git, repo, order).await
}

async fn undo_once(git: &Git, repo: &Repository, order: &Order) -> Result<(), WorktreeError> {
    let (repo_, order_) = (repo.clone(), order.clone());
    let held =
        WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, &format!("undo of {}", order.name)).await?;
    fault::at("undo.begin")?;
    let removing = blocking("undoing", move || take_out(&repo_, &order_)).await?;
    drop_branch(git, repo, order).await?;
    fault::at("undo.branch")?;
    drop(held);
    blocking("undoing", move || {
        removing.iter().try_for_each(|path| remove_tree(path, None, &Pace::full()).map(|_removed| ()))
    })
    .await?;
    fault::at("undo.removed")?;
    layout::release(repo, order.root.as_path());
    Ok(())
}

/// The lanes of which an undo that was cut off has left something in a root of trees or in the repository.
/// Blocks.
pub fn half_undone(repo: &Repository, root: &Path) -> BTreeSet<LaneId> {
    let lane = |entry: fs::DirEntry| {
        let name = entry.file_name();
        name.to_str()?.strip_prefix(ASIDE)?.rsplit_once('-')?.0.parse().ok()
    };
    let folders = [root, &repo.common_dir].map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
    folders.into_iter().flatten().filter_map(lane).collect()
}

/// What the name of something begins with that is being deleted.
const ASIDE: &str = ".lanes-undo-";

/// Where a tree or admin entry lies while it is being deleted.
fn aside(folder: &Path, order: &Order, what: &str) -> PathBuf {
    folder.join(format!("{ASIDE}{}-{what}", order.lane_id))
}

/// Where the admin entry of an order is made by hand, before git sees it: what is there is to be deleted
/// once nobody makes it any more.
pub(super) fn stage_of(repo: &Repository, order: &Order) -> PathBuf {
    aside(&repo.common_dir, order, "stage")
}

/// Renames the tree and the admin entry of the order out of the way; what is to be deleted comes back.
fn take_out(repo: &Repository, order: &Order) -> Result<Vec<PathBuf>, WorktreeError> {
    let path = order.path.as_path();
    let above = path.parent().unwrap_or(Path::new("/"));
    let tree_aside = aside(above, order, "tree");
    let pooled_aside = aside(order.root.as_path(), order, "pooled");
    let admin_aside = aside(&repo.common_dir, order, "admin");
    let all = admin_dirs(&repo.common_dir);
    let ours: Vec<_> = all.iter().map(|(_id, dir)| dir).filter(|dir| token::is_of(dir, order)).collect();
    let layers_aside = aside(order.root.as_path(), order, "layers");
    overlay::set_aside(order.root.as_path(), order.lane_id, path, &layers_aside)?;
    // The tree goes first: its admin entry is what proves it ours. A claim may have been cut off before it
    // came to move the tree out of the pool.
    let pool = order.root.as_path().join(SpareKind::Pooled.folder());
    let pooled = ours.iter().filter_map(|dir| Some((pool.join(dir.file_name()?), &pooled_aside)));
    for (place, aside) in std::iter::once((path.to_path_buf(), &tree_aside)).chain(pooled) {
        if is_our_tree(&place, &ours) {
            // What an earlier undo did not come to delete.
            let _before = remove_tree(aside, None, &Pace::full())?;
            fs::rename(&place, aside).map_err(|error| WorktreeError::file("move away", place, error))?;
        }
    }
    fault::at("undo.tree")?;
    for dir in ours {
        let _before = remove_tree(&admin_aside, None, &Pace::full())?;
        fs::rename(dir, &admin_aside).map_err(|error| WorktreeError::file("move away", dir, error))?;
    }
    fault::at("undo.admin")?;
    if let Some(name) = path.file_name().and_then(OsStr::to_str) {
        begun::remove(&repo.common_dir, name, &order.lock_reason);
    }
    // Removes an empty folder only.
    let _not_empty_or_gone = fs::remove_dir(path);
    let stage = stage_of(repo, order);
    Ok([tree_aside, pooled_aside, layers_aside, admin_aside, stage]
        .into_iter()
        .filter(|aside| aside.symlink_metadata().is_ok())
        .collect())
}

/// True when the folder is the tree of one of our admin entries and no other one.
fn is_our_tree(path: &Path, ours: &[&PathBuf]) -> bool {
    if !path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return false;
    }
    let canonical = fs::canonicalize(path).ok();
    let claims = |dir: &&PathBuf| tree_of(dir).and_then(|tree| fs::canonicalize(tree).ok()) == canonical;
    match gitfile_target(&path.join(".git")) {
        Some(target) => {
            let target = fs::canonicalize(path.join(target)).ok();
            ours.iter().any(|dir| target.as_ref() == Some(*dir))
        }
        None => path.join(".git").symlink_metadata().is_err() && ours.iter().any(claims),
    }
}

/// Deletes our branch when that loses nothing.
async fn drop_branch(git: &Git, repo: &Repository, order: &Order) -> Result<(), WorktreeError> {
    if !order.branch.created {
        return Ok(());
    }
    let known = heads(git, repo).await?;
    let Some(head) = known.iter().find(|head| head.name == order.branch.name) else { return Ok(()) };
    if head.sha != order.base.sha || head.checked_out.is_some() {
        return Ok(());
    }
    let full = format!("refs/heads/{}", order.branch.name);
    let args = ["update-ref", "--no-deref", "-d", full.as_str(), order.base.sha.as_str()];
    git.ask(Mode::Write, &Place::repository(repo), args).await.map(|_said| ())
}

/// Ends what a provisioning that nobody waits for any more has running: git, its filters, its hooks.
async fn end_processes(order: &Order) {
    let lane = order.lane_id.to_string();
    end_marked(move |mark| mark == lane.as_bytes()).await;
}

/// Ends our processes whose mark is one of these.
pub(super) async fn end_marked(is_one: impl Fn(&[u8]) -> bool + Send + Sync + 'static) {
    let is_one = Arc::new(is_one);
    for _round in 0..KILL_ROUNDS {
        let is_one = is_one.clone();
        let search = tokio::task::spawn_blocking(move || marked(&*is_one));
        let found = search.await.unwrap_or_default();
        if found.is_empty() {
            return;
        }
        for pid in found {
            // Fails only when it has ended meanwhile.
            let _gone = kill_process(pid, Signal::KILL);
        }
        tokio::time::sleep(KILL_PAUSE).await;
    }
}

/// Our own user's processes whose environment has such a mark, zombies and ourselves left out.
fn marked(is_one: &dyn Fn(&[u8]) -> bool) -> Vec<Pid> {
    let own = rustix::process::geteuid().as_raw();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let mark = |entry: &[u8]| {
        let value = entry.strip_prefix(MARK.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        value.is_some_and(is_one)
    };
    let is_marked = |process: fs::DirEntry| {
        let number: i32 = process.file_name().to_str()?.parse().ok()?;
        let pid = Pid::from_raw(number)?;
        if pid == rustix::process::getpid() || process.metadata().ok()?.uid() != own {
            return None;
        }
        let environment = fs::read(process.path().join("environ")).ok()?;
        environment.split(|byte| *byte == 0).any(mark).then_some(pid)
    };
    processes.filter_map(Result::ok).filter_map(is_marked).collect()
}

//! Makes the tree of an order as an overlay over a template.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::blocking::blocking;
use super::branch_take::{self, Taken};
use super::claim::check_base;
use super::entry;
use super::error::WorktreeError;
use super::git::Git;
use super::lock::WorkspaceLock;
use super::model::{Order, Repository};
use super::overlay::{self, Layered, Overlay, SOURCE};
use super::overlay_mount::{self, Folders};
use super::pace::Pace;
use super::provision::LOCK_PATIENCE;
use super::remove::remove_tree;
use super::restore_admin::free_name;
use super::spare::Kept;
use super::template::check_template;
use super::token::hand_token;
use super::trash::is_there;
use super::trash_retire::{identity, rename_checked};
use super::undo::stage_of;
use crate::fault;

/// What is done, for people.
pub(super) const MOUNTING: &str = "mounting an overlay";

/// Roots that were found fit. What is not fit is looked at each time: somebody may have mended it.
static FIT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Says why no overlay can be in a root: mounts one there, once, and takes it away. Of a root that is not there
/// yet only the rights to do so are looked at. Blocks.
///
/// # Errors
/// `OverlayRefused` with the reason.
pub fn probe(root: &Path) -> Result<(), WorktreeError> {
    let known = |fit: &BTreeSet<PathBuf>| fit.contains(root);
    if known(&FIT.lock().unwrap_or_else(PoisonError::into_inner)) {
        return Ok(());
    }
    let refuse = |reason: String| WorktreeError::OverlayRefused { reason };
    may_mount().map_err(refuse)?;
    // One that is not there yet is made with its mark, by whoever needs it; then it is asked again.
    if !root.is_dir() {
        return Ok(());
    }
    let scratch = root.join(overlay::OVERLAY_DIR).join(format!(".probe-{}", uuid::Uuid::new_v4().simple()));
    let tried = try_out(&scratch);
    let _gone =
        overlay_mount::unmount(&scratch.join("at")).or_else(|_| overlay_mount::unmount(&scratch.join("to")));
    let removed = remove_tree(&scratch, None, &Pace::full());
    overlay::tidy(root);
    tried.map_err(refuse)?;
    removed.map(drop)?;
    FIT.lock().unwrap_or_else(PoisonError::into_inner).insert(root.to_path_buf());
    Ok(())
}

/// A mount in a user namespace is seen by nobody outside of it: the user's own tools would find empty folders.
fn may_mount() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("mounting takes root's rights, and the daemon does not have them".to_owned());
    }
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut fields = map.split_ascii_whitespace();
    if (fields.next(), fields.next(), fields.next()) != (Some("0"), Some("0"), Some("4294967295")) {
        return Err("in a user namespace its mounts could not be seen from outside".to_owned());
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    // A module is loaded by the first mount.
    let can_load = Path::new("/proc/modules").exists();
    if !can_load && !known.lines().any(|line| line.ends_with("\toverlay")) {
        return Err("this kernel has no overlayfs".to_owned());
    }
    Ok(())
}

/// Does to an overlay what a lane needs of one.
fn try_out(scratch: &Path) -> Result<(), String> {
    let said = |what: &'static str| move |error: io::Error| format!("{what} failed: {error}");
    let folder = |name: &str| scratch.join(name);
    for name in ["lower/d", "upper", "work", "at"] {
        overlay::make_below(&folder(name)).map_err(|error| error.to_string())?;
    }
    fs::write(folder("lower/d/f"), "f").map_err(said("a file"))?;
    let at = folder("at");
    let folders = Folders { lower: &folder("lower"), upper: &folder("upper"), work: &folder("work") };
    overlay_mount::mount(folders, &at, SOURCE).map_err(|error| said("mounting an overlay")(error.into()))?;
    fs::rename(at.join("d"), at.join("e")).map_err(said("renaming a folder of an overlay"))?;
    fs::remove_file(at.join("e/f")).map_err(said("removing a file of an overlay"))?;
    let seen = identity(&at).map_err(|error| error.to_string())?;
    rename_checked(&at, &folder("to"), seen).map_err(|error| format!("renaming an overlay failed: {error}"))
}

/// Makes the tree of an order over a template: its layers, entry, branch, mount. The admin directory comes
/// back. From its first moment on the entry carries the order, and the layers go by the lane's id.
///
/// When the future is dropped, the step that is under way is still done; an undo of the order waits for it at
/// the workspace lock.
///
/// # Errors
/// `OverlayRefused`, `SpareUnusable`, `BRANCH_EXISTS`, `BRANCH_CHECKED_OUT`, `PathTaken`, `Unmounted`, `Lock`,
/// `File`, those of git. After any of them the order has to be undone.
pub(super) async fn overlay(
    git: &Git,
    repo: &Repository,
    template: &Kept,
    order: &Order,
) -> Result<PathBuf, WorktreeError> {
    let holder = format!("overlay for {}", order.name);
    let held = WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, &holder).await?;
    let (repo_, template_, order_) = (repo.clone(), template.clone(), order.clone());
    let begin = move || begin(&repo_, &template_, &order_).map(|begun| (begun, held));
    let ((overlay, taken), held) = blocking(MOUNTING, begin).await?;
    if taken == Taken::AskGit {
        branch_take::take_with_git(git, repo, order, &template.spare.base).await?;
    }
    let (repo_, template_, order_) = (repo.clone(), template.clone(), order.clone());
    blocking(MOUNTING, move || {
        // An undo that came in between would find less than there is without the lock.
        let _held = held;
        fault::at("overlay.branch")?;
        let name = free_name(&repo_, order_.path.as_path())?;
        let admin = entry::publish(&repo_, &stage_of(&repo_, &order_), &name)?;
        fault::at("overlay.entered")?;
        entry::make_tree(&overlay.upper(), &admin, template_.tree())?;
        overlay.bring_up(order_.path.as_path())?;
        fault::at("overlay.mounted")?;
        Ok(admin)
    })
    .await
}

/// The layers, the staged entry, and the branch where libgit2 can make it.
fn begin(repo: &Repository, template: &Kept, order: &Order) -> Result<(Overlay, Taken), WorktreeError> {
    let base = &template.spare.base;
    check_base(template, order)?;
    if is_there(order.path.as_path())? {
        return Err(WorktreeError::PathTaken { path: order.path.to_path_buf() });
    }
    fits(template, order)?;
    let foreseen = branch_take::foresee(repo, order, base)?;
    let overlay = make_layers(template, order)?;
    fault::at("overlay.layers")?;
    // Whoever removes a template holds the workspace lock, too, and looks for those that live on it.
    check_template(repo, template, base)?;
    let stage = entry::stage_from(repo, template, order)?;
    let like = template.admin(repo);
    share_index(&like.join("index"), &stage.join("index"))?;
    hand_token(&stage, order)?;
    fault::at("overlay.staged")?;
    let taken = branch_take::take(foreseen, repo, order, base, entry::who_made(&like).as_deref())?;
    Ok((overlay, taken))
}

/// Refuses a template that nothing can be mounted over for this order.
fn fits(template: &Kept, order: &Order) -> Result<(), WorktreeError> {
    let root = order.root.as_path();
    let refuse = |reason: &str| Err(WorktreeError::OverlayRefused { reason: reason.to_owned() });
    let device = |path: &Path| path.symlink_metadata().map(|about| about.dev()).ok();
    if template.spare.root != order.root || device(template.tree()) != device(root) {
        return refuse("the template is in another folder or on another file system than the lanes");
    }
    probe(root)
}

fn make_layers(template: &Kept, order: &Order) -> Result<Overlay, WorktreeError> {
    let layered = Layered {
        home: order.home.clone(),
        template: template.name.clone(),
        lower: template.spare.path.clone(),
        lower_ino: template.ino,
        base: template.spare.base.clone(),
        print: template.spare.print.clone(),
        workspace_id: order.workspace_id,
    };
    let overlay = Overlay { dir: overlay::dir_of(order.root.as_path(), order.lane_id), layered };
    overlay::make_below(&overlay.work())?;
    overlay.write_new()?;
    Ok(overlay)
}

/// Inodes and times that are seen through an overlay are those of the template, so its index fits. git and
/// libgit2 exchange an index, and never write into one: it may have many names.
fn share_index(from: &Path, to: &Path) -> Result<(), WorktreeError> {
    let failed = |error: io::Error| WorktreeError::file("make", to, error);
    fs::hard_link(from, to).or_else(|_too_many_names| fs::copy(from, to).map(drop)).map_err(failed)
}

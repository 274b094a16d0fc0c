//! The overlay of a lane: where its layers lie, whether it is mounted, how it comes up and goes.
//!
//! ```text
//!   <root>/.template/<name>/              lower: the tree of a template, never changed
//!   <root>/.overlay/<lane id>/upper/      what the lane has changed; its inode is that of the tree
//!   <root>/.overlay/<lane id>/work/       the kernel's own
//!   <root>/.overlay/<lane id>/overlay.json
//! ```
//!
//! It is mounted on the lane's folder and, once that is retired, on `tree/` of its entry in the trash. A mount
//! is gone after a start of the machine, the layers are not: an empty folder is never taken for the tree.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::WorktreeError;
use super::in_use;
use super::model::{Order, Tree};
use super::overlay_mount::{self, Folders};
use super::pace::Pace;
use super::remove::remove_tree;
use super::spare::Kept;
use super::trash::{self, Spot, is_there};
use crate::fault;
use crate::ids::{LaneId, WorkspaceId};
use crate::raw::Raw;

/// The folder of all layers in a root of trees.
pub const OVERLAY_DIR: &str = ".overlay";
/// How the tree was made, in its record.
pub const OVERLAY: &str = "overlay";
/// What people see the mounts called.
pub(super) const SOURCE: &str = "lanes";
/// How often a mount is tried to be taken off that somebody is in, and the pause between: a program that is
/// just being started has what we have open.
const UNMOUNTS: u32 = 10;
const UNMOUNT_PAUSE: Duration = Duration::from_millis(10);
/// How often a folder is made again whose parents somebody has tidied away.
const TIDIED: u32 = 16;

/// What `overlay.json` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layered {
    /// `LANES_HOME` of the runtime that owns the lane.
    pub home: Raw,
    /// The name of the template.
    pub template: String,
    /// Its tree, the lower layer.
    pub lower: Raw,
    /// The inode of that: another folder in its place is another template.
    pub lower_ino: u64,
    /// The commit that the template has checked out.
    pub base: String,
    /// What else decided how its files look.
    pub print: String,
    /// The workspace.
    pub workspace_id: WorkspaceId,
}

/// The layers of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// `<root>/.overlay/<lane id>`.
    pub dir: PathBuf,
    /// What is known of it.
    pub layered: Layered,
}

/// How a place is that an overlay is to be mounted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is mounted there; device and inode as they are now.
    Mounted(u64, u64),
    /// An empty folder.
    Bare,
    /// Nothing.
    Missing,
    /// Something else: what.
    Taken(&'static str),
}

/// Where the layers of a lane lie.
pub(super) fn dir_of(root: &Path, lane_id: LaneId) -> PathBuf {
    root.join(OVERLAY_DIR).join(lane_id.to_string())
}

/// The overlay of a lane; none for one of another kind.
///
/// # Errors
/// `Record`, `File` when there is one that cannot be read.
pub fn of(root: &Path, lane_id: LaneId) -> Result<Option<Overlay>, WorktreeError> {
    let dir = dir_of(root, lane_id);
    let layered = trash::read_record(&dir.join(RECORD))?;
    Ok(layered.map(|layered| Overlay { dir, layered }))
}

const RECORD: &str = "overlay.json";

impl Overlay {
    pub(super) fn upper(&self) -> PathBuf {
        self.dir.join("upper")
    }

    pub(super) fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    pub(super) fn write(&self) -> Result<(), WorktreeError> {
        trash::write_record(&self.dir.join(RECORD), &self.layered)
    }

    /// As [`Self::write`], not synced: for a lane that nobody was told of.
    pub(super) fn write_new(&self) -> Result<(), WorktreeError> {
        let path = self.dir.join(RECORD);
        let text = serde_json::to_vec_pretty(&self.layered)
            .map_err(|source| WorktreeError::Record { path: path.clone(), source })?;
        fs::write(&path, text).map_err(|error| WorktreeError::file("write", path, error))
    }

    /// How a place is.
    ///
    /// # Errors
    /// `File` when it cannot be looked at.
    pub fn place(&self, at: &Path) -> Result<Place, WorktreeError> {
        let failed = |source: Errno| WorktreeError::file("look at", at, source);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = match rustix::fs::openat(CWD, at, flags, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(Place::Missing),
            Err(error) => return Err(failed(error)),
        };
        let stat = rustix::fs::fstat(&folder).map_err(failed)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
            return Ok(Place::Taken("a file or link is there instead"));
        }
        let upper = self.upper();
        let about = match upper.symlink_metadata() {
            Ok(about) => Some((about.dev(), about.ino())),
            // One that was never mounted.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(WorktreeError::file("look at", &upper, error)),
        };
        if overlay_mount::is_overlay(&folder) && about.is_none_or(|(dev, _ino)| dev != stat.st_dev) {
            return Ok(match about.is_some_and(|(_dev, ino)| ino == stat.st_ino) {
                true => Place::Mounted(stat.st_dev, stat.st_ino),
                false => Place::Taken("another overlay is mounted there"),
            });
        }
        let mut entries = fs::read_dir(at).map_err(|error| WorktreeError::file("list", at, error))?;
        Ok(match entries.next() {
            None => Place::Bare,
            Some(_entry) => Place::Taken("it is not mounted, and files were put into its folder"),
        })
    }

    /// Why nothing can be mounted on the template any more.
    pub fn lost_template(&self) -> Option<String> {
        let lower = self.layered.lower.as_path();
        let is_it = lower
            .symlink_metadata()
            .is_ok_and(|about| about.is_dir() && about.ino() == self.layered.lower_ino)
            && lower.join(".git").symlink_metadata().is_ok();
        (!is_it).then(|| format!("its template {} is gone", self.layered.template))
    }

    /// Mounts it, when it is not; gives device and inode of the tree. Blocks for a fraction of a millisecond.
    ///
    /// # Errors
    /// `Unmounted` with the reason why it cannot be, `File`.
    pub fn bring_up(&self, at: &Path) -> Result<(u64, u64), WorktreeError> {
        let unmounted = |reason: String| WorktreeError::Unmounted { path: at.to_path_buf(), reason };
        let _nobody_mounts_it_twice = self.lock()?;
        match self.place(at)? {
            Place::Mounted(dev, ino) => return Ok((dev, ino)),
            Place::Taken(what) => return Err(unmounted(what.to_owned())),
            Place::Missing => {
                fs::create_dir(at).map_err(|error| WorktreeError::file("make the folder", at, error))?;
            }
            Place::Bare => {}
        }
        if let Some(why) = self.lost_template() {
            return Err(unmounted(why));
        }
        let (upper, work) = (self.upper(), self.work());
        // A full disk or a copy from elsewhere may have lost it; the kernel makes all that is in it.
        fs::create_dir_all(&work).map_err(|error| WorktreeError::file("make", &work, error))?;
        let folders = Folders { lower: self.layered.lower.as_path(), upper: &upper, work: &work };
        overlay_mount::mount(folders, at, SOURCE)
            .map_err(|error| unmounted(format!("mounting it failed: {}", io::Error::from(error))))?;
        match self.place(at)? {
            Place::Mounted(dev, ino) => Ok((dev, ino)),
            Place::Bare | Place::Missing => Err(unmounted("it was unmounted just now".to_owned())),
            Place::Taken(what) => Err(unmounted(what.to_owned())),
        }
    }

    /// Held while it is looked at and mounted.
    fn lock(&self) -> Result<fs::File, WorktreeError> {
        let failed = |error: io::Error| WorktreeError::file("lock", &self.dir, error);
        let folder = fs::File::open(&self.dir).map_err(failed)?;
        rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)
            .map_err(|error| failed(error.into()))?;
        Ok(folder)
    }

    /// Puts a template that was made anew under it, and mounts it.
    ///
    /// # Errors
    /// `Unmounted` while somebody is in the tree, as that of [`Self::bring_up`].
    pub(super) fn put_on(&mut self, template: &Kept, at: &Path) -> Result<(u64, u64), WorktreeError> {
        if matches!(self.place(at)?, Place::Mounted(..)) {
            take_off(at).map_err(|error| busy(at, error))?;
        }
        (self.layered.template, self.layered.lower) = (template.name.clone(), template.spare.path.clone());
        self.layered.lower_ino = template.ino;
        self.write()?;
        fault::at("overlay.renewed")?;
        self.bring_up(at)
    }

    /// Makes the layers those of another lane, by one rename; a mount of them stays as it is.
    ///
    /// # Errors
    /// `File`.
    pub(super) fn hand_over(&self, root: &Path, lane_id: LaneId) -> Result<(), WorktreeError> {
        let to = dir_of(root, lane_id);
        make_below(&root.join(OVERLAY_DIR))?;
        fs::rename(&self.dir, &to).map_err(|error| WorktreeError::file("move", &self.dir, error))?;
        if let Some(all) = self.dir.parent() {
            let _others_are_there = fs::remove_dir(all);
        }
        Ok(())
    }

    /// Unmounts it, when it is mounted there and nobody is in it.
    ///
    /// # Errors
    /// `NotOurs` while somebody is in it, `File`.
    pub(super) fn take_down(&self, at: &Path) -> Result<(), WorktreeError> {
        match self.place(at)? {
            Place::Mounted(..) => take_off(at).map_err(|error| busy(at, error)),
            Place::Bare | Place::Missing | Place::Taken(_) => Ok(()),
        }
    }

    /// As [`Self::take_down`], also when somebody is in it: the mount ends when they have left.
    fn take_from_all(&self, at: &Path) -> Result<(), WorktreeError> {
        match self.place(at)? {
            Place::Mounted(..) => take_off(at)
                .or_else(|_busy| overlay_mount::detach(at))
                .map_err(|error| WorktreeError::file("unmount", at, error)),
            Place::Bare | Place::Missing | Place::Taken(_) => Ok(()),
        }
    }
}

/// Unmounts, and looks a few times again when somebody seems to be in it.
fn take_off(at: &Path) -> Result<(), Errno> {
    for _try in 1..UNMOUNTS {
        match overlay_mount::unmount(at) {
            Err(Errno::BUSY) => std::thread::sleep(UNMOUNT_PAUSE),
            other => return other,
        }
    }
    overlay_mount::unmount(at)
}

fn busy(at: &Path, error: Errno) -> WorktreeError {
    if error != Errno::BUSY {
        return WorktreeError::file("unmount", at, error);
    }
    let reason = match in_use::user_of(at) {
        Some((pid, name)) => format!("process {pid} ({}) is in it", super::error::quoted(&name)),
        None => "somebody is in it".to_owned(),
    };
    WorktreeError::NotOurs { path: at.to_path_buf(), reason }
}

/// The tree of a record as it is now: an overlay is mounted when it is not, in the lane's place or where a
/// retirement that was cut off has moved it. A tree of another kind is as it is recorded.
///
/// # Errors
/// `Unmounted` when an overlay cannot be mounted: nobody may take its folder for the tree then. `File`.
pub(super) fn settled(order: &Order, tree: &Tree) -> Result<Tree, WorktreeError> {
    let Some(overlay) = of(order.root.as_path(), order.lane_id)? else { return Ok(tree.clone()) };
    let retired = Spot::new(order.root.as_path(), order.lane_id).tree();
    let at = if is_there(&retired)? { retired } else { order.path.to_path_buf() };
    let (dev, ino) = overlay.bring_up(&at)?;
    Ok(Tree { dev, ino, ..tree.clone() })
}

/// Mounts the overlay of a lane when it has one and somebody unmounted it: nothing is to run in the empty
/// folder. Blocks for a fraction of a millisecond.
///
/// # Errors
/// `Unmounted`, `File`.
pub fn raise(root: &Path, lane_id: LaneId, at: &Path) -> Result<(), WorktreeError> {
    match of(root, lane_id)? {
        Some(overlay) => overlay.bring_up(at).map(drop),
        None => Ok(()),
    }
}

/// Why the tree of an order cannot be looked at: it is an overlay that is not mounted. Changes nothing.
///
/// # Errors
/// `File`, `Record`.
pub(super) fn unmounted(order: &Order) -> Result<Option<WorktreeError>, WorktreeError> {
    let Some(overlay) = of(order.root.as_path(), order.lane_id)? else { return Ok(None) };
    let path = order.path.to_path_buf();
    let reason = match overlay.place(&path)? {
        Place::Mounted(..) => return Ok(None),
        Place::Bare | Place::Missing => overlay.lost_template().unwrap_or_else(|| "it was unmounted".into()),
        Place::Taken(what) => what.to_owned(),
    };
    Ok(Some(WorktreeError::Unmounted { path, reason }))
}

/// Frees the overlay of a lane whose tree is at `at`, if it has one: unmounts it and removes the layers. The
/// folder that it was mounted on stays, empty. Blocks.
///
/// # Errors
/// `NotOurs` while somebody is in it, `RemoveTree`, `File`; may be repeated.
pub(super) fn free(root: &Path, lane_id: LaneId, at: &Path, pace: &Pace) -> Result<(), WorktreeError> {
    free_once(root, lane_id, pace, |overlay| overlay.take_down(at))
}

/// As [`free`], also when somebody is in it: nobody is to have it back.
///
/// # Errors
/// `RemoveTree`, `File`; may be repeated.
pub(super) fn discard(root: &Path, lane_id: LaneId, at: &Path, pace: &Pace) -> Result<(), WorktreeError> {
    free_once(root, lane_id, pace, |overlay| overlay.take_from_all(at))
}

fn free_once(
    root: &Path,
    lane_id: LaneId,
    pace: &Pace,
    unmount: impl FnOnce(&Overlay) -> Result<(), WorktreeError>,
) -> Result<(), WorktreeError> {
    let dir = dir_of(root, lane_id);
    if !is_there(&dir)? {
        return Ok(());
    }
    // Without a record nothing was ever mounted, or its removal was begun.
    if let Some(overlay) = of(root, lane_id)? {
        unmount(&overlay)?;
    }
    fault::at("overlay.unmounted")?;
    let _removed = remove_tree(&dir, None, pace)?;
    tidy(root);
    Ok(())
}

/// Takes the overlay of a lane that is undone off its place, also when somebody is in it, and moves its layers
/// to `aside`.
///
/// # Errors
/// `File`, `RemoveTree`.
pub(super) fn set_aside(root: &Path, lane_id: LaneId, at: &Path, aside: &Path) -> Result<(), WorktreeError> {
    let dir = dir_of(root, lane_id);
    if !is_there(&dir)? {
        return Ok(());
    }
    if let Some(overlay) = of(root, lane_id)? {
        overlay.take_from_all(at)?;
    }
    let _before = remove_tree(aside, None, &Pace::full())?;
    fs::rename(&dir, aside).map_err(|error| WorktreeError::file("move away", &dir, error))?;
    tidy(root);
    Ok(())
}

/// Removes the folder of all layers when it is empty.
pub(super) fn tidy(root: &Path) {
    let _others_are_there = fs::remove_dir(root.join(OVERLAY_DIR));
}

/// Makes a folder below that of all layers, which somebody else may tidy away in this moment.
pub(super) fn make_below(folder: &Path) -> Result<(), WorktreeError> {
    let make = || fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let mut made = make();
    for _again in 0..TIDIED {
        match made {
            Err(error) if error.kind() == io::ErrorKind::NotFound => made = make(),
            other => {
                made = other;
                break;
            }
        }
    }
    made.map_err(|error| WorktreeError::file("make", folder, error))
}

/// The templates that overlays in a root live on: neither changed nor removed as long as they do, which
/// [`remove_spare`](super::remove_spare) holds. Blocks.
pub fn in_use(root: &Path) -> BTreeSet<String> {
    let lanes = lanes_in(root).into_iter();
    lanes.filter_map(|id| Some(of(root, id).ok()??.layered.template)).collect()
}

/// The lanes that have layers in a root. Blocks.
pub(super) fn lanes_in(root: &Path) -> Vec<LaneId> {
    let entries = fs::read_dir(root.join(OVERLAY_DIR)).into_iter().flatten().flatten();
    let mut lanes: Vec<LaneId> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    lanes.sort_unstable();
    lanes
}

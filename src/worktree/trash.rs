//! The trash of a workspace as it lies on disk: which entries there are, how large, which are due.
//!
//! `.trash/<lane id>/` holds `entry.json` (written by sibling, sync and rename), `tree/` until it is
//! archived, `admin/`, and then `files.tar.gz` with `manifest.gz`. `restoring.json` is there while the
//! entry is being brought back.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::budget::Usage;
use super::error::WorktreeError;
use super::model::{Saved, TrashEntry};
use super::overlay;
use super::size::measure;
use crate::clock::Timestamp;
use crate::fault;
use crate::ids::LaneId;

/// The folder of the trash in a root of trees.
pub const TRASH_DIR: &str = ".trash";
/// What the folder of an entry is called while it is being freed.
pub(super) const GONE_PREFIX: &str = ".gone-";
/// What our small records may measure; a larger file is not one of them.
const MAX_RECORD_BYTES: u64 = 64 << 20;

/// The paths of one entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    /// `.trash/<lane id>`.
    pub dir: PathBuf,
}

impl Spot {
    pub fn new(root: &Path, lane_id: LaneId) -> Self {
        Self { dir: root.join(TRASH_DIR).join(lane_id.to_string()) }
    }

    pub fn entry(&self) -> PathBuf {
        self.dir.join("entry.json")
    }

    pub fn tree(&self) -> PathBuf {
        self.dir.join("tree")
    }

    pub fn admin(&self) -> PathBuf {
        self.dir.join("admin")
    }

    pub fn archive(&self) -> PathBuf {
        self.dir.join("files.tar.gz")
    }

    pub fn manifest(&self) -> PathBuf {
        self.dir.join("manifest.gz")
    }

    pub fn restoring(&self) -> PathBuf {
        self.dir.join("restoring.json")
    }

    pub fn staging(&self) -> PathBuf {
        self.dir.join("restored")
    }
}

/// Where everything that can be brought back is listed from, oldest first. Folders that are no entry, or
/// whose record cannot be read, are left out here and said by [`leftovers`].
///
/// # Errors
/// `File` when the folder cannot be read; a missing one is an empty trash.
pub fn list(root: &Path) -> Result<Vec<TrashEntry>, WorktreeError> {
    let mut found = Vec::new();
    for (spot, lane_id) in spots(root)? {
        let Ok(Some(entry)) = load(&spot) else { continue };
        if entry.order.lane_id == lane_id {
            found.push(entry);
        }
    }
    found.sort_by_key(|entry| (entry.at, entry.order.lane_id));
    Ok(found)
}

/// Something in the trash that cannot be brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// Where it lies.
    pub path: PathBuf,
    /// The lane whose entry it is.
    pub lane_id: Option<LaneId>,
    /// What is wrong with it.
    pub reason: String,
}

impl Leftover {
    /// The bytes that it takes on the disk. Blocks.
    pub fn bytes(&self) -> u64 {
        measure(&self.path).map_or(0, |usage| usage.bytes)
    }
}

/// What [`list`] leaves out: entries that cannot be read, which are kept and never emptied by themselves, and
/// what of emptied ones could not be freed.
///
/// # Errors
/// `File` when the folder cannot be read.
pub fn leftovers(root: &Path) -> Result<Vec<Leftover>, WorktreeError> {
    let mut found = Vec::new();
    for (spot, lane_id, reason) in broken(root)? {
        let parts = [spot.entry(), spot.tree(), spot.admin(), spot.archive()];
        // A lane whose retiring has only begun has none of these.
        if parts.iter().any(|part| is_there(part).unwrap_or(true)) {
            found.push(Leftover { path: spot.dir, lane_id: Some(lane_id), reason });
        }
    }
    let trash = root.join(TRASH_DIR);
    for entry in std::fs::read_dir(&trash).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(GONE_PREFIX) {
            let reason = "it was freed, but for what could not be removed: lanes trash empty says why".into();
            found.push(Leftover { path: entry.path(), lane_id: None, reason });
        }
    }
    Ok(found)
}

/// The entries that cannot be read, and why.
pub(super) fn broken(root: &Path) -> Result<Vec<(Spot, LaneId, String)>, WorktreeError> {
    let mut found = Vec::new();
    for (spot, lane_id) in spots(root)? {
        match load(&spot) {
            Ok(Some(entry)) if entry.order.lane_id == lane_id => {}
            Ok(Some(_another)) => found.push((spot, lane_id, "its record is of another lane".to_owned())),
            Ok(None) => found.push((spot, lane_id, "its record is missing".to_owned())),
            Err(error) => found.push((spot, lane_id, error.to_string())),
        }
    }
    Ok(found)
}

/// The entry of a lane, if there is one.
///
/// # Errors
/// `File` or `Record` when its record cannot be read.
pub fn find(root: &Path, lane_id: LaneId) -> Result<Option<TrashEntry>, WorktreeError> {
    load(&Spot::new(root, lane_id))
}

/// The record in the folder of an entry, also of one that is being freed; none that cannot be read.
pub fn entry_in(folder: &Path) -> Option<TrashEntry> {
    load(&Spot { dir: folder.to_path_buf() }).ok().flatten()
}

/// True when saving has not come to its end: not archived yet, or what was archived is not freed.
pub fn is_unfinished(entry: &TrashEntry) -> bool {
    let spot = Spot::new(entry.order.root.as_path(), entry.order.lane_id);
    entry.complete
        && match entry.saved {
            Saved::Pending => true,
            Saved::Archived { .. } => is_there(&spot.tree()).unwrap_or(true),
            Saved::Whole { .. } => false,
        }
}

/// The folder of an entry.
pub fn place(entry: &TrashEntry) -> PathBuf {
    Spot::new(entry.order.root.as_path(), entry.order.lane_id).dir
}

/// The bytes that an entry takes on the disk. Walks it, so not for a loop that is in a hurry.
///
/// # Errors
/// `File` when it cannot be read.
pub fn size(entry: &TrashEntry) -> Result<u64, WorktreeError> {
    usage(entry).map(|usage| usage.bytes)
}

/// What an entry takes on the disk, with the layers of an overlay; otherwise as [`size`].
///
/// # Errors
/// As [`size`].
pub fn usage(entry: &TrashEntry) -> Result<Usage, WorktreeError> {
    let of = |path: &Path| measure(path).map_err(|source| WorktreeError::file("measure", path, source));
    let mut all = of(&place(entry))?;
    let layers = overlay::dir_of(entry.order.root.as_path(), entry.order.lane_id);
    if is_there(&layers)? {
        let beside = of(&layers)?;
        all.bytes += beside.bytes;
        all.inodes += beside.inodes;
    }
    Ok(all)
}

/// The entries to be emptied: those older than `keep`, then the oldest until the rest fits in `max_bytes`.
/// An entry that is not complete is never due.
pub fn expired(
    entries: &[(TrashEntry, u64)],
    keep: Duration,
    max_bytes: Option<u64>,
    now: Timestamp,
) -> Vec<LaneId> {
    let mut rest: Vec<&(TrashEntry, u64)> = entries.iter().filter(|(entry, _size)| entry.complete).collect();
    rest.sort_by_key(|(entry, _size)| (entry.at, entry.order.lane_id));
    let mut total: u64 = rest.iter().map(|(_entry, size)| *size).fold(0, u64::saturating_add);
    let mut due = Vec::new();
    for (entry, size) in rest {
        let too_old = entry.at.age(now) > keep;
        let too_much = max_bytes.is_some_and(|max| total > max);
        if too_old || too_much {
            total = total.saturating_sub(*size);
            due.push(entry.order.lane_id);
        }
    }
    due
}

fn spots(root: &Path) -> Result<Vec<(Spot, LaneId)>, WorktreeError> {
    let trash = root.join(TRASH_DIR);
    let failed = |source| WorktreeError::file("list", &trash, source);
    let entries = match std::fs::read_dir(&trash) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_dir = entry.file_type().map_err(failed)?.is_dir();
        let lane_id = entry.file_name().to_str().and_then(|name| name.parse::<LaneId>().ok());
        if let (true, Some(lane_id)) = (is_dir, lane_id) {
            found.push((Spot::new(root, lane_id), lane_id));
        }
    }
    found.sort_by_key(|(_spot, lane_id)| *lane_id);
    Ok(found)
}

pub(super) fn load(spot: &Spot) -> Result<Option<TrashEntry>, WorktreeError> {
    read_record(&spot.entry())
}

pub(super) fn store(spot: &Spot, entry: &TrashEntry) -> Result<(), WorktreeError> {
    write_record(&spot.entry(), entry)
}

/// Makes the folder of an entry, for nobody but us.
pub(super) fn make_spot(spot: &Spot) -> Result<(), WorktreeError> {
    let failed = |source| WorktreeError::file("make", &spot.dir, source);
    DirBuilder::new().recursive(true).mode(0o700).create(&spot.dir).map_err(failed)?;
    let is_dir = std::fs::symlink_metadata(&spot.dir).map_err(failed)?.is_dir();
    if !is_dir {
        return Err(WorktreeError::NotOurs {
            path: spot.dir.clone(),
            reason: "it is not a folder".to_owned(),
        });
    }
    Ok(())
}

pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, WorktreeError> {
    match read_small(path, MAX_RECORD_BYTES) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| WorktreeError::Record { path: path.to_path_buf(), source }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(WorktreeError::file("read", path, error)),
    }
}

pub(super) fn write_record<T: Serialize>(path: &Path, value: &T) -> Result<(), WorktreeError> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| WorktreeError::Record { path: path.to_path_buf(), source })?;
    write_synced(path, &bytes).map_err(|source| WorktreeError::file("write", path, source))
}

/// Writes beside the target, syncs, swaps it in, syncs the folder.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let sibling = sibling_of(path);
    remove_file_if_there(&sibling)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&sibling)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fault::at("record.write")?;
    std::fs::rename(&sibling, path)?;
    sync_parent(path)
}

/// Writes beside the target and swaps it in, for what is made anew after a crash of the machine.
pub(super) fn write_unsynced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let sibling = sibling_of(path);
    remove_file_if_there(&sibling)?;
    let mut file = File::create_new(&sibling)?;
    let written = file.write_all(bytes).and_then(|()| std::fs::rename(&sibling, path));
    if written.is_err() {
        let _may_not_be_there = std::fs::remove_file(&sibling);
    }
    written
}

/// Where [`write_synced`] and [`write_unsynced`] write first.
pub(super) fn sibling_of(path: &Path) -> PathBuf {
    let mut sibling = path.as_os_str().to_owned();
    sibling.push(".new");
    sibling.into()
}

/// Reads a regular file that is not a link and not larger than `limit`.
pub(super) fn read_small(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let facts = file.metadata()?;
    if !facts.is_file() || facts.len() > limit {
        return Err(io::Error::new(ErrorKind::InvalidData, "it is not a regular file of a sensible size"));
    }
    let mut bytes = Vec::new();
    let _read = file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn remove_file_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// True when something is there, a dangling link included.
pub(super) fn is_there(path: &Path) -> Result<bool, WorktreeError> {
    match std::fs::symlink_metadata(path) {
        Ok(_something) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(WorktreeError::file("look at", path, error)),
    }
}

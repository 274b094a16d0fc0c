//! Empties entries of the trash for good.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::error::WorktreeError;
use super::git::Git;
use super::layout;
use super::model::Repository;
use super::pace::Pace;
use super::pins_vault::{self, VAULT_DIR};
use super::restore::{forget, free, tidy};
use super::trash::{self, GONE_PREFIX, Spot, TRASH_DIR, is_there};
use super::trash_lock;
use crate::fault;
use crate::ids::LaneId;

/// What was emptied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emptied {
    /// The entries that are gone.
    pub lanes: Vec<LaneId>,
    /// The bytes they took on the disk.
    pub freed: u64,
    /// Entries that stayed, and why.
    pub stayed: Vec<(LaneId, String)>,
    /// What of entries that are gone could not be freed, and what helps.
    pub left: Vec<String>,
}

/// Removes entries for good and lets go of what only they pinned; what the other entries pin stays. With the
/// last entry the vault goes, and the root when nothing else is in it. An entry that is not complete, or is being brought back, stays. An id without an entry is no error.
///
/// # Errors
/// What git or the disk said when the pins were put in order; may be repeated.
pub async fn empty(
    git: &Git,
    repo: &Repository,
    root: &Path,
    ids: &[LaneId],
    pace: &Pace,
) -> Result<Emptied, WorktreeError> {
    let mut emptied = Emptied::default();
    for lane_id in ids {
        let spot = Spot::new(root, *lane_id);
        if !is_there(&spot.dir)? {
            continue;
        }
        let _lock = trash_lock::lock_entry(&spot).await?;
        match trash::load(&spot) {
            Ok(Some(entry)) if entry.complete && !is_there(&spot.restoring())? => {
                let size = trash::size(&entry).unwrap_or(0);
                fault::at("empty.begin")?;
                emptied.left.extend(forget(&spot, pace).await?);
                emptied.freed += size;
                emptied.lanes.push(*lane_id);
            }
            // Nobody can bring it back, and it was asked for by its id.
            Err(WorktreeError::Record { .. }) => {
                emptied.left.extend(forget(&spot, pace).await?);
                emptied.lanes.push(*lane_id);
            }
            Ok(_) => emptied.stayed.push((*lane_id, "it is being retired or brought back".to_owned())),
            Err(error) => emptied.stayed.push((*lane_id, error.to_string())),
        }
    }
    if emptied.left.is_empty() {
        let place = root.to_path_buf();
        let work = move |pace: &Pace, _cancel: &CancellationToken| Ok(sweep(&place, pace));
        emptied.left = pace.run("freeing trash", work).await?;
    }
    fault::at("empty.taken")?;
    let _lock = trash_lock::lock(repo).await?;
    if !trash::broken(root)?.is_empty() {
        // What an entry pins that cannot be read is not known: everything stays pinned.
        return Ok(emptied);
    }
    let mut rest = trash::list(root)?;
    rest.retain(|entry| !entry.pins.is_empty());
    pins_vault::rebuild(git, repo, root, &rest).await?;
    fault::at("empty.vault")?;
    layout::release(repo, root);
    Ok(emptied)
}

/// True when [`sweep`] has something to do. Blocks.
pub fn is_unswept(root: &Path) -> bool {
    let entries = std::fs::read_dir(root.join(TRASH_DIR)).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(GONE_PREFIX))
}

/// True when a call of [`empty`] was cut off: something is out of the trash and not freed, or the last entry is
/// gone, no tree is there, and the vault or the root still is. Another call, if only without ids, goes on.
///
/// # Errors
/// `File` when the folder cannot be read.
pub fn is_half_emptied(root: &Path) -> Result<bool, WorktreeError> {
    let entries = match std::fs::read_dir(root.join(TRASH_DIR)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(is_there(&root.join(VAULT_DIR))? || layout::is_empty(root));
        }
        Err(error) => return Err(WorktreeError::file("list", root.join(TRASH_DIR), error)),
    };
    drop(entries);
    Ok(is_unswept(root))
}

/// Removes what earlier calls took out of the trash but did not come to free: for recovery at start; [`empty`]
/// does it too. Gives what still could not be freed, and what helps. Blocks.
pub fn sweep(root: &Path, pace: &Pace) -> Vec<String> {
    let trash = root.join(TRASH_DIR);
    let mut left = Vec::new();
    for entry in std::fs::read_dir(&trash).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(GONE_PREFIX) {
            left.extend(free(&entry.path(), pace).err().map(|error| error.with_hint()));
        }
    }
    tidy(&trash.join("entry"));
    left
}

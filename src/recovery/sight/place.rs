//! Says which file, folder or process something is, and since when.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::SystemTime;

use crate::clock::Timestamp;
use crate::proc;
use crate::recovery::orphan::{Orphan, Place, What};

/// What is at a path, links not followed.
pub(super) fn at(path: &Path) -> Option<(Place, Timestamp, Metadata)> {
    let facts = path.symlink_metadata().ok()?;
    let since = [facts.created(), facts.modified()].into_iter().flatten().map(stamp).min();
    Some((place(path, &facts), since.unwrap_or_default(), facts))
}

/// A folder, as [`at`].
pub(super) fn folder(path: &Path) -> Option<(Place, Timestamp)> {
    at(path).filter(|(_place, _since, facts)| facts.is_dir()).map(|(place, since, _facts)| (place, since))
}

fn place(path: &Path, facts: &Metadata) -> Place {
    let born = facts.created().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let born = born.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0);
    Place { path: path.to_path_buf(), dev: facts.dev(), ino: facts.ino(), born }
}

fn stamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// True when exactly this thing is still there. Blocks.
pub fn still_there(orphan: &Orphan) -> bool {
    match &orphan.what {
        What::Tree { place, .. } | What::Entry { place, .. } | What::Rest(_, place) => {
            at(&place.path).is_some_and(|(now, _since, _facts)| now == *place)
        }
        What::Process(running) | What::Keeper(running, _) => {
            crate::task::alive(running.pid, running.start, &running.boot_id)
                && proc::owner(running.pid) == Some(rustix::process::geteuid().as_raw())
        }
    }
}

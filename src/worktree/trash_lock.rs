//! Takes the locks that the trash needs: the repository's for moments, an entry's for as long as it is worked on.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::error::WorktreeError;
use super::lock::WorkspaceLock;
use super::model::Repository;
use super::trash::Spot;
use crate::fault;

/// How long to wait for the repository: fifty lanes may be retired at once.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait for an entry: whoever holds it saves or frees a tree, and stops between two files when
/// nobody waits for it any more.
const ENTRY_PATIENCE: Duration = Duration::from_secs(600);
/// How often to look.
const PAUSE: Duration = Duration::from_millis(5);

/// Takes the lock around refs and admin files; dropping it lets go.
pub(super) async fn lock(repo: &Repository) -> Result<WorkspaceLock, WorktreeError> {
    WorkspaceLock::acquire(&repo.common_dir, PATIENCE, "the trash").await
}

/// Takes the lock of an entry: who saves, brings back or empties it holds it meanwhile, also a blocking
/// thread that nobody waits for any more.
pub(super) async fn lock_entry(spot: &Spot) -> Result<File, WorktreeError> {
    fault::at("lock.entry")?;
    let path = spot.dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .map_err(|error| WorktreeError::file("open", &path, error))?;
    let wait = async {
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {
                    tokio::time::sleep(PAUSE).await
                }
                Err(error) => return Err(WorktreeError::file("lock", &path, error)),
            }
        }
    };
    match tokio::time::timeout(ENTRY_PATIENCE, wait).await {
        Ok(result) => result.map(|()| file),
        Err(_late) => {
            let holder = "somebody who saves or empties it".to_owned();
            Err(WorktreeError::Lock { path, holder, after: ENTRY_PATIENCE })
        }
    }
}

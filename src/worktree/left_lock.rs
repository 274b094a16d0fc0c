//! Locks over refs that a git left which was killed. Nobody takes them away by themselves, and until somebody
//! does, every change of that ref fails: an undo would leave its branch for good.

use std::collections::BTreeSet;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::trash::remove_file_if_there;
use crate::proc;

/// A lock over refs is held for milliseconds; longer only while a hook of the repository runs, and then the
/// git that called the hook is there.
const HELD_AT_MOST: Duration = Duration::from_secs(1);
/// How long a lock is watched that somebody alive may hold.
const WATCHED: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Calls of git that stay for hours and lock no ref.
const STAYING: [&[u8]; 3] = [b"fsmonitor--daemon", b"cat-file", b"daemon"];

/// Waits until the lock over refs that git failed over, as it said, is gone; one that nobody alive can hold is
/// removed. True when it is worth trying again. Returns within ten seconds and changes nothing when dropped.
pub(super) async fn clear(said: &str) -> bool {
    let Some(lock) = lock_of_refs(said) else { return false };
    let Some(identity) = identity(&lock) else { return true };
    let begun = Instant::now();
    // Who comes later cannot hold what is there already.
    let mut holders = gits().await;
    while begun.elapsed() < WATCHED {
        if self::identity(&lock) != Some(identity) {
            return true;
        }
        if begun.elapsed() >= HELD_AT_MOST {
            if holders.is_empty() {
                tracing::warn!(lock = %lock.display(), "a git that was cut off left this lock; it is removed");
                return remove_file_if_there(&lock).is_ok();
            }
            holders.retain(|(pid, start)| {
                proc::process(*pid).is_some_and(|p| p.start == *start && !p.is_dead())
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
    false
}

/// The lock over a branch, over a HEAD or over all packed refs that git could not take, or the file that only
/// who holds the last one writes.
fn lock_of_refs(said: &str) -> Option<PathBuf> {
    let of_lock = || said.split_once("Unable to create '")?.1.split_once("': File exists").map(|it| it.0);
    let of_file = || said.split_once("unable to create file ")?.1.split_once(": File exists").map(|it| it.0);
    let path = of_lock().or_else(of_file)?;
    let name = path.rsplit_once('/')?.1;
    let of_branch = path.contains("/refs/heads/") && name.ends_with(".lock");
    let is_named = ["HEAD.lock", "packed-refs.lock", "packed-refs.new"].contains(&name);
    (path.starts_with('/') && (of_branch || is_named)).then(|| path.into())
}

/// Which file it is; the same name is used over and over.
fn identity(lock: &Path) -> Option<(u64, u64, i64, i64)> {
    let of = |meta: Metadata| (meta.dev(), meta.ino(), meta.ctime(), meta.ctime_nsec());
    lock.symlink_metadata().ok().map(of)
}

/// Every git that may hold a lock now, with its start.
async fn gits() -> BTreeSet<(u32, u64)> {
    let stays = |pid| proc::command_line(pid).iter().any(|word| STAYING.contains(&word.as_slice()));
    let search = move || {
        let all = proc::all().into_iter();
        all.filter(|p| p.name == b"git" && !p.is_dead() && !stays(p.pid)).map(|p| (p.pid, p.start)).collect()
    };
    tokio::task::spawn_blocking(search).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_locks_over_refs_are_looked_at() {
        let found = |path: &str| {
            let said =
                format!("error: cannot lock ref 'x': Unable to create '{path}': File exists.\n\nAnother");
            lock_of_refs(&said).map(|lock| lock.display().to_string())
        };
        let of_refs = [
            "/r/.git/refs/heads/lanes/a.lock",
            "/it's/.git/packed-refs.lock",
            "/r/.git/worktrees/a/HEAD.lock",
        ];
        for lock in of_refs {
            assert_eq!(found(lock).as_deref(), Some(lock));
        }
        let written = "error: unable to create file /r/.git/packed-refs.new: File exists";
        assert_eq!(lock_of_refs(written).as_deref(), Some(Path::new("/r/.git/packed-refs.new")));
        for other in
            ["/r/.git/index.lock", "/r/.git/config.lock", "refs/heads/a.lock", "/r/.git/refs/tags/a.lock"]
        {
            assert_eq!(found(other), None);
        }
        assert_eq!(lock_of_refs("fatal: bad object"), None);
    }
}

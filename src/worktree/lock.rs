//! The short lock around references and admin files of one workspace.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::error::{WorktreeError, quoted};
use crate::fault;

/// How often another process's lock is tried again; holders keep it for about a millisecond.
const PAUSE: Duration = Duration::from_millis(3);
/// A holder's name is one line; more is not read.
const MAX_HOLDER_BYTES: u64 = 200;

type Turns = Mutex<HashMap<PathBuf, Weak<AsyncMutex<()>>>>;

/// The lock, held until dropped.
#[derive(Debug)]
pub struct WorkspaceLock {
    _file: File,
    _turn: OwnedMutexGuard<()>,
}

impl WorkspaceLock {
    /// Waits for the lock of the workspace with this common directory, at most for `patience`. `holder`
    /// is shown to those who wait in vain.
    ///
    /// # Errors
    /// `Lock` (`BUSY`) with the name of who holds it, `File` when the lock file cannot be opened.
    pub async fn acquire(common_dir: &Path, patience: Duration, holder: &str) -> Result<Self, WorktreeError> {
        fault::at("lock.workspace")?;
        let until = Instant::now() + patience;
        let path = common_dir.join("lanes.lock");
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.custom_flags(libc::O_NOFOLLOW).open(&path)
        };
        let mut file = open().map_err(|error| WorktreeError::file("open", &path, error))?;
        let turn = turn_of(common_dir);
        let Ok(turn) = tokio::time::timeout_at(until, turn.lock_owned()).await else {
            return Err(in_vain(&path, &mut file, patience));
        };
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(WorktreeError::file("lock", path, error)),
            }
            if Instant::now() >= until {
                return Err(in_vain(&path, &mut file, patience));
            }
            tokio::time::sleep(PAUSE).await;
        }
        // Only for those who wait: a full disk must not keep anybody from the lock.
        let _for_people = write_holder(&mut file, holder);
        Ok(Self { _file: file, _turn: turn })
    }
}

fn turn_of(common_dir: &Path) -> Arc<AsyncMutex<()>> {
    static TURNS: OnceLock<Turns> = OnceLock::new();
    let mut turns = TURNS.get_or_init(Turns::default).lock().unwrap_or_else(PoisonError::into_inner);
    turns.retain(|_path, turn| turn.strong_count() > 0);
    if let Some(turn) = turns.get(common_dir).and_then(Weak::upgrade) {
        return turn;
    }
    let turn = Arc::new(AsyncMutex::new(()));
    let _none = turns.insert(common_dir.to_path_buf(), Arc::downgrade(&turn));
    turn
}

fn write_holder(file: &mut File, holder: &str) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{holder} (pid {})", std::process::id())
}

fn in_vain(path: &Path, file: &mut File, after: Duration) -> WorktreeError {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(MAX_HOLDER_BYTES).read_to_string(&mut text));
    let holder = match read {
        Ok(n) if n > 0 => quoted(text.trim()),
        Ok(_) | Err(_) => "somebody".to_owned(),
    };
    WorktreeError::Lock { path: path.to_path_buf(), holder, after }
}

//! The owner lock: one process owns a state folder, and the kernel knows which.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::clock::{self, Timestamp};
use crate::failure::{Code, Failure};
use crate::files::Place;
use crate::proc;

/// The file in the state folder.
pub const LOCK_FILE: &str = "daemon.lock";
/// How long a new owner may take to write who it is.
const INTRODUCTION: Duration = Duration::from_millis(200);
/// How long the lock may outlive its owner: the memory of a large process takes a moment to be given back.
const DYING: Duration = Duration::from_secs(5);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// The lock file is a few hundred bytes; more is not ours.
const FILE_BYTES: u64 = 4096;
/// Crashes that lie further back are no loop any more.
pub const CRASH_WINDOW: Duration = Duration::from_secs(60);
/// No more crashes than this are remembered; far more than any limit on them.
const CRASHES: usize = 32;

/// Who holds the lock, by its own word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// When that started, in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub start: u64,
    /// The boot these numbers belong to.
    pub boot_id: String,
    /// When it took the lock.
    pub since: Timestamp,
    /// When owners before it were found to have ended without letting go of the lock, in the last
    /// [`CRASH_WINDOW`] before it took it; oldest first. A reboot is no crash.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crashes: Vec<Timestamp>,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process owns the folder.
    #[error("{} is held by {}", path.display(), describe(holder.as_ref()))]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who, when it has said so.
        holder: Option<Holder>,
    },
    /// The lock file could not be opened or locked.
    #[error("could not lock {}: {source}", path.display())]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Our own process could not be described.
    #[error("could not read {}: {source}", path.display())]
    Describe {
        /// What was read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn describe(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |holder| format!("process {}", holder.pid))
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let message = error.to_string();
        match error {
            LockError::Held { path: _, holder } => {
                let failure = Self::new(Code::Busy, message)
                    .hint("one process owns a state folder; be its client, or use another with `--home DIR`");
                match holder {
                    Some(holder) => failure.details(serde_json::json!({ "holder": holder })),
                    None => failure,
                }
            }
            LockError::Lock { path: _, source } => Self::in_place(
                message,
                &source,
                "the state folder must exist and be writable; `--home DIR` uses another one",
            ),
            LockError::Describe { path: _, source } => Self::system(message, &source),
        }
    }
}

/// The ownership of a state folder, until it is dropped or the process ends.
#[derive(Debug)]
pub struct OwnerLock {
    file: File,
    path: PathBuf,
    holder: Holder,
}

impl OwnerLock {
    /// Takes the lock of the state folder `home`, which must exist. Never waits for an owner that lives to leave;
    /// one that was killed holds the lock for a moment longer, until the system has taken it down.
    ///
    /// # Errors
    /// [`LockError::Held`] while another owner lives, also one in this process.
    pub fn acquire(home: &Path) -> Result<Self, LockError> {
        let path = home.join(LOCK_FILE);
        let mut holder = ourselves()?;
        let failed = |source| LockError::Lock { path: path.clone(), source };
        let file = lock(&path)?;
        holder.crashes = read_holder(&file).map(|before| crashes(before, &holder)).unwrap_or_default();
        let text = serde_json::to_vec(&holder).expect("invariant: a holder is JSON");
        // One write over the old text; then the rest of a longer one goes.
        file.write_all_at(&text, 0).and_then(|()| file.set_len(text.len() as u64)).map_err(failed)?;
        Ok(Self { file, path, holder })
    }

    /// What the lock file says about us.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Which file is locked: as long as its name leads there, nobody else can own the folder.
    ///
    /// # Errors
    /// [`LockError::Lock`] when it is gone already.
    pub fn place(&self) -> Result<Place, LockError> {
        Place::of(&self.path).map_err(|source| LockError::Lock { path: self.path.clone(), source })
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        // Whoever finds its name here finds an owner that crashed. One byte stays, and with it the room for
        // the name of the next owner, when the disk is full by then.
        if !std::thread::panicking()
            && let Err(error) = self.file.set_len(1)
        {
            tracing::warn!(%error, "the end of this owner will look like a crash");
        }
        // Closing would not be enough while a child that is just being started still has the descriptor.
        let _closing_follows = self.file.flush();
        if let Err(error) = rustix::fs::flock(&self.file, FlockOperation::Unlock) {
            tracing::debug!(%error, "the owner lock ends with its descriptor");
        }
    }
}

/// The crashes that a new owner knows of: those of the one before it, and that one's own.
fn crashes(before: Holder, now: &Holder) -> Vec<Timestamp> {
    if before.boot_id != now.boot_id {
        return Vec::new();
    }
    let oldest =
        now.since.as_ms().saturating_sub(u64::try_from(CRASH_WINDOW.as_millis()).unwrap_or(u64::MAX));
    let mut crashes = before.crashes;
    crashes.push(now.since);
    crashes.retain(|at| at.as_ms() >= oldest);
    let surplus = crashes.len().saturating_sub(CRASHES);
    crashes.drain(..surplus);
    crashes
}

/// Who holds the lock of `home` by its file, or was killed while it did; none after an owner that let go.
/// Says nothing about whether it still lives: the lock does.
/// Changes nothing.
pub fn last_holder(home: &Path) -> Option<Holder> {
    let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    read_holder(&fs::OpenOptions::new().read(true).custom_flags(flags).open(home.join(LOCK_FILE)).ok()?)
}

/// Keeps everybody from owning a state folder, until it is dropped. Says nothing in the lock file: it is no
/// owner, and what the file says of the one before stays.
#[derive(Debug)]
pub struct Vacancy {
    _file: File,
}

impl Vacancy {
    /// Takes the lock of `home`, which must exist, while nobody has it.
    ///
    /// # Errors
    /// [`LockError::Held`] while an owner lives, [`LockError::Lock`].
    pub fn hold(home: &Path) -> Result<Self, LockError> {
        Ok(Self { _file: lock(&home.join(LOCK_FILE))? })
    }
}

/// The process that owns `home`, as far as can be told without touching the lock: who wrote the file lives,
/// and still has it open. One in another container is not seen.
pub fn living_owner(home: &Path) -> Option<u32> {
    let holder = last_holder(home)?;
    let process = proc::process(holder.pid).filter(|process| !process.is_dead())?;
    if holder.boot_id != proc::boot_id() || process.start != holder.start {
        return None;
    }
    let lock = fs::metadata(home.join(LOCK_FILE)).ok()?;
    // What cannot be looked into counts as the owner.
    let Ok(open) = fs::read_dir(format!("/proc/{}/fd", holder.pid)) else { return Some(holder.pid) };
    let is_lock = |fd: fs::DirEntry| {
        fs::metadata(fd.path()).is_ok_and(|meta| (meta.dev(), meta.ino()) == (lock.dev(), lock.ino()))
    };
    open.flatten().any(is_lock).then_some(holder.pid)
}

fn lock(path: &Path) -> Result<File, LockError> {
    let failed = |source: io::Error| LockError::Lock { path: path.to_owned(), source };
    let deadline = Instant::now() + DYING;
    loop {
        let file = open(path).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = introduced(&file);
                if holder.as_ref().is_some_and(is_dead) && Instant::now() < deadline {
                    std::thread::sleep(LOOK);
                    continue;
                }
                return Err(LockError::Held { path: path.to_owned(), holder });
            }
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(failed(error.into())),
        }
        // Locked is what the name leads to, not a file that somebody has removed meanwhile.
        let ours = Place::of_open(path, &file).map_err(failed)?;
        if ours.is_held().map_err(failed)? {
            return Ok(file);
        }
    }
}

/// True when the process has ended, though its threads may still be on their way out and hold the lock.
fn is_dead(holder: &Holder) -> bool {
    let process = proc::process(holder.pid);
    holder.boot_id != proc::boot_id()
        || process.is_none_or(|process| process.is_dead() || process.start != holder.start)
}

fn open(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// The holder; one that has just taken the lock is given a moment to say who it is.
fn introduced(file: &File) -> Option<Holder> {
    let deadline = Instant::now() + INTRODUCTION;
    loop {
        if let Some(holder) = read_holder(file) {
            return Some(holder);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}

fn read_holder(file: &File) -> Option<Holder> {
    let mut text = Vec::new();
    let mut from_start = file;
    io::Seek::seek(&mut from_start, io::SeekFrom::Start(0)).ok()?;
    from_start.take(FILE_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn ourselves() -> Result<Holder, LockError> {
    let pid = std::process::id();
    let start = proc::start_of(pid).ok_or_else(|| LockError::Describe {
        path: format!("/proc/{pid}/stat").into(),
        source: io::ErrorKind::InvalidData.into(),
    })?;
    Ok(Holder { pid, start, boot_id: proc::boot_id(), since: clock::now(), crashes: Vec::new() })
}

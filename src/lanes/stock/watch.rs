//! Notices when somebody touches a spare.
//!
//! Every folder of its tree is watched by inotify, and its admin directory. What happened in a folder is in the
//! queue when the call that did it returns, so a drained queue tells everything up to now. What is not seen is
//! a write through a mapping that was there before the watch: those who could have one are the programs that
//! made the tree, and they have ended.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

/// Room for some hundred events a read; one with the longest name takes 272 bytes.
const BUFFER_BYTES: usize = 32 << 10;
/// Where the kernel says how many folders a user may watch.
const LIMIT: &str = "/proc/sys/fs/inotify/max_user_watches";
/// When it does not say: the smallest default it ever had.
const USUAL_LIMIT: usize = 8_192;
/// Each watch that is taken back is an event, too: the queue, of 16,384, is read between so many.
const TAKEN_BACK: usize = 1_024;

/// How a tree is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// All of it.
    All,
    /// Not at all: it has more folders than may be watched, or the kernel refuses.
    None,
}

/// Which spares somebody touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// These.
    pub names: BTreeSet<String>,
    /// Perhaps all: the queue was too short.
    pub all: bool,
}

/// The watches of a runtime.
#[derive(Debug)]
pub struct Watch {
    /// None where the kernel gives us none: then no tree is watched.
    queue: Option<OwnedFd>,
    budget: usize,
    of: Mutex<Of>,
}

#[derive(Debug, Default)]
struct Of {
    names: HashMap<i32, String>,
    watches: BTreeMap<String, Vec<i32>>,
    /// What was read from the queue, and nobody has asked for yet.
    read: Touched,
}

impl Watch {
    /// Watches at most half of what the user may have: editors and builds need the rest.
    pub fn new() -> Self {
        let limit = fs::read_to_string(LIMIT).ok().and_then(|text| text.trim().parse().ok());
        Self::with_budget(limit.unwrap_or(USUAL_LIMIT) / 2)
    }

    /// Watches at most so many folders.
    pub fn with_budget(budget: usize) -> Self {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK);
        if let Err(error) = &queue {
            tracing::warn!(%error, "folders cannot be watched: spares are looked at when they are used");
        }
        Self { queue: queue.ok(), budget, of: Mutex::default() }
    }

    /// Watches every folder of a tree, and its admin directory; nothing of it when that cannot be all. What was
    /// watched under this name before is not any more. Blocks.
    pub fn add(&self, name: &str, tree: &Path, admin: &Path) -> Watched {
        self.remove(name);
        let Some(queue) = &self.queue else { return Watched::None };
        let mut added = Vec::new();
        // The admin directory, not what is below it: the log of HEAD changes with HEAD.
        let watched = add_one(queue, admin)
            .and_then(|watch| {
                added.push(watch);
                self.add_below(queue, tree, &mut added)
            })
            .is_some();
        if !watched {
            self.take_back(queue, &added);
            return Watched::None;
        }
        let mut of = self.lock();
        for watch in &added {
            of.names.insert(*watch, name.to_owned());
        }
        of.watches.insert(name.to_owned(), added);
        Watched::All
    }

    /// A folder is watched before it is listed, so that none that is made meanwhile is missed.
    fn add_below(&self, queue: &OwnedFd, tree: &Path, added: &mut Vec<i32>) -> Option<()> {
        let taken = self.lock().names.len();
        let mut folders: Vec<PathBuf> = vec![tree.to_path_buf()];
        while let Some(folder) = folders.pop() {
            if taken + added.len() >= self.budget {
                return None;
            }
            added.push(add_one(queue, &folder)?);
            for entry in fs::read_dir(&folder).ok()? {
                let entry = entry.ok()?;
                if entry.file_type().ok()?.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        Some(())
    }

    /// Watches it no more. Takes a microsecond a folder.
    pub fn remove(&self, name: &str) {
        let Some(queue) = &self.queue else { return };
        let mut of = self.lock();
        let watches = of.watches.remove(name).unwrap_or_default();
        for watch in &watches {
            of.names.remove(watch);
        }
        drop(of);
        self.take_back(queue, &watches);
    }

    fn take_back(&self, queue: &OwnedFd, watches: &[i32]) {
        for some in watches.chunks(TAKEN_BACK) {
            for watch in some {
                // Fails only when the folder has gone, and the watch with it.
                let _gone = inotify::remove_watch(queue, *watch);
            }
            self.lock().read(queue);
        }
    }

    /// What was touched since the last call.
    pub fn drain(&self) -> Touched {
        let Some(queue) = &self.queue else { return Touched::default() };
        let mut of = self.lock();
        of.read(queue);
        std::mem::take(&mut of.read)
    }

    /// How many folders are watched.
    pub fn watched(&self) -> usize {
        self.lock().names.len()
    }

    /// The maps are whole after every step.
    fn lock(&self) -> MutexGuard<'_, Of> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Of {
    /// Reads what is in the queue.
    fn read(&mut self, queue: &OwnedFd) {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = Reader::new(queue, &mut buffer);
        loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => self.read.all = true,
                Ok(event) if event.events().contains(ReadFlags::IGNORED) => {
                    // The kernel has taken the watch back: its folder is gone.
                    self.read.names.extend(self.names.remove(&event.wd()));
                }
                Ok(event) => self.read.names.extend(self.names.get(&event.wd()).cloned()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(error) => {
                    tracing::warn!(%error, "what happened to spares cannot be told");
                    self.read.all = true;
                    return;
                }
            }
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

fn add_one(queue: &OwnedFd, folder: &Path) -> Option<i32> {
    let changes = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MODIFY
        | WatchFlags::CLOSE_WRITE
        | WatchFlags::ATTRIB
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF;
    inotify::add_watch(queue, folder, changes | WatchFlags::ONLYDIR | WatchFlags::DONT_FOLLOW).ok()
}

//! Says whether a tree is as it was made, by lstat alone.
//!
//! Every entry of the index is held against its file as git does it, and every folder is listed: what the
//! index does not know is strange, too, unless it was written down before.

use std::ffi::{CStr, OsStr};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::archive::Stamp;
use super::archive_walk::{open_top, stamp_of};
use super::blob;
use super::crew::work_off;
use super::error::WorktreeError;
use super::extras::{Extra, Listing};
use super::folders::{Names, join, open_below};
use super::index_file::{Entry, IndexFile, IndexStat};
use super::index_pairs::{Child, Pairs, path_len};
use super::pace::{Pace, Stint};
use crate::raw::Raw;

/// So many paths are told: enough for people to see what happened.
const MAX_TOLD: usize = 20;
/// Threads at full pace: more do not list one disk faster.
const THREADS: usize = 2;

/// Says which paths of a tree are not as they were made, the first 20: changed, missing, or not known to the
/// index and not in `extras` as they are now (without one, nothing may be there besides). Ignored files and
/// empty folders count. Blocks.
///
/// A file as young as the index is read; where attributes may alter contents it counts as changed.
///
/// # Errors
/// `File` for what the system says, an index that cannot be read included; `Stopped` when the background job
/// that it is part of was cancelled.
pub fn verify(
    tree: &Path,
    index: &Path,
    oid_len: usize,
    extras: Option<&Listing>,
    pace: &Pace,
) -> Result<Vec<Raw>, WorktreeError> {
    let seen = look(tree, index, oid_len, extras.is_some(), pace)?;
    let mut strange = seen.strange;
    if let Some(extras) = extras {
        strange.extend(extras.differences(&Listing::new(seen.extras), MAX_TOLD));
    }
    strange.sort_unstable();
    strange.dedup();
    strange.truncate(MAX_TOLD);
    Ok(strange)
}

/// Lists what is in a tree besides what the index knows. Blocks.
///
/// # Errors
/// As [`verify`].
pub fn listing(tree: &Path, index: &Path, oid_len: usize, pace: &Pace) -> Result<Listing, WorktreeError> {
    Ok(Listing::new(look(tree, index, oid_len, true, pace)?.extras))
}

#[derive(Default)]
struct Seen {
    strange: Vec<Raw>,
    extras: Vec<Extra>,
}

fn look(
    tree: &Path,
    index: &Path,
    oid_len: usize,
    is_listed: bool,
    pace: &Pace,
) -> Result<Seen, WorktreeError> {
    let read = IndexFile::read(index, oid_len);
    let index = read.map_err(|error| WorktreeError::file("read", index, error))?;
    let top = open_top(tree).map_err(|error| WorktreeError::file("open", tree, error))?;
    let work = Work {
        tree,
        attributes: blob::has_attributes(&index),
        index: &index,
        top,
        is_listed,
        strange: AtomicUsize::new(0),
    };
    let threads = if pace.is_background() { 1 } else { THREADS };
    let hand = || Hand { names: Names::new(), seen: Seen::default(), stint: pace.stint() };
    let hands = (0..threads).map(|_each| hand()).collect();
    let first = Folder { path: Vec::new(), entries: 0..index.len() };
    // A job in the background has a token of its own.
    let never = CancellationToken::new();
    let hands = work_off(first, hands, &never, |hand, folder, more| work.folder(hand, folder, more))?;
    let mut seen = Seen::default();
    for hand in hands {
        seen.strange.extend(hand.seen.strange);
        seen.extras.extend(hand.seen.extras);
    }
    Ok(seen)
}

struct Folder {
    path: Vec<u8>,
    entries: Range<usize>,
}

/// What one thread works with, and what it has seen.
struct Hand<'p> {
    names: Names,
    seen: Seen,
    stint: Stint<'p>,
}

struct Work<'w> {
    tree: &'w Path,
    index: &'w IndexFile,
    /// True when contents may be altered between the repository and the tree.
    attributes: bool,
    top: OwnedFd,
    /// True when what the index does not know is to be listed; else it is strange.
    is_listed: bool,
    /// How many strange paths were seen: more than are told need not be looked for.
    strange: AtomicUsize,
}

impl Work<'_> {
    fn folder(
        &self,
        hand: &mut Hand<'_>,
        folder: Folder,
        more: &mut Vec<Folder>,
    ) -> Result<(), WorktreeError> {
        if self.strange.load(Ordering::Relaxed) >= MAX_TOLD && !self.is_listed {
            return Ok(());
        }
        let Hand { names, seen, stint } = hand;
        if stint.is_cancelled() {
            return Err(WorktreeError::Stopped { attempt: "looking at a tree" });
        }
        let dir = match open_below(&self.top, &folder.path) {
            Ok(dir) => dir,
            Err(error) => return self.failed(seen, folder.path, error),
        };
        if let Err(error) = names.list(&dir) {
            return self.failed(seen, folder.path, error);
        }
        let is_top = folder.path.is_empty();
        let here = || names.iter().filter(|(name, _kind)| !is_top || *name != c".git");
        if is_top && !names.iter().any(|(name, _kind)| name == c".git") {
            self.strange(seen, b".git".to_vec());
        }
        let bare = here().map(|(name, _kind)| name.to_bytes());
        let pairs = Pairs::of(self.index, folder.entries, path_len(&folder.path), bare);
        for child in &pairs.absent {
            self.absent(seen, child);
        }
        for ((name, kind), child) in here().zip(pairs.known) {
            let spot = Spot { dir: dir.as_fd(), name, folder: &folder.path, kind };
            let below = match self.name(seen, &spot, child) {
                Ok(below) => below,
                Err(error) => {
                    self.failed(seen, spot.path(), error)?;
                    continue;
                }
            };
            more.extend(below.map(|entries| Folder { path: spot.path(), entries }));
            stint.step();
        }
        Ok(())
    }

    /// One name in a folder; when it is a folder that is to be looked into, the entries below it.
    fn name(
        &self,
        seen: &mut Seen,
        spot: &Spot<'_>,
        child: Option<Child>,
    ) -> io::Result<Option<Range<usize>>> {
        match child {
            None => self.extra(seen, spot, 0..0),
            Some(Child::Folder(entries)) => {
                let is_dir = spot.kind()? == FileType::Directory;
                let is_known = self.is_any_here(entries.clone());
                match (is_dir, is_known) {
                    (true, true) => Ok(Some(entries)),
                    (true, false) => self.extra(seen, spot, entries),
                    (false, true) => {
                        self.strange(seen, spot.path());
                        Ok(None)
                    }
                    (false, false) => self.extra(seen, spot, 0..0),
                }
            }
            Some(Child::Entry(number)) => {
                let entry = self.index.entry(number);
                if !is_here(&entry) {
                    return self.extra(seen, spot, 0..0);
                }
                if entry.is_gitlink() && spot.kind()? == FileType::Directory {
                    return Ok(Some(0..0));
                }
                if !self.is_same(spot, &entry)? {
                    self.strange(seen, spot.path());
                }
                Ok(None)
            }
        }
    }

    /// A name that the index does not know, or that it knows to be left out of the tree.
    fn extra(
        &self,
        seen: &mut Seen,
        spot: &Spot<'_>,
        entries: Range<usize>,
    ) -> io::Result<Option<Range<usize>>> {
        if !self.is_listed {
            self.strange(seen, spot.path());
            return Ok(None);
        }
        let stamp = spot.stamp()?;
        let is_dir = FileType::from_raw_mode(stamp.mode) == FileType::Directory;
        seen.extras.push(Extra::new(spot.path(), &stamp, is_dir));
        Ok(is_dir.then_some(entries))
    }

    fn is_same(&self, spot: &Spot<'_>, entry: &Entry<'_>) -> io::Result<bool> {
        let now = spot.stamp()?;
        let said = entry.stat();
        if entry.stage() != 0 || entry.is_intent_to_add() || !entry.mode_agrees(now.mode) {
            return Ok(false);
        }
        if !said.is_unknown() && !said.agrees(&IndexStat::of(&now)) {
            return Ok(false);
        }
        if !said.is_unknown() && !entry.is_racy() {
            return Ok(true);
        }
        if self.attributes {
            return Ok(false);
        }
        match FileType::from_raw_mode(now.mode) {
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(spot.dir, spot.name, Vec::new())?;
                Ok(blob::is_bytes(target.to_bytes(), entry))
            }
            _file => blob::is_file(spot.dir, spot.name, entry),
        }
    }

    fn is_any_here(&self, mut entries: Range<usize>) -> bool {
        entries.any(|number| is_here(&self.index.entry(number)))
    }

    /// What the index knows and the folder has not.
    fn absent(&self, seen: &mut Seen, child: &Child) {
        let numbers = match child {
            Child::Entry(number) => *number..number + 1,
            Child::Folder(numbers) => numbers.clone(),
        };
        let entries = numbers.map(|number| self.index.entry(number));
        for entry in entries.filter(is_here).take(MAX_TOLD) {
            self.strange(seen, entry.path().to_vec());
        }
    }

    fn strange(&self, seen: &mut Seen, path: Vec<u8>) {
        let told = self.strange.fetch_add(1, Ordering::Relaxed);
        if told < MAX_TOLD {
            seen.strange.push(Raw(path));
        }
    }

    /// What cannot be looked at because it just went away, or something else took its place, is strange.
    fn failed(&self, seen: &mut Seen, path: Vec<u8>, error: io::Error) -> Result<(), WorktreeError> {
        let replaced = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::XDEV];
        if Errno::from_io_error(&error).is_some_and(|error| replaced.contains(&error)) {
            self.strange(seen, path);
            return Ok(());
        }
        Err(WorktreeError::file("look at", self.tree.join(OsStr::from_bytes(&path)), error))
    }
}

/// True when something of the entry is to be in the tree: not so what a sparse checkout left out.
fn is_here(entry: &Entry<'_>) -> bool {
    entry.is_in_tree() || (entry.is_gitlink() && !entry.is_skipped())
}

/// One name in an open folder.
struct Spot<'s> {
    dir: BorrowedFd<'s>,
    name: &'s CStr,
    folder: &'s [u8],
    kind: FileType,
}

impl Spot<'_> {
    fn path(&self) -> Vec<u8> {
        join(self.folder, self.name.to_bytes())
    }

    fn stamp(&self) -> io::Result<Stamp> {
        Ok(stamp_of(&rustix::fs::statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW)?))
    }

    /// Not every file system says what a name is.
    fn kind(&self) -> io::Result<FileType> {
        match self.kind {
            FileType::Unknown => Ok(FileType::from_raw_mode(self.stamp()?.mode)),
            known => Ok(known),
        }
    }
}

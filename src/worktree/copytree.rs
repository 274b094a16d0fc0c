//! Copies a template's tree into another folder, with an index that knows the copies.

use std::ffi::{CStr, OsStr};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::archive::Stamp;
use super::archive_walk::{open_top, stamp_of};
use super::blob;
use super::crew::work_off;
use super::error::WorktreeError;
use super::folders::{Names, join, open_below};
use super::index_file::{Entry, IndexFile, IndexStat};
use super::index_pairs::{Child, Pairs, path_len};
use super::pace::{Pace, Stint};

/// So much of a file is copied before somebody may stop it.
const CHUNK_BYTES: u64 = 8 << 20;
/// What is read at a time where the kernel does not copy.
const BUFFER_BYTES: usize = 256 << 10;
/// The bits of a mode that are permissions.
const PERMISSIONS: u32 = 0o7777;

const CHANGED: &str = "it changed while it was being copied";
const NOT_AS_MADE: &str = "it is not what the index of its tree says";

/// What is to be copied where.
#[derive(Clone, Debug)]
pub struct CopyJob {
    /// The tree.
    pub from: PathBuf,
    /// Its index.
    pub from_index: PathBuf,
    /// A folder that is there with at most `.git` in it, on the same file system.
    pub to: PathBuf,
    /// Where the index of the copy is to be.
    pub to_index: PathBuf,
    /// How many hexadecimal digits the object ids of the repository have.
    pub oid_len: usize,
    /// How many threads copy; in the background one does.
    pub threads: usize,
}

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Regular files and links.
    pub files: u64,
    /// Folders below the top.
    pub dirs: u64,
    /// Content of the regular files.
    pub bytes: u64,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// Copies every file, folder and link but the `.git` at the top, with modes and times of modification, then
/// writes an index with which `git status` opens no file. Blocks. What the index does not know (ignored
/// files, what a preparation left) is copied too; what it knows to be left out of the tree stays out.
///
/// # Errors
/// `PathTaken` when the target is not empty; `CopyTree` when the tree is not as its index says, changes, or
/// holds what cannot be copied; `File` for what the system says (a full disk); `Stopped` when cancelled.
/// What was copied until then stays: the caller removes it. No index was written then.
pub fn copy_tree(job: &CopyJob, pace: &Pace, cancel: &CancellationToken) -> Result<Copied, WorktreeError> {
    let begun = Instant::now();
    let read = IndexFile::read(&job.from_index, job.oid_len);
    let mut index = read.map_err(|error| WorktreeError::file("read", &job.from_index, error))?;
    if !index.is_sound() {
        return Err(refuse(&job.from_index, "its index is damaged"));
    }
    let open = |path: &PathBuf| open_top(path).map_err(|error| WorktreeError::file("open", path, error));
    let (from, to) = (open(&job.from)?, open(&job.to)?);
    check_empty(&to, &job.to)?;
    let stamp = rustix::fs::fstat(&from).map_err(|error| WorktreeError::file("look at", &job.from, error))?;
    let first = Folder { path: Vec::new(), entries: 0..index.len(), stamp: stamp_of(&stamp) };
    let threads = if pace.is_background() { 1 } else { job.threads.max(1) };
    let hands = (0..threads).map(|_each| Hand::new(pace)).collect();
    let attributes = blob::has_attributes(&index);
    let work = Work { job, index: &index, attributes, from, to, cancel, plain: AtomicBool::new(false) };
    let hands = work_off(first, hands, cancel, |hand, folder, more| work.folder(hand, folder, more))?;
    let mut copied = Copied::default();
    for desk in hands.into_iter().map(|hand| hand.desk) {
        copied.files += desk.copied.files;
        copied.dirs += desk.copied.dirs;
        copied.bytes += desk.copied.bytes;
        for (number, stat) in desk.stamps {
            index.restamp(number, &stat);
        }
    }
    index.forget_tree();
    index.write(&job.to_index).map_err(|error| WorktreeError::file("write", &job.to_index, error))?;
    copied.ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(copied)
}

fn check_empty(to: &OwnedFd, path: &Path) -> Result<(), WorktreeError> {
    let mut names = Names::new();
    names.list(to).map_err(|error| WorktreeError::file("list", path, error))?;
    match names.iter().find(|(name, _kind)| *name != c".git") {
        Some((name, _kind)) => Err(WorktreeError::PathTaken { path: below(path, name.to_bytes()) }),
        None => Ok(()),
    }
}

/// A folder that is to be copied, and the entries of the index below it.
struct Folder {
    path: Vec<u8>,
    entries: Range<usize>,
    /// What lstat said of the original.
    stamp: Stamp,
}

/// What one thread works with.
struct Hand<'p> {
    names: Names,
    desk: Desk<'p>,
}

/// What it has done, and its room for that.
struct Desk<'p> {
    stamps: Vec<(usize, IndexStat)>,
    copied: Copied,
    buffer: Vec<u8>,
    stint: Stint<'p>,
}

impl<'p> Hand<'p> {
    fn new(pace: &'p Pace) -> Self {
        let desk =
            Desk { stamps: Vec::new(), copied: Copied::default(), buffer: Vec::new(), stint: pace.stint() };
        Self { names: Names::new(), desk }
    }
}

struct Work<'w> {
    job: &'w CopyJob,
    index: &'w IndexFile,
    /// True when contents may be altered between the repository and the tree.
    attributes: bool,
    from: OwnedFd,
    to: OwnedFd,
    cancel: &'w CancellationToken,
    /// Set when the kernel does not copy between these two: read and write do.
    plain: AtomicBool,
}

/// One name in a folder that is open on both sides.
struct Spot<'s> {
    from: BorrowedFd<'s>,
    to: BorrowedFd<'s>,
    name: &'s CStr,
    folder: &'s [u8],
    entry: Option<(usize, Entry<'s>)>,
}

impl Work<'_> {
    fn folder(
        &self,
        hand: &mut Hand<'_>,
        folder: Folder,
        more: &mut Vec<Folder>,
    ) -> Result<(), WorktreeError> {
        let Hand { names, desk } = hand;
        let failed =
            |error: io::Error| WorktreeError::file("copy", below(&self.job.from, &folder.path), error);
        let from = open_below(&self.from, &folder.path).map_err(failed)?;
        let to = open_below(&self.to, &folder.path).map_err(failed)?;
        names.list(&from).map_err(failed)?;
        let is_top = folder.path.is_empty();
        let here = || names.iter().filter(|(name, _kind)| !is_top || *name != c".git");
        let bare = here().map(|(name, _kind)| name.to_bytes());
        let pairs = Pairs::of(self.index, folder.entries.clone(), path_len(&folder.path), bare);
        self.check_absent(&pairs.absent)?;
        for ((name, kind), child) in here().zip(pairs.known) {
            let (entry, entries) = match child {
                Some(Child::Entry(number)) => (Some((number, self.index.entry(number))), 0..0),
                Some(Child::Folder(entries)) => (None, entries),
                None => (None, 0..0),
            };
            let spot = Spot { from: from.as_fd(), to: to.as_fd(), name, folder: &folder.path, entry };
            let kind = self.kind(&spot, kind)?;
            if kind != FileType::Directory {
                self.check_absent(&[Child::Folder(entries.clone())])?;
            }
            match kind {
                FileType::Directory => more.push(self.make_folder(desk, &spot, entries)?),
                FileType::RegularFile => self.file(desk, &spot)?,
                FileType::Symlink => self.link(desk, &spot)?,
                _special => return Err(self.refuse(&spot, "it is neither a file nor a folder nor a link")),
            }
            desk.stint.step();
        }
        finish_folder(&to, &folder.stamp).map_err(|error| failed(error.into()))
    }

    /// What the index has of a folder and the folder has not, is to be left out of the tree.
    fn check_absent(&self, absent: &[Child]) -> Result<(), WorktreeError> {
        let numbers = absent.iter().flat_map(|child| match child {
            Child::Entry(number) => *number..number + 1,
            Child::Folder(numbers) => numbers.clone(),
        });
        match numbers.map(|number| self.index.entry(number)).find(Entry::is_in_tree) {
            Some(entry) => Err(refuse(&below(&self.job.from, entry.path()), "it is not there any more")),
            None => Ok(()),
        }
    }

    fn kind(&self, spot: &Spot<'_>, said: FileType) -> Result<FileType, WorktreeError> {
        // Not every file system says what a name is.
        let kind = match said {
            FileType::Unknown => {
                let stat = rustix::fs::statat(spot.from, spot.name, AtFlags::SYMLINK_NOFOLLOW);
                FileType::from_raw_mode(stat.map_err(|error| self.failed(spot, error))?.st_mode)
            }
            known => known,
        };
        if spot.name == c".git" && kind != FileType::Directory {
            return Err(self.refuse(spot, "it leads to a repository that is somewhere else"));
        }
        if let Some((_number, entry)) = &spot.entry {
            let agrees = match kind {
                FileType::Directory => entry.is_gitlink(),
                _file => entry.is_in_tree() && entry.stage() == 0,
            };
            if !agrees {
                return Err(self.refuse(spot, NOT_AS_MADE));
            }
        }
        Ok(kind)
    }

    fn make_folder(
        &self,
        desk: &mut Desk<'_>,
        spot: &Spot<'_>,
        entries: Range<usize>,
    ) -> Result<Folder, WorktreeError> {
        let failed = |error| self.failed(spot, error);
        let stamp =
            stamp_of(&rustix::fs::statat(spot.from, spot.name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?);
        // Ours until everything is in it.
        let mode = Mode::from_raw_mode(stamp.mode & 0o777 | 0o700);
        rustix::fs::mkdirat(spot.to, spot.name, mode).map_err(failed)?;
        desk.copied.dirs += 1;
        Ok(Folder { path: join(spot.folder, spot.name.to_bytes()), entries, stamp })
    }

    fn file(&self, desk: &mut Desk<'_>, spot: &Spot<'_>) -> Result<(), WorktreeError> {
        let failed = |error| self.failed(spot, error);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = rustix::fs::openat(spot.from, spot.name, flags, Mode::empty()).map_err(failed)?;
        let before = stamp_of(&rustix::fs::fstat(&source).map_err(failed)?);
        if FileType::from_raw_mode(before.mode) != FileType::RegularFile {
            return Err(self.refuse(spot, CHANGED));
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(before.mode & 0o777);
        let copy = rustix::fs::openat(spot.to, spot.name, flags, mode).map_err(failed)?;
        let bytes = self.content(desk, spot, (&source, &copy), before.size)?;
        // A change during the copy shows in the times.
        let after = stamp_of(&rustix::fs::fstat(&source).map_err(failed)?);
        if bytes != before.size || after != before {
            return Err(self.refuse(spot, CHANGED));
        }
        rustix::fs::futimens(&copy, &modified(&before)).map_err(failed)?;
        let mut made = stamp_of(&rustix::fs::fstat(&copy).map_err(failed)?);
        if (made.mode ^ before.mode) & PERMISSIONS != 0 {
            let mode = Mode::from_raw_mode(before.mode & PERMISSIONS);
            rustix::fs::fchmod(&copy, mode).map_err(failed)?;
            made = stamp_of(&rustix::fs::fstat(&copy).map_err(failed)?);
        }
        desk.copied.files += 1;
        desk.copied.bytes += bytes;
        self.stamp(desk, spot, (&before, &made), |entry| blob::is_file(spot.from, spot.name, entry))
    }

    fn link(&self, desk: &mut Desk<'_>, spot: &Spot<'_>) -> Result<(), WorktreeError> {
        let failed = |error| self.failed(spot, error);
        let look = |dir| rustix::fs::statat(dir, spot.name, AtFlags::SYMLINK_NOFOLLOW);
        let target = rustix::fs::readlinkat(spot.from, spot.name, Vec::new()).map_err(failed)?;
        let before = stamp_of(&look(spot.from).map_err(failed)?);
        rustix::fs::symlinkat(&target, spot.to, spot.name).map_err(failed)?;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(spot.to, spot.name, &modified(&before), flags).map_err(failed)?;
        let made = stamp_of(&look(spot.to).map_err(failed)?);
        desk.copied.files += 1;
        self.stamp(desk, spot, (&before, &made), |entry| Ok(blob::is_bytes(target.to_bytes(), entry)))
    }

    /// Copies content and says how much there was. The size is what the original had at first: a file that
    /// grows without end is not followed.
    fn content(
        &self,
        desk: &mut Desk<'_>,
        spot: &Spot<'_>,
        (source, copy): (&OwnedFd, &OwnedFd),
        size: u64,
    ) -> Result<u64, WorktreeError> {
        let mut done = 0;
        while done < size {
            let chunk = (size - done).min(CHUNK_BYTES) as usize;
            let copied = self.chunk(desk, source, copy, chunk).map_err(|error| self.failed(spot, error))?;
            if copied == 0 {
                break;
            }
            done += copied as u64;
            if done < size {
                desk.stint.step();
                if self.cancel.is_cancelled() {
                    return Err(WorktreeError::Stopped { attempt: "copying a tree" });
                }
            }
        }
        Ok(done)
    }

    fn chunk(
        &self,
        desk: &mut Desk<'_>,
        source: &OwnedFd,
        copy: &OwnedFd,
        chunk: usize,
    ) -> rustix::io::Result<usize> {
        if !self.plain.load(Ordering::Relaxed) {
            match rustix::fs::copy_file_range(source, None, copy, None, chunk) {
                // Some file systems say so of a file that is not empty.
                Ok(0) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    self.plain.store(true, Ordering::Relaxed);
                }
                done => return done,
            }
        }
        desk.buffer.resize(BUFFER_BYTES, 0);
        let read = rustix::io::read(source, &mut desk.buffer[..chunk.min(BUFFER_BYTES)])?;
        let mut written = 0;
        while written < read {
            written += rustix::io::write(copy, &desk.buffer[written..read])?;
        }
        Ok(read)
    }

    /// Notes what the index is to say of a copy. The original must be what the index says of it; where that
    /// cannot be told by lstat and not by the content, git is to look at the copy itself.
    fn stamp(
        &self,
        desk: &mut Desk<'_>,
        spot: &Spot<'_>,
        (before, made): (&Stamp, &Stamp),
        is_blob: impl Fn(&Entry<'_>) -> io::Result<bool>,
    ) -> Result<(), WorktreeError> {
        let Some((number, entry)) = &spot.entry else { return Ok(()) };
        let said = entry.stat();
        if !said.is_unknown() && !said.agrees(&IndexStat::of(before)) {
            return Err(self.refuse(spot, NOT_AS_MADE));
        }
        let in_doubt = said.is_unknown() || entry.is_racy();
        let failed = |error| WorktreeError::file("read", self.path(spot), error);
        let known = !in_doubt
            || (!self.attributes && entry.mode_agrees(before.mode) && is_blob(entry).map_err(failed)?);
        desk.stamps.push((*number, if known { IndexStat::of(made) } else { IndexStat::default() }));
        Ok(())
    }

    fn path(&self, spot: &Spot<'_>) -> PathBuf {
        below(&self.job.from, &join(spot.folder, spot.name.to_bytes()))
    }

    fn failed(&self, spot: &Spot<'_>, error: Errno) -> WorktreeError {
        WorktreeError::file("copy", self.path(spot), error)
    }

    fn refuse(&self, spot: &Spot<'_>, reason: &'static str) -> WorktreeError {
        refuse(&self.path(spot), reason)
    }
}

/// Gives a copied folder, with everything in it, the mode and the time of its original.
fn finish_folder(to: &OwnedFd, original: &Stamp) -> rustix::io::Result<()> {
    if (rustix::fs::fstat(to)?.st_mode ^ original.mode) & PERMISSIONS != 0 {
        rustix::fs::fchmod(to, Mode::from_raw_mode(original.mode & PERMISSIONS))?;
    }
    rustix::fs::futimens(to, &modified(original))
}

fn modified(stamp: &Stamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        last_modification: Timespec { tv_sec: stamp.mtime, tv_nsec: stamp.mtime_ns.into() },
    }
}

fn below(top: &Path, path: &[u8]) -> PathBuf {
    top.join(OsStr::from_bytes(path))
}

fn refuse(path: &Path, reason: &'static str) -> WorktreeError {
    WorktreeError::CopyTree { path: path.to_path_buf(), reason }
}

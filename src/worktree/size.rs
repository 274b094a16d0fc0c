//! Measures what a folder takes on the disk, however deep it is, and what the disk has left.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, Stat};
use rustix::io::Errno;

use super::archive_walk::open_top;
use super::budget::{Room, Usage};
use super::error::WorktreeError;
use super::remove::open_beneath;

/// What may still be used of the disk that a folder is on. Blocks.
///
/// # Errors
/// `File`.
pub fn room(folder: &Path) -> Result<Room, WorktreeError> {
    let stat = rustix::fs::statvfs(folder)
        .map_err(|error| WorktreeError::file("look at the disk of", folder, error))?;
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems have no fixed number of inodes and say 0.
    Ok(Room { bytes, inodes: (stat.f_files > 0).then_some(stat.f_favail) })
}

/// What a file, or a folder with everything in it, takes on the disk. Follows no link, enters no mount, and
/// holds two folders open at any depth. What cannot be read counts nothing; a file with several names counts
/// for each of them. Blocks.
///
/// # Errors
/// When `path` itself cannot be looked at.
pub fn measure(path: &Path) -> io::Result<Usage> {
    let stat = rustix::fs::lstat(path)?;
    let mut total = usage_of(&stat);
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(total);
    }
    let Ok(top) = open_top(path) else { return Ok(total) };
    let mut here = top.try_clone()?;
    let mut levels = vec![look(here.as_fd(), CString::default(), &mut total)];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.folders.pop() else {
            let _done = levels.pop();
            match above(&top, here.as_fd(), &levels) {
                Ok(folder) => here = folder,
                // It is being moved or removed under us: what was counted so far is the answer.
                Err(_changed) => break,
            }
            continue;
        };
        if let Ok(inner) = open_beneath(here.as_fd(), &name, OFlags::RDONLY) {
            levels.push(look(inner.as_fd(), name, &mut total));
            here = inner;
        }
    }
    Ok(total)
}

/// A folder on the way down.
struct Level {
    name: CString,
    id: (u64, u64),
    /// Those in it that were not entered yet.
    folders: Vec<CString>,
}

/// Counts what lies directly in a folder, and remembers the folders in it.
fn look(folder: BorrowedFd<'_>, name: CString, total: &mut Usage) -> Level {
    let id = rustix::fs::fstat(folder).map(|stat| (stat.st_dev, stat.st_ino)).unwrap_or_default();
    let mut level = Level { name, id, folders: Vec::new() };
    for entry in Dir::read_from(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(stat) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        *total = total.and(usage_of(&stat));
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            level.folders.push(name.to_owned());
        }
    }
    level
}

/// The folder of the last level, from the one below it: through `..`, or down from the top when that one
/// gives nobody the right to pass.
fn above(top: &OwnedFd, below: BorrowedFd<'_>, levels: &[Level]) -> Result<OwnedFd, Errno> {
    let Some(level) = levels.last() else { return Err(Errno::NOENT) };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(below, "..", flags, rustix::fs::Mode::empty()) {
        Ok(opened) => opened,
        Err(_no_way) => {
            let mut folder = rustix::io::dup(top)?;
            for level in &levels[1..] {
                folder = open_beneath(folder.as_fd(), &level.name, OFlags::RDONLY)?;
            }
            folder
        }
    };
    let stat = rustix::fs::fstat(&opened)?;
    if (stat.st_dev, stat.st_ino) == level.id { Ok(opened) } else { Err(Errno::NOENT) }
}

#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between targets")]
fn usage_of(stat: &Stat) -> Usage {
    Usage { bytes: stat.st_blocks as u64 * 512, inodes: 1 }
}

//! Removes a whole tree, and nothing but it.
//!
//! Works on descriptors only: no symbolic link is followed, no mount is crossed, and the folder at the top
//! is compared with its record before the first file goes. Depth is no limit: what lies very deep is moved
//! up to the top of the tree and done later, so that descriptors do not run out.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::WorktreeError;
use super::pace::{Pace, Stint};

/// Folders that are open at the same time; below the usual limit of 1,024 descriptors by far.
const MAX_OPEN: usize = 48;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files, links and everything else that is not a folder.
    pub files: u64,
    /// Folders, the top one included.
    pub folders: u64,
}

/// Removes the tree at `path`, or the single file or link that is there; nothing there is success. With
/// `expect` (device, inode) it does so only when the folder is that one. Blocks, and rests as the pace says.
///
/// # Errors
/// `NotOurs` when another folder is there or a mount begins there, `RemoveTree` when parts had to stay: all
/// that can be removed is gone then; `Stopped` when the job of the pace was cancelled. The call may be repeated.
pub fn remove_tree(path: &Path, expect: Option<(u64, u64)>, pace: &Pace) -> Result<Removed, WorktreeError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(WorktreeError::NotOurs {
            path: path.into(),
            reason: "it has no folder above it".to_owned(),
        });
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let above = match rustix::fs::openat(CWD, parent, flags, Mode::empty()) {
        Ok(above) => above,
        Err(Errno::NOENT) => return Ok(Removed::default()),
        Err(error) => return Err(WorktreeError::file("open", parent, error)),
    };
    let name = c_name(name.as_bytes());
    let stat = match rustix::fs::statat(&above, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Removed::default()),
        Err(error) => return Err(WorktreeError::file("look at", path, error)),
    };
    if let Some(expect) = expect
        && (stat.st_dev, stat.st_ino) != expect
    {
        return Err(WorktreeError::NotOurs {
            path: path.into(),
            reason: "another file or folder has taken its place".to_owned(),
        });
    }
    let (removed, stint) = (Removed::default(), pace.stint());
    let mut work = Work { top: path, removed, stayed: None, left: 0, parked: 0, stint, cancelled: false };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        work.unlink(above.as_fd(), &name, &[]);
        return work.end();
    }
    let top = match open_folder(above.as_fd(), &name) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(Removed::default()),
        Err(Errno::XDEV) => {
            return Err(WorktreeError::NotOurs {
                path: path.into(),
                reason: "something is mounted on it".to_owned(),
            });
        }
        Err(error) => return Err(WorktreeError::file("open", path, error)),
    };
    let opened = rustix::fs::fstat(&top).map_err(|error| WorktreeError::file("look at", path, error))?;
    if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
        return Err(WorktreeError::NotOurs {
            path: path.into(),
            reason: "it was exchanged just now".to_owned(),
        });
    }
    // Each round empties the top folder down to `MAX_OPEN` levels; what was deeper lies in it afterwards.
    loop {
        let parked_before = work.parked;
        work.empty(top.as_fd(), top.as_fd(), &mut Vec::new());
        if work.cancelled || work.parked == parked_before {
            break;
        }
    }
    if work.left == 0 {
        work.rmdir(above.as_fd(), &name, &[]);
    }
    work.end()
}

/// One removal under way.
struct Work<'a> {
    top: &'a Path,
    removed: Removed,
    stayed: Option<(PathBuf, Errno, Option<u32>)>,
    left: u64,
    parked: u64,
    stint: Stint<'a>,
    cancelled: bool,
}

impl Work<'_> {
    /// Empties a folder, `trail` being the names from the top down to it.
    fn empty(&mut self, top: BorrowedFd<'_>, folder: BorrowedFd<'_>, trail: &mut Vec<CString>) {
        let entries = match list(folder) {
            Ok(entries) => entries,
            Err(error) => return self.keep(folder, trail, error),
        };
        for (name, is_folder) in entries {
            self.stint.step();
            if self.stint.is_cancelled() {
                self.cancelled = true;
                self.left += 1;
                return;
            }
            if !is_folder {
                self.unlink(folder, &name, trail);
                continue;
            }
            if trail.len() + 1 >= MAX_OPEN && self.park(top, folder, &name) {
                continue;
            }
            self.remove_folder(top, folder, name, trail);
        }
    }

    fn remove_folder(
        &mut self,
        top: BorrowedFd<'_>,
        above: BorrowedFd<'_>,
        name: CString,
        trail: &mut Vec<CString>,
    ) {
        let opened = open_folder(above, &name);
        trail.push(name);
        let left_before = self.left;
        match opened {
            Ok(folder) => self.empty(top, folder.as_fd(), trail),
            Err(error) => self.keep(above, trail, error),
        }
        let name = trail.pop().expect("invariant: it was pushed above");
        if self.left == left_before {
            self.rmdir(above, &name, trail);
        }
    }

    /// Moves a very deep folder up to the top, where the next round finds it.
    fn park(&mut self, top: BorrowedFd<'_>, folder: BorrowedFd<'_>, name: &CString) -> bool {
        let place = c_name(format!(".lanes-deep-{}", self.parked).as_bytes());
        let exists = rustix::fs::statat(top, &place, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        if exists {
            self.parked += 1;
            return self.park(top, folder, name);
        }
        let moved = rustix::fs::renameat(folder, name, top, &place).is_ok();
        if moved {
            self.parked += 1;
        }
        moved
    }

    fn unlink(&mut self, folder: BorrowedFd<'_>, name: &CString, trail: &[CString]) {
        match with_write_permission(folder, || rustix::fs::unlinkat(folder, name, AtFlags::empty())) {
            Ok(()) => self.removed.files += 1,
            Err(Errno::NOENT) => {}
            Err(error) => self.stay(folder, name, trail, error),
        }
    }

    fn rmdir(&mut self, above: BorrowedFd<'_>, name: &CString, trail: &[CString]) {
        match with_write_permission(above, || rustix::fs::unlinkat(above, name, AtFlags::REMOVEDIR)) {
            Ok(()) => self.removed.folders += 1,
            Err(Errno::NOENT) => {}
            Err(error) => self.stay(above, name, trail, error),
        }
    }

    fn stay(&mut self, folder: BorrowedFd<'_>, name: &CString, trail: &[CString], error: Errno) {
        let owner = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| stat.st_uid);
        let above = rustix::fs::fstat(folder).ok().map(|stat| stat.st_uid);
        let foreign = above.into_iter().chain(owner).find(|uid| *uid != rustix::process::geteuid().as_raw());
        self.note(trail.iter().chain([name]), error, foreign);
    }

    /// Records a folder that could not be opened or listed; one that somebody else has removed is gone.
    fn keep(&mut self, folder: BorrowedFd<'_>, trail: &[CString], error: Errno) {
        if error == Errno::NOENT {
            return;
        }
        let owner = match trail.last() {
            Some(name) => rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok(),
            None => rustix::fs::fstat(folder).ok(),
        };
        let foreign = owner.map(|stat| stat.st_uid).filter(|uid| *uid != rustix::process::geteuid().as_raw());
        self.note(trail.iter(), error, foreign);
    }

    fn note<'n>(&mut self, names: impl Iterator<Item = &'n CString>, error: Errno, foreign: Option<u32>) {
        self.left += 1;
        if self.stayed.is_none() {
            let path = names
                .fold(self.top.to_path_buf(), |path, name| path.join(OsStr::from_bytes(name.to_bytes())));
            self.stayed = Some((path, error, foreign));
        }
    }

    fn end(self) -> Result<Removed, WorktreeError> {
        if self.cancelled {
            return Err(WorktreeError::Stopped { attempt: "removing a tree" });
        }
        let Some((first, error, foreign)) = self.stayed else { return Ok(self.removed) };
        let place = super::error::quoted_path(self.top);
        let (reason, hint) = match (foreign, error) {
            (_, Errno::XDEV | Errno::BUSY) => {
                ("something is mounted there".to_owned(), format!("unmount it, then: rm -rf {place}"))
            }
            (Some(uid), _) => (
                format!("it belongs to another user (uid {uid}), perhaps from a container"),
                format!("sudo rm -rf {place}"),
            ),
            (None, Errno::PERM) => (
                "it cannot be changed (immutable)".to_owned(),
                format!("sudo chattr -R -i {place} && sudo rm -rf {place}"),
            ),
            (None, other) => {
                (std::io::Error::from(other).to_string(), format!("correct that, then: rm -rf {place}"))
            }
        };
        Err(WorktreeError::RemoveTree { root: self.top.into(), first, left: self.left, reason, hint })
    }
}

/// The names in a folder, and whether each is a folder itself.
fn list(folder: BorrowedFd<'_>) -> Result<Vec<(CString, bool)>, Errno> {
    let mut entries = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let is_folder = match entry.file_type() {
            FileType::Directory => true,
            FileType::Unknown => is_folder(folder, name),
            _other => false,
        };
        entries.push((name.to_owned(), is_folder));
    }
    Ok(entries)
}

fn is_folder(folder: BorrowedFd<'_>, name: &std::ffi::CStr) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Opens a folder for reading without following a link or entering a mount; makes one of ours readable.
fn open_folder(above: BorrowedFd<'_>, name: &CString) -> Result<OwnedFd, Errno> {
    match open_beneath(above, name, OFlags::RDONLY) {
        Err(Errno::ACCESS) => {
            let handle = open_beneath(above, name, OFlags::PATH)?;
            own_again(handle.as_fd())?;
            open_beneath(above, name, OFlags::RDONLY)
        }
        other => other,
    }
}

/// Opens a folder without following a link or entering a mount.
pub(super) fn open_beneath(above: BorrowedFd<'_>, name: &CString, how: OFlags) -> Result<OwnedFd, Errno> {
    let flags = how | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(above, name, flags, Mode::empty(), resolve) {
        // Older kernels and some sandboxes do not have it: the device number tells most mounts.
        Err(Errno::NOSYS | Errno::PERM) => {
            let opened = rustix::fs::openat(above, name, flags, Mode::empty())?;
            let same = rustix::fs::fstat(&opened)?.st_dev == rustix::fs::fstat(above)?.st_dev;
            if same { Ok(opened) } else { Err(Errno::XDEV) }
        }
        other => other,
    }
}

/// Tries again with write permission on the folder when only that was missing and the folder is ours.
fn with_write_permission(folder: BorrowedFd<'_>, act: impl Fn() -> Result<(), Errno>) -> Result<(), Errno> {
    match act() {
        Err(Errno::ACCESS) => match own_again(folder) {
            Ok(()) => act(),
            Err(_not_ours) => Err(Errno::ACCESS),
        },
        other => other,
    }
}

/// Gives the owner of a folder all permissions on it. Through `/proc`, as a handle takes no `fchmod`.
pub(super) fn own_again(folder: BorrowedFd<'_>) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let stat = rustix::fs::fstat(folder)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o700 == 0o700 {
        return Err(Errno::ACCESS);
    }
    let path = format!("/proc/self/fd/{}", folder.as_raw_fd());
    rustix::fs::chmod(path, Mode::from_raw_mode(stat.st_mode & 0o7777 | 0o700))
}

/// A name for system calls.
pub(super) fn c_name(bytes: &[u8]) -> CString {
    CString::new(bytes).expect("invariant: a file name has no NUL")
}

//! Lists a tree by `openat`, without following a link or crossing a mount.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use tokio_util::sync::CancellationToken;

use super::archive::{Content, Item, Stamp};
use super::pace::Stint;
use crate::raw::Raw;

/// Folders in folders, at most: each level holds a descriptor open.
const MAX_DEPTH: usize = 200;
/// Paths in one tree, at most: the list is in memory.
const MAX_ITEMS: usize = 4_000_000;

/// Why a tree was not archived.
#[derive(Debug)]
pub(super) enum Halt {
    /// It is kept whole, and why.
    Unfit(String),
    /// It is tried again later, and why.
    Later(String),
    /// The disk said no.
    Io(io::Error),
    /// It was cancelled.
    Cancelled,
}

impl From<io::Error> for Halt {
    fn from(source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::Unfit("a part of it cannot be read".to_owned()),
            _other => Self::Io(source),
        }
    }
}

impl From<rustix::io::Errno> for Halt {
    fn from(source: rustix::io::Errno) -> Self {
        io::Error::from(source).into()
    }
}

/// Opens a folder that is not a link.
pub(super) fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Opens the folder at a path whose last part is not a link.
pub(super) fn open_top(path: &Path) -> rustix::io::Result<OwnedFd> {
    open_dir(rustix::fs::CWD, path)
}

/// What lstat says about a path.
#[allow(clippy::unnecessary_cast, reason = "the widths of these fields differ between targets")]
pub(super) fn stamp_of(stat: &Stat) -> Stamp {
    Stamp {
        mode: stat.st_mode as u32,
        size: stat.st_size as u64,
        mtime: stat.st_mtime as i64,
        mtime_ns: stat.st_mtime_nsec as u32,
        ctime: stat.st_ctime as i64,
        ctime_ns: stat.st_ctime_nsec as u32,
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
        uid: stat.st_uid,
        gid: stat.st_gid,
    }
}

/// Lists everything under `top` but its own `.git` file, sorted by name, folders before what is in them.
/// Every regular file is listed as [`Content::File`].
pub(super) fn list_tree(
    top: &OwnedFd,
    stint: &mut Stint<'_>,
    cancel: &CancellationToken,
) -> Result<Vec<Item>, Halt> {
    let stat = rustix::fs::fstat(top)?;
    let own = rustix::process::geteuid().as_raw();
    let mut walk = Walk { items: Vec::new(), dev: stamp_of(&stat).dev, own, stint, cancel };
    walk.folder(top, &[], 0)?;
    Ok(walk.items)
}

struct Walk<'a, 'p> {
    items: Vec<Item>,
    dev: u64,
    own: u32,
    stint: &'a mut Stint<'p>,
    cancel: &'a CancellationToken,
}

impl Walk<'_, '_> {
    fn folder(&mut self, dir: &OwnedFd, path: &[u8], depth: usize) -> Result<(), Halt> {
        if self.cancel.is_cancelled() {
            return Err(Halt::Cancelled);
        }
        if depth > MAX_DEPTH {
            return Err(Halt::Unfit(format!("folders are nested more than {MAX_DEPTH} deep")));
        }
        for name in names(dir)? {
            if name.as_slice() == b".git" {
                if depth > 0 || !is_file(dir, &name)? {
                    return Err(Halt::Unfit(nested(path)));
                }
                continue;
            }
            self.entry(dir, path, &name, depth)?;
            self.stint.step();
        }
        Ok(())
    }

    fn entry(&mut self, dir: &OwnedFd, parent: &[u8], name: &[u8], depth: usize) -> Result<(), Halt> {
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let stamp = stamp_of(&stat);
        let mut path = parent.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if stamp.uid != self.own {
            return Err(Halt::Unfit(format!("{:?} belongs to user {}", Raw(path), stamp.uid)));
        }
        if stamp.dev != self.dev {
            return Err(Halt::Unfit(format!("something is mounted at {:?}", Raw(path))));
        }
        if self.items.len() >= MAX_ITEMS {
            return Err(Halt::Unfit(format!("the tree has more than {MAX_ITEMS} paths")));
        }
        let content = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Content::Dir,
            FileType::RegularFile => Content::File,
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(dir, name, Vec::new())?;
                Content::Link { target: Raw(target.into_bytes()) }
            }
            _special => return Err(Halt::Unfit(format!("{:?} is neither file, folder nor link", Raw(path)))),
        };
        let is_dir = content == Content::Dir;
        self.items.push(Item { path: Raw(path.clone()), content, stamp });
        if is_dir {
            let inner = open_dir(dir, name)?;
            let opened = stamp_of(&rustix::fs::fstat(&inner)?);
            if (opened.dev, opened.ino) != (stamp.dev, stamp.ino) {
                return Err(Halt::Later(format!("{:?} changed while it was being read", Raw(path))));
            }
            self.folder(&inner, &path, depth + 1)?;
        }
        Ok(())
    }
}

fn nested(path: &[u8]) -> String {
    if path.is_empty() {
        return "the tree is a repository of its own".to_owned();
    }
    format!("there is a repository in {:?}", Raw(path.to_vec()))
}

fn is_file(dir: &OwnedFd, name: &[u8]) -> Result<bool, Halt> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

/// The names in a folder, sorted, without `.` and `..`.
pub(super) fn names(dir: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name: &CStr = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_bytes().to_vec());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens the folder that holds `path`, walking down from `top` one name at a time.
pub(super) fn open_parent<'p>(top: &OwnedFd, path: &'p [u8]) -> io::Result<(OwnedFd, &'p OsStr)> {
    let mut dir = top.try_clone()?;
    let mut rest = path;
    while let Some(slash) = rest.iter().position(|byte| *byte == b'/') {
        dir = open_dir(&dir, &rest[..slash])?;
        rest = &rest[slash + 1..];
    }
    Ok((dir, OsStr::from_bytes(rest)))
}

//! Folders of a tree, opened below its top without following a link, and the names in them.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::archive_walk::open_dir;

/// So much of a folder is listed in one call.
const LIST_BYTES: usize = 32 << 10;

/// Opens a folder by its path below `top`; the empty path is `top` itself. Neither a link nor a mount on
/// the way is followed.
pub(super) fn open_below(top: &OwnedFd, path: &[u8]) -> io::Result<OwnedFd> {
    if path.is_empty() {
        return Ok(open_dir(top, c".")?);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match rustix::fs::openat2(top, path, flags, Mode::empty(), resolve) {
        Ok(dir) => Ok(dir),
        // A kernel or a filter of calls that does not know it; a path that is too long for one call.
        Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => Ok(step_down(top, path)?),
        Err(error) => Err(error.into()),
    }
}

/// The same one name at a time.
fn step_down(top: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let device = |dir: &OwnedFd| rustix::fs::fstat(dir).map(|stat| stat.st_dev);
    let own = device(top)?;
    let mut dir = open_dir(top, c".")?;
    for name in path.split(|byte| *byte == b'/') {
        dir = open_dir(&dir, name)?;
        if device(&dir)? != own {
            return Err(Errno::XDEV);
        }
    }
    Ok(dir)
}

/// The path of an entry of a folder, both relative to the top.
pub(super) fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() {
        return name.to_vec();
    }
    [folder, b"/", name].concat()
}

/// The names in one folder after another; keeps its room.
pub(super) struct Names {
    buffer: Box<[MaybeUninit<u8>]>,
    /// Each with its NUL.
    text: Vec<u8>,
    places: Vec<(usize, usize, FileType)>,
}

impl Names {
    pub fn new() -> Self {
        Self { buffer: Box::new_uninit_slice(LIST_BYTES), text: Vec::new(), places: Vec::new() }
    }

    /// Lists a folder, without `.` and `..`.
    pub fn list(&mut self, dir: impl AsFd) -> io::Result<()> {
        self.text.clear();
        self.places.clear();
        let mut listed = RawDir::new(dir, &mut self.buffer);
        while let Some(entry) = listed.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let bytes = name.to_bytes_with_nul();
            self.places.push((self.text.len(), bytes.len(), entry.file_type()));
            self.text.extend_from_slice(bytes);
        }
        let text = &self.text;
        self.places.sort_unstable_by(|one, two| text[one.0..one.0 + one.1].cmp(&text[two.0..two.0 + two.1]));
        Ok(())
    }

    /// The names in order, with what the folder says they are; that may be `Unknown`.
    pub fn iter(&self) -> impl Iterator<Item = (&CStr, FileType)> {
        self.places.iter().map(|(at, len, kind)| {
            let name = CStr::from_bytes_with_nul(&self.text[*at..at + len]);
            (name.expect("invariant: a name was stored with its NUL"), *kind)
        })
    }
}

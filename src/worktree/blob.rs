//! Tells whether a file has the bytes of its entry, where lstat alone cannot say it.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags};

use super::archive::{HASH_LIMIT, blob_oid, hex};
use super::index_file::{Entry, IndexFile};

/// True when contents may be altered between the repository and the tree: then bytes prove nothing.
pub(super) fn has_attributes(index: &IndexFile) -> bool {
    index.entries().any(|entry| {
        entry
            .path()
            .strip_suffix(b".gitattributes")
            .is_some_and(|rest| rest.last().is_none_or(|at| *at == b'/'))
    })
}

/// True when the regular file is exactly the entry's blob. A file of no sensible size is not read.
pub(super) fn is_file(dir: BorrowedFd<'_>, name: &CStr, entry: &Entry<'_>) -> io::Result<bool> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    let read = file.take(HASH_LIMIT + 1).read_to_end(&mut bytes)? as u64;
    Ok(read <= HASH_LIMIT && is_bytes(&bytes, entry))
}

/// True when these are exactly the entry's blob.
pub(super) fn is_bytes(bytes: &[u8], entry: &Entry<'_>) -> bool {
    blob_oid(bytes, entry.oid().len() * 2).is_some_and(|oid| oid == hex(entry.oid()))
}

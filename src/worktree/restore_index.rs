//! Tells a restored index that files which are byte for byte what they were need no second look.
//!
//! Git compares what lstat says with what the index remembers, and runs filters on every file that differs.
//! A file whose raw bytes a filter would alter (mixed line endings under `text=auto`) would then look
//! modified although nobody touched it. So an entry that matched before is made to match again; one that
//! did not match, or was too young for git to trust, is left as it is.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::AtFlags;

use super::archive::{Item, Stamp};
use super::archive_walk::{open_parent, stamp_of};
use super::index_file::IndexFile;
use super::index_stat::IndexStat;
use super::trash::write_synced;

/// Patches the index file in place. An index of an unknown kind is left alone.
pub(super) fn restamp(path: &Path, oid_len: usize, items: &[Item], top: &OwnedFd) -> io::Result<()> {
    let mut index = match IndexFile::read(path, oid_len) {
        Ok(index) => index,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidData) => return Ok(()),
        Err(error) => return Err(error),
    };
    let written = std::fs::metadata(path)?.modified()?;
    let known: HashMap<&[u8], &Stamp> =
        items.iter().map(|item| (item.path.as_bytes(), &item.stamp)).collect();
    let mut again = Vec::new();
    for (number, entry) in index.entries().enumerate() {
        let Some(before) = known.get(entry.path()) else { continue };
        if entry.stat() != IndexStat::of(before) || entry.is_racy() {
            continue;
        }
        let (dir, name) = open_parent(top, entry.path())?;
        let now = stamp_of(&rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?);
        again.push((number, IndexStat::of(&now)));
    }
    if again.is_empty() {
        return Ok(());
    }
    for (number, stat) in again {
        index.restamp(number, &stat);
    }
    write_synced(path, index.sealed())?;
    // Which entries are too young to trust depends on when the index was written.
    File::options().write(true).open(path)?.set_modified(written)
}

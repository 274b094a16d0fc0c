//! Writes a file that cannot be half there: beside its target, synced, swapped in.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::fault;

/// Puts a file (0600) in the place of what is there, or of nothing, and syncs the folder. A link in the
/// place is replaced, not followed.
///
/// # Errors
/// What the file system says; the target is as it was then, and nothing is beside it.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let sibling = sibling_of(path);
    let written = write(&sibling, bytes).and_then(|()| Ok(fault::at("file.replace")?));
    let swapped = written.and_then(|()| fs::rename(&sibling, path));
    if swapped.is_err() {
        let _may_not_be_there = fs::remove_file(&sibling);
    }
    swapped?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// A name that nobody else uses, so that two who write at once do not meet.
fn sibling_of(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", uuid::Uuid::new_v4().simple()));
    path.with_file_name(name)
}

fn write(sibling: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(sibling)?;
    file.write_all(bytes)?;
    file.sync_all()
}

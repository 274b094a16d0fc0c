//! Moves and copies admin directories, across file systems too.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error::WorktreeError;
use super::pace::Pace;
use super::remove::remove_tree;

/// Moves a folder: by rename, else by a copy that appears at `to` as a whole before `from` is removed.
pub(super) fn move_folder(from: &Path, to: &Path) -> Result<(), WorktreeError> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
            let part = sibling(to);
            copy_folder(from, &part, &[])?;
            std::fs::rename(&part, to).map_err(|source| WorktreeError::file("move", from, source))?;
            let _gone = remove_tree(from, None, &Pace::full())?;
            Ok(())
        }
        Err(error) => Err(WorktreeError::file("move", from, error)),
    }
}

/// Copies a folder with modes and times, without the names in `but` at its top. What an earlier try left at
/// `to` is removed first.
pub(super) fn copy_folder(from: &Path, to: &Path, but: &[&str]) -> Result<(), WorktreeError> {
    let _old = remove_tree(to, None, &Pace::full())?;
    copy_level(from, to, but).map_err(|source| WorktreeError::file("copy", from, source))
}

fn sibling(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn copy_level(from: &Path, to: &Path, but: &[&str]) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        if but.iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_level(&source, &target, &[])?;
        } else if kind.is_file() {
            copy_file(&source, &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&source)?, &target)?;
        }
    }
    let mode = std::fs::metadata(from)?.permissions().mode();
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode & 0o7777))
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source =
        OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(from)?;
    let facts = source.metadata()?;
    let mode = facts.permissions().mode() & 0o7777;
    let mut target: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    let _bytes = io::copy(&mut source, &mut target)?;
    target.set_permissions(std::fs::Permissions::from_mode(mode))?;
    target.set_modified(facts.modified()?)?;
    target.sync_all()
}

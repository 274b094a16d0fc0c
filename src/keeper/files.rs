//! The small files of a task's run folder.

use std::fs::DirBuilder;
use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use serde::Serialize;

use super::error::KeeperError;
use super::socket::SOCKET;

/// Who the task is: an [`Identity`](super::Identity).
pub const IDENTITY: &str = "task.json";
/// How its command ended: an [`Exit`](super::Exit).
pub const EXIT: &str = "exit.json";

/// Makes a folder for us alone, with its parents; says whether it was not there before.
pub(super) fn make_folder(path: &Path) -> Result<bool, KeeperError> {
    let fresh = !path.exists();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| KeeperError::MakeFolder { path: path.to_path_buf(), source })?;
    Ok(fresh)
}

/// Holds a folder open, so that what is written later is written there or nowhere.
pub(super) fn hold(path: &Path) -> Result<OwnedFd, KeeperError> {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| KeeperError::MakeFolder { path: path.to_path_buf(), source: e.into() })
}

/// Puts a value in place, whole or not at all.
///
/// Not synced to the disk: after a power cut the task is lost whatever is written here.
pub(super) fn put(folder: impl AsFd, name: &str, value: &impl Serialize) -> std::io::Result<()> {
    let folder = folder.as_fd();
    let sibling = format!(".{name}.new");
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file: std::fs::File =
        rustix::fs::openat(folder, &sibling, flags, Mode::RUSR | Mode::WUSR)?.into();
    let body = serde_json::to_vec(value).map_err(std::io::Error::other)?;
    let written = file.write_all(&body);
    if let Err(error) = written.and_then(|()| Ok(rustix::fs::renameat(folder, &sibling, folder, name)?)) {
        let _first_error_counts = rustix::fs::unlinkat(folder, &sibling, AtFlags::empty());
        return Err(error);
    }
    Ok(())
}

/// Takes the socket away.
pub(super) fn remove_socket(folder: impl AsFd) {
    let _folder_may_be_gone = rustix::fs::unlinkat(folder, SOCKET, AtFlags::empty());
}

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

/// What a file of a run folder takes on most disks: one block.
const ROOM: usize = 4096;

/// Takes the room of a value that is put there later: a disk that is full by then does not keep it out.
pub(super) fn make_room(folder: impl AsFd, name: &str) -> std::io::Result<()> {
    write(folder, &sibling_of(name), &[0; ROOM])
}

/// Removes what a task that could not be started has in its run folder.
pub(super) fn clear(folder: impl AsFd) {
    remove_socket(&folder);
    for name in [IDENTITY, EXIT] {
        let _never_made = rustix::fs::unlinkat(&folder, sibling_of(name), AtFlags::empty());
    }
}

/// Puts a value in place, whole or not at all, in the room that was made for it when there is some.
///
/// Not synced to the disk: after a power cut the task is lost whatever is written here.
pub(super) fn put(folder: impl AsFd, name: &str, value: &impl Serialize) -> std::io::Result<()> {
    let folder = folder.as_fd();
    let sibling = sibling_of(name);
    let body = serde_json::to_vec(value).map_err(std::io::Error::other)?;
    write(folder, &sibling, &body)?;
    rustix::fs::renameat(folder, &sibling, folder, name).map_err(|error| {
        let _first_error_counts = rustix::fs::unlinkat(folder, &sibling, AtFlags::empty());
        error.into()
    })
}

fn sibling_of(name: &str) -> String {
    format!(".{name}.new")
}

/// Writes a file over what it was; one that cannot be written is gone.
fn write(folder: impl AsFd, name: &str, body: &[u8]) -> std::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file: std::fs::File = rustix::fs::openat(&folder, name, flags, Mode::RUSR | Mode::WUSR)?.into();
    // Cut afterwards: its blocks are the room.
    let written = file.write_all(body).and_then(|()| file.set_len(body.len() as u64));
    written.inspect_err(|_full| {
        let _first_error_counts = rustix::fs::unlinkat(&folder, name, AtFlags::empty());
    })
}

/// Takes the socket away.
pub(super) fn remove_socket(folder: impl AsFd) {
    let _folder_may_be_gone = rustix::fs::unlinkat(folder, SOCKET, AtFlags::empty());
}

//! Sets a little room aside in a folder of trees, so that lanes can be cleaned up when the disk is full.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::FallocateFlags;

/// The file in the root that takes the room.
pub(super) const RESERVE: &str = ".reserve";
/// Enough for the records and pins of fifty lanes that are closed at once.
const RESERVE_BYTES: u64 = 1 << 20;

/// Sets the room aside, if it is not. Without it cleanup works as well until the disk is full: what fails is
/// for the log.
pub(super) fn keep(root: &Path) {
    let path = root.join(RESERVE);
    match make(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "no room could be set aside");
            let _not_made = std::fs::remove_file(&path);
        }
    }
}

/// Gives the room back; true when there was some. The next lane that is made sets it aside again.
pub(super) fn release(root: &Path) -> bool {
    std::fs::remove_file(root.join(RESERVE)).is_ok()
}

fn make(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES) {
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            file.write_all(&vec![0; RESERVE_BYTES as usize])
        }
        other => Ok(other?),
    }
}

//! The socket of a task: where it lies, how it is bound and reached however long its path is.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// The name of the socket in the run folder.
pub const SOCKET: &str = "keeper.sock";
/// What fits into `sun_path`, with the NUL at its end.
const SUN_PATH_BYTES: usize = 108;

/// A path for `bind` or `connect`, good as long as this value lives.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    _folder: Option<OwnedFd>,
}

impl SocketPath {
    /// The socket in `run_dir`; through a descriptor of the folder when the path would not fit.
    ///
    /// # Errors
    /// When the folder cannot be opened.
    pub fn new(run_dir: &Path) -> std::io::Result<Self> {
        let path = run_dir.join(SOCKET);
        if path.as_os_str().as_bytes().len() < SUN_PATH_BYTES {
            return Ok(Self { path, _folder: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(run_dir, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()));
        Ok(Self { path, _folder: Some(folder) })
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

/// Listens in `run_dir`, for us alone.
pub(super) fn listen(run_dir: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = SocketPath::new(run_dir)?;
    let listener = UnixListener::bind(path.as_path())?;
    // The folder is 0700 already; this is for people who look.
    std::fs::set_permissions(path.as_path(), std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// True when the other end belongs to our user.
pub fn is_ours(socket: impl AsFd) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(socket);
    peer.is_ok_and(|credentials| credentials.uid == rustix::process::geteuid())
}

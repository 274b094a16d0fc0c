//! The way to the runtime's socket: its place, also when the path is long, and who may be at the other end.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::ApiError;

/// The name of the socket in its home.
pub const SOCKET: &str = "daemon.sock";
/// `sun_path` has 108 bytes, the last of them zero.
const MAX_PATH: usize = 107;
/// How long a full queue of connections is waited for; the runtime empties it in milliseconds.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// Between two tries to get into that queue.
const CONNECT_PAUSE: Duration = Duration::from_millis(10);

/// Where the socket of a home is.
pub fn socket_path(home: &Path) -> PathBuf {
    home.join(SOCKET)
}

/// A path that fits into a socket address.
#[derive(Debug)]
pub struct Address {
    /// What to bind or connect to.
    pub path: PathBuf,
    /// The home, open as long as `path` leads through it.
    _home: Option<OwnedFd>,
}

impl Address {
    /// The address of the socket of `home`: its path, or a way through `/proc/self/fd` where that is too long.
    ///
    /// # Errors
    /// The home cannot be opened (only asked for when the path is too long).
    pub fn of(home: &Path) -> io::Result<Self> {
        let path = socket_path(home);
        if path.as_os_str().as_bytes().len() <= MAX_PATH {
            return Ok(Self { path, _home: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let home = rustix::fs::open(home, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", home.as_raw_fd()));
        Ok(Self { path, _home: Some(home) })
    }
}

/// Connects to the runtime of `home` and makes sure that it is ours.
///
/// # Errors
/// [`ApiError::NobodyThere`], [`ApiError::Connect`], [`ApiError::ForeignServer`].
pub async fn connect(home: &Path) -> Result<UnixStream, ApiError> {
    let deadline = Instant::now() + CONNECT_WAIT;
    let stream = loop {
        match try_connect(home).await {
            Ok(stream) => break stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline => {
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            Err(error) if is_nobody(&error) => {
                return Err(ApiError::NobodyThere { home: home.to_path_buf() });
            }
            Err(source) => return Err(ApiError::Connect { path: socket_path(home), source }),
        }
    };
    let peer = stream.peer_cred().map_err(|source| ApiError::Connect { path: socket_path(home), source })?;
    if peer.uid() != rustix::process::geteuid().as_raw() {
        return Err(ApiError::ForeignServer { path: socket_path(home), uid: peer.uid() });
    }
    Ok(stream)
}

async fn try_connect(home: &Path) -> io::Result<UnixStream> {
    let address = Address::of(home)?;
    UnixStream::connect(&address.path).await
}

/// A home that is no folder has nobody in it either; whoever starts a runtime there is told what is wrong.
fn is_nobody(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | NotADirectory)
}

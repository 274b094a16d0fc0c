//! The listening socket: bound for our user alone, taken away when the runtime goes.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use tokio::net::UnixListener;

use super::DaemonError;
use crate::api::socket::{Address, socket_path};
use crate::files::Place;
use crate::home::private_folder;

/// The listening socket of a home. Dropping it takes the file away.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    file: Removed,
}

/// The file; removed when this is dropped.
#[derive(Debug)]
struct Removed(Place);

impl Socket {
    /// Binds the socket of `home`, 0600 in a folder of 0700.
    ///
    /// The caller holds the owner lock of the home: a socket that lies there is what a runtime left that
    /// was killed, and is replaced.
    ///
    /// # Errors
    /// [`DaemonError::Home`], [`DaemonError::InTheWay`], [`DaemonError::Bind`].
    pub fn bind(home: &Path) -> Result<Self, DaemonError> {
        private_folder(home)?;
        let path = socket_path(home);
        remove_stale(&path)?;
        let failed = |source| DaemonError::Bind { path: path.clone(), source };
        let address = Address::of(home).map_err(failed)?;
        // Nobody else can enter the home, so nobody connects between these two steps.
        let listener = UnixListener::bind(&address.path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        let file = Removed(Place::of(&path).map_err(failed)?);
        Ok(Self { listener, file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.0.path()
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for Removed {
    fn drop(&mut self) {
        // Only what is surely ours: another runtime may have put its own there.
        if self.0.is_held().unwrap_or(false) {
            let _gone_already = std::fs::remove_file(self.0.path());
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), DaemonError> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path)
            .map_err(|source| DaemonError::Bind { path: path.to_path_buf(), source }),
        Ok(_something_else) => Err(DaemonError::InTheWay { path: path.to_path_buf() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(DaemonError::Bind { path: path.to_path_buf(), source }),
    }
}

//! Where the store is, and that it still is there: a file that was deleted or exchanged under an open store
//! would take everything that is written from then on with it.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::StoreError;
use super::open::{move_aside, open_whole, with_suffix};

/// A file by its name, and which one it was when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    dev: u64,
    ino: u64,
}

impl Place {
    /// The file at `path`.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        let about = fs::symlink_metadata(path)?;
        Ok(Self { path: path.to_owned(), dev: about.dev(), ino: about.ino() })
    }

    /// True while the name leads to that file. Takes a microsecond.
    pub fn holds(&self) -> bool {
        // What cannot be looked at (no descriptor, no right) is not gone.
        match fs::symlink_metadata(&self.path) {
            Ok(about) => (about.dev(), about.ino()) == (self.dev, self.ino),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }
}

/// Writes a store that lost its name under it again, from the connection that still has all of it; what was
/// put in its place is moved aside.
pub(super) fn put_back(old: &Connection, path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Sqlite {
        path: path.to_owned(),
        attempt: "write again, as it was taken away,",
        source,
    };
    let moved = |source| StoreError::MoveAside { path: path.to_owned(), source };
    // Closing it later would remove the files at its old names, which are the new store's by then.
    let _was_off = old.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    let back = with_suffix(path, ".back");
    remove(&back).map_err(moved)?;
    let name = back.to_str().ok_or_else(|| moved(io::ErrorKind::InvalidFilename.into()))?;
    old.execute("VACUUM INTO ?1", [name]).map_err(failed)?;
    let file = fs::File::open(&back).map_err(moved)?;
    file.set_permissions(fs::Permissions::from_mode(0o600)).and_then(|()| file.sync_all()).map_err(moved)?;
    if fs::symlink_metadata(path).is_ok() {
        let aside = move_aside(path)?;
        tracing::warn!(aside = %aside.display(), "another store was put in the place of ours");
    } else {
        // Ours without its store: all of it is in the new one.
        for suffix in ["-wal", "-shm"] {
            remove(&with_suffix(path, suffix)).map_err(moved)?;
        }
    }
    fs::rename(&back, path).map_err(moved)?;
    let (connection, _opened) = open_whole(path)?;
    tracing::warn!(path = %path.display(), "the store was deleted while it was open; it was written again");
    Ok(connection)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

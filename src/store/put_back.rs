//! Writes a store again whose file was deleted or exchanged under it: that would take everything that is
//! written from then on with it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::StoreError;
use super::open::{move_aside, open_whole, with_suffix};

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

//! Opening: files of ours with the right modes, a store that is whole, or one that is moved aside.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{StoreError, schema};
use crate::{clock, fault};

/// How long a write waits for somebody who looks at the file with another program.
const BUSY: Duration = Duration::from_secs(5);
/// Stores up to this size are checked whole at every start; it takes less than a tenth of a second.
const CHECK_ALL_BYTES: u64 = 32 * 1024 * 1024;
/// What the index of the log takes at first, 32 KiB in blocks.
const LOG_INDEX_BLOCKS: u64 = 8;
/// The write-ahead log is cut back to this size after a burst.
const LOG_BYTES: i64 = 8 * 1024 * 1024;

/// How a store was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Where the damaged file went that was there before.
    pub moved_aside: Option<PathBuf>,
    /// True when the store is new.
    pub created: bool,
    /// The epoch of its offsets.
    pub epoch: String,
    /// The newest offset.
    pub head: u64,
}

/// Opens the store at `path` for writing, or moves what is damaged aside and makes a new one.
pub(super) fn open(path: &Path) -> Result<(Connection, Opened), StoreError> {
    let mut moved_aside = None;
    if is_headless(path) {
        moved_aside = Some(move_aside(path)?);
    }
    match open_whole(path) {
        Ok((connection, opened)) => Ok((connection, Opened { moved_aside, ..opened })),
        Err(error) if error.is_corrupt() && moved_aside.is_none() => {
            moved_aside = Some(move_aside(path)?);
            let (connection, opened) = open_whole(path)?;
            Ok((connection, Opened { moved_aside, ..opened }))
        }
        Err(error) if error.is_unexplained() && has_no_room(path) => {
            let source = io::Error::from_raw_os_error(libc::ENOSPC);
            Err(StoreError::OpenFile { path: path.to_owned(), source })
        }
        Err(error) => Err(error),
    }
}

/// True when there is no block or no inode left for what SQLite makes beside the store.
fn has_no_room(path: &Path) -> bool {
    rustix::fs::statvfs(path)
        .is_ok_and(|disk| disk.f_bavail < LOG_INDEX_BLOCKS || (disk.f_files > 0 && disk.f_favail < 2))
}

/// Opens one more connection that cannot write.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let failed = |source| StoreError::Sqlite { path: path.to_owned(), attempt: "open a reader of", source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    connection.pragma_update(None, "cache_size", -1024).map_err(failed)?;
    // Emptying the log is the writer's business, also when it has gone before.
    let _was_off =
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(failed)?;
    Ok(connection)
}

pub(super) fn open_whole(path: &Path) -> Result<(Connection, Opened), StoreError> {
    fault::at("store.open")?;
    prepare_file(path)?;
    let failed = |attempt| {
        let path = path.to_owned();
        move |source| StoreError::Sqlite { path, attempt, source }
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed("open"))?;
    connection.busy_timeout(BUSY).map_err(failed("open"))?;
    let found = schema::version(&connection).map_err(failed("read"))?;
    if found > schema::VERSION {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: schema::VERSION });
    }
    set_up(&connection, path)?;
    check(&connection, path, found)?;
    let fresh = uuid::Uuid::new_v4().simple().to_string();
    fault::at("store.migrate")?;
    let created = schema::migrate(&mut connection, &fresh).map_err(failed("migrate"))?;
    let (epoch, head) = connection
        .query_row("SELECT epoch, head FROM journal WHERE id = 1", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(|source| damaged(path, "read", source))?;
    Ok((connection, Opened { moved_aside: None, created, epoch, head }))
}

fn set_up(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::Sqlite { path: path.to_owned(), attempt: "set up", source };
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(StoreError::NoLog { path: path.to_owned(), mode });
    }
    connection.pragma_update(None, "synchronous", "NORMAL").map_err(failed)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES).map_err(failed)?;
    connection.pragma_update(None, "cache_size", -4096).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Looks for damage; what is found is an error of the kind that moves the file aside.
fn check(connection: &Connection, path: &Path, version: i64) -> Result<(), StoreError> {
    let failed = |source| StoreError::Sqlite { path: path.to_owned(), attempt: "check", source };
    if version == 0 {
        let tables: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
            .map_err(failed)?;
        // Somebody else's database in our place.
        return if tables == 0 { Ok(()) } else { Err(corrupt(path, "it has tables that are not ours")) };
    }
    if let Some(missing) = schema::missing(connection).map_err(|source| damaged(path, "check", source))? {
        return Err(corrupt(path, missing));
    }
    if fs::metadata(path).is_ok_and(|meta| meta.len() <= CHECK_ALL_BYTES) {
        let verdict: String =
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
        if verdict != "ok" {
            return Err(corrupt(path, &verdict));
        }
    }
    Ok(())
}

fn corrupt(path: &Path, why: &str) -> StoreError {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    let source = rusqlite::Error::SqliteFailure(code, Some(why.to_owned()));
    StoreError::Sqlite { path: path.to_owned(), attempt: "use", source }
}

/// A store of a known version without its own tables and rows is damaged, whatever SQLite calls it.
fn damaged(path: &Path, attempt: &'static str, source: rusqlite::Error) -> StoreError {
    let ours_is_missing = matches!(source, rusqlite::Error::QueryReturnedNoRows)
        || source.sqlite_error_code() == Some(rusqlite::ErrorCode::Unknown);
    if ours_is_missing {
        return corrupt(path, "its own tables are missing");
    }
    StoreError::Sqlite { path: path.to_owned(), attempt, source }
}

/// Makes the file if it is missing, and refuses what is not a plain file.
fn prepare_file(path: &Path) -> Result<(), StoreError> {
    let failed = |source| StoreError::OpenFile { path: path.to_owned(), source };
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return Err(StoreError::NotAFile { path: path.to_owned() });
    }
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)?;
    // SQLite gives the log and the index the mode of the file.
    file.set_permissions(fs::Permissions::from_mode(0o600)).map_err(failed)?;
    for other in [with_suffix(path, "-wal"), with_suffix(path, "-shm")] {
        match fs::symlink_metadata(&other) {
            Ok(meta) if !meta.is_file() => return Err(StoreError::NotAFile { path: other }),
            Ok(_) => fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
        }
    }
    Ok(())
}

/// True when a log is there whose store is empty or gone: SQLite would delete the log without a word.
fn is_headless(path: &Path) -> bool {
    let length = |path: &Path| fs::symlink_metadata(path).map_or(0, |meta| meta.len());
    length(path) == 0 && length(&with_suffix(path, "-wal")) > 0
}

pub(super) fn move_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let failed = |source| StoreError::MoveAside { path: path.to_owned(), source };
    let base = with_suffix(path, &format!(".corrupt-{}", clock::now().as_ms()));
    let free = (0..1000).map(|number| match number {
        0 => base.clone(),
        _again => with_suffix(&base, &format!(".{number}")),
    });
    let mut free = free.filter(|aside| fs::symlink_metadata(aside).is_err());
    let aside = free.next().ok_or_else(|| failed(io::ErrorKind::AlreadyExists.into()))?;
    // The store goes last: as long as it is there, a start that was cut off does this again.
    for suffix in ["-wal", "-shm", ""] {
        fault::at("store.aside")?;
        match fs::rename(with_suffix(path, suffix), with_suffix(&aside, suffix)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(source)),
        }
    }
    Ok(aside)
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

//! Looks into a store from outside, and changes not one byte of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::error::StoreError;
use super::open::with_suffix;
use super::{rows, schema};
use crate::bus::{Snapshot, Table};
use crate::clock::Timestamp;

/// How long a look waits for a writer.
const BUSY: Duration = Duration::from_secs(1);

/// What a look found.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its schema; 0 for an empty file.
    pub version: i64,
    /// What is damaged, when something is.
    pub damage: Option<String>,
    /// When the newest event happened.
    pub newest: Option<Timestamp>,
    /// Workspaces, lanes and tasks; none in a store that is empty, newer or damaged.
    pub records: Option<Snapshot>,
}

/// Looks into the store at `path`. `owned` says that an owner lives: its files are read like by any reader
/// then, which never waits for it nor it for us. Without one SQLite would make a log and an index, so the
/// file is read as it is; `None` when there is a log that could only be read by making an index.
///
/// # Errors
/// [`StoreError::Sqlite`] when it cannot be read.
pub fn inspect(path: &Path, owned: bool) -> Result<Option<Inspection>, StoreError> {
    let failed = |source| StoreError::Sqlite { path: path.to_owned(), attempt: "look into", source };
    let Some(uri) = uri(path, owned) else { return Ok(None) };
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut connection = Connection::open_with_flags(uri, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    let transaction = connection.transaction().map_err(failed)?;
    let version = schema::version(&transaction).map_err(failed)?;
    let mut found = Inspection { version, damage: None, newest: None, records: None };
    let verdict: String =
        transaction.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(failed)?;
    if verdict != "ok" {
        found.damage = Some(verdict);
        return Ok(Some(found));
    }
    if version == 0 || version > schema::VERSION {
        return Ok(Some(found));
    }
    if let Some(missing) = schema::missing(&transaction).map_err(failed)? {
        found.damage = Some(missing.to_owned());
        return Ok(Some(found));
    }
    found.newest = transaction
        .query_row("SELECT max(ts) FROM (SELECT ts FROM events ORDER BY offset DESC LIMIT 100)", [], |row| {
            row.get::<_, Option<u64>>(0)
        })
        .map_err(failed)?
        .map(Timestamp);
    match rows::snapshot(&transaction, &[Table::Workspaces, Table::Lanes, Table::Tasks]) {
        Ok(records) => found.records = Some(records),
        Err(error) => found.damage = Some(error.to_string()),
    }
    Ok(Some(found))
}

/// Where and how to open: see [`inspect`].
fn uri(path: &Path, owned: bool) -> Option<String> {
    let length = |suffix: &str| fs::symlink_metadata(with_suffix(path, suffix)).map(|meta| meta.len());
    let how = match (owned, length("-wal").unwrap_or(0), length("-shm")) {
        (true, _, _) => "mode=ro",
        (false, 0, _) => "mode=ro&immutable=1",
        (false, _, Ok(_there)) => "mode=ro&readonly_shm=1",
        (false, _, Err(_missing)) => return None,
    };
    Some(format!("file:{}?{how}", escaped(path)))
}

/// A path as a URI has it.
fn escaped(path: &Path) -> String {
    path.as_os_str().as_encoded_bytes().iter().fold(String::new(), |mut text, byte| {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                text.push(char::from(*byte))
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
        text
    })
}

/// Damaged stores that were moved aside from `path`, oldest first.
pub fn moved_aside(path: &Path) -> Vec<PathBuf> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let start = format!("{}.corrupt-", name.to_string_lossy());
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let is_store =
        |name: &str| name.starts_with(&start) && !name.ends_with("-wal") && !name.ends_with("-shm");
    let mut found: Vec<PathBuf> =
        entries.flatten().filter(|entry| is_store(&name(entry))).map(|entry| entry.path()).collect();
    found.sort();
    found
}

//! What went wrong with the store: one variant per operation, with what was attempted.

use std::io;
use std::path::PathBuf;

use crate::failure::{self, Code, DISK_HINT, Failure};
use crate::fault::Injected;

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be made or opened.
    #[error("could not open the store {}: {source}", path.display())]
    OpenFile {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something that is no file of ours is in the place of the store.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// Which path.
        path: PathBuf,
    },
    /// SQLite could not use the file.
    #[error("could not {attempt} the store {}: {source}", path.display())]
    Sqlite {
        /// Which file.
        path: PathBuf,
        /// What was being done.
        attempt: &'static str,
        /// Why not.
        source: rusqlite::Error,
    },
    /// The file system cannot hold a write-ahead log.
    #[error("the store {} cannot keep a write-ahead log, only {mode:?}", path.display())]
    NoLog {
        /// Which file.
        path: PathBuf,
        /// What SQLite offers instead.
        mode: String,
    },
    /// A newer version of the program wrote this store.
    #[error("the store {} has schema {found}, this program knows up to {known}", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// A corrupt file could not be moved aside.
    #[error("could not move the damaged store {} aside: {source}", path.display())]
    MoveAside {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread of the store could not be started.
    #[error("could not start a thread of the store: {source}")]
    Spawn {
        /// Why.
        source: io::Error,
    },
    /// Somebody else wrote events into this store while we own it.
    #[error("somebody else writes to the store {}", path.display())]
    ForeignWriter {
        /// Which file.
        path: PathBuf,
    },
    /// The state folder was taken away, or given to another process, while this one used it.
    #[error("the state folder of {} is not ours any more", path.display())]
    Disowned {
        /// Which file.
        path: PathBuf,
    },
    /// A record in the store is not JSON any more.
    #[error("could not read what the store holds at {key}: {source}")]
    Decode {
        /// The offset or the key.
        key: String,
        /// Why.
        source: serde_json::Error,
    },
    /// An event could not be written as JSON.
    #[error("could not write an event as JSON: {source}")]
    Encode {
        /// Why.
        source: serde_json::Error,
    },
    /// The store was closed, or its writer has ended.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Sqlite { source, .. } => is_code(source, rusqlite::ErrorCode::DiskFull),
            Self::OpenFile { source, .. } | Self::MoveAside { source, .. } => {
                failure::about(source).0 == Code::DiskLow
            }
            Self::NotAFile { .. }
            | Self::NoLog { .. }
            | Self::Newer { .. }
            | Self::Spawn { .. }
            | Self::ForeignWriter { .. }
            | Self::Disowned { .. }
            | Self::Decode { .. }
            | Self::Encode { .. }
            | Self::Closed => false,
        }
    }

    /// True when SQLite could not make or write a file, and does not say why.
    pub(super) fn is_unexplained(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, SystemIoFailure};
        matches!(self, Self::Sqlite { source, .. }
            if is_code(source, CannotOpen) || is_code(source, SystemIoFailure))
    }

    /// True when the file is damaged, or none of SQLite's.
    pub fn is_corrupt(&self) -> bool {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        matches!(self, Self::Sqlite { source, .. }
            if is_code(source, DatabaseCorrupt) || is_code(source, NotADatabase))
    }
}

fn is_code(error: &rusqlite::Error, code: rusqlite::ErrorCode) -> bool {
    error.sqlite_error_code() == Some(code)
}

impl From<Injected> for StoreError {
    /// As SQLite would say it.
    fn from(injected: Injected) -> Self {
        let code = match injected.source.raw_os_error() {
            Some(libc::ENOSPC) => rusqlite::ffi::SQLITE_FULL,
            Some(libc::EIO) => rusqlite::ffi::SQLITE_IOERR,
            Some(_) | None => rusqlite::ffi::SQLITE_CANTOPEN,
        };
        let source = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        Self::Sqlite { path: injected.name.into(), attempt: "pass", source }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let message = error.to_string();
        let failure = |code| Self::new(code, message.clone());
        match &error {
            full if full.is_full() => failure(Code::DiskLow).hint(DISK_HINT),
            StoreError::OpenFile { .. } => failure(Code::Io)
                .hint("the state folder must exist and be writable; `--home DIR` uses another one"),
            StoreError::NotAFile { .. } => {
                failure(Code::Io).hint("move it out of the way; the store is made anew")
            }
            StoreError::Sqlite { .. } => failure(Code::Io)
                .hint("look whether the disk is well and the state folder may be written to, then try again"),
            StoreError::NoLog { .. } => {
                failure(Code::Io).hint("put the state folder on a local file system: `--home DIR`")
            }
            StoreError::Newer { .. } => failure(Code::StoreNewer)
                .hint("use the newer version of lanes that wrote it, or another state folder: `--home DIR`"),
            StoreError::MoveAside { .. } => failure(Code::Io).hint("move it aside by hand and start again"),
            StoreError::ForeignWriter { .. } => {
                failure(Code::Io).hint("only the owner of the state folder may write; end the other program")
            }
            StoreError::Spawn { source } => Self::system(message, source),
            StoreError::Decode { .. } | StoreError::Encode { .. } => {
                failure(Code::Io).hint("what is written there is not readable to this version of lanes")
            }
            StoreError::Disowned { .. } => {
                failure(Code::DaemonDown).hint("start again: lanes that live are taken up by the next owner")
            }
            StoreError::Closed => failure(Code::DaemonDown).hint("the runtime is shutting down"),
        }
    }
}

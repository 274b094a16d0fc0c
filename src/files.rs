//! Files by their names: written so that none is half there, and known again by which one it was.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::fault;

/// So often a file is begun again that a sweep took for a leftover in the moment it was made.
const TRIES: u32 = 8;

/// A file by its name, and which one it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    dev: u64,
    ino: u64,
}

impl Place {
    /// The file at `path`; a link is not followed.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from_facts(path, &fs::symlink_metadata(path)?))
    }

    /// The file that was opened as `path`.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub fn of_open(path: &Path, file: &File) -> io::Result<Self> {
        Ok(Self::from_facts(path, &file.metadata()?))
    }

    fn from_facts(path: &Path, facts: &fs::Metadata) -> Self {
        Self { path: path.to_owned(), dev: facts.dev(), ino: facts.ino() }
    }

    /// The name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True while the name leads to that file. Takes a microsecond.
    ///
    /// # Errors
    /// When nobody can tell (no descriptor, no right): the caller says what it stands for then.
    pub fn is_held(&self) -> io::Result<bool> {
        match fs::symlink_metadata(&self.path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (self.dev, self.ino)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Puts a file (0600) in the place of what is there, or of nothing, and syncs the folder. A link in the
/// place is replaced, not followed. What somebody who was killed left beside it goes.
///
/// # Errors
/// What the file system says; the target is as it was then, and nothing is beside it.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    sweep(path);
    let mut tries = 0;
    loop {
        tries += 1;
        match swap_in(path, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
            Err(error) => return Err(error),
            Ok(()) => break,
        }
    }
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Puts a file with these permissions in the place of what is there, or of nothing, and leaves it to the system
/// when that reaches the disk: for what another record says as well, and is looked at after a crash of the
/// machine.
///
/// # Errors
/// What the file system says; the target is as it was then, and nothing is beside it.
pub fn exchange(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    sweep(path);
    let sibling = sibling_of(path);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&sibling)?;
        flock(&file, FlockOperation::LockExclusive)?;
        file.write_all(bytes)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        fs::rename(&sibling, path)
    };
    let exchanged = write();
    if exchanged.is_err() {
        let _may_not_be_there = fs::remove_file(&sibling);
    }
    exchanged
}

/// Removes what killed writers of this file left beside it. One that is being written is locked, and stays.
pub fn sweep(path: &Path) {
    let (Some(parent), Some(prefix)) = (path.parent(), prefix_of(path)) else { return };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let rest = name.as_bytes().strip_prefix(prefix.as_bytes());
        let is_ours = rest.is_some_and(|rest| rest.len() == 32 && rest.iter().all(u8::is_ascii_hexdigit));
        if !is_ours {
            continue;
        }
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(entry.path());
        if file.is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()) {
            let _gone_already = fs::remove_file(entry.path());
        }
    }
}

fn swap_in(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let sibling = sibling_of(path);
    // Held until it is swapped in: its lock says that somebody is at it.
    let swapped = write(&sibling, bytes).and_then(|_held| {
        fault::at("file.replace")?;
        fs::rename(&sibling, path)
    });
    if swapped.is_err() {
        let _may_not_be_there = fs::remove_file(&sibling);
    }
    swapped
}

fn prefix_of(path: &Path) -> Option<OsString> {
    let mut name = OsString::from(".");
    name.push(path.file_name()?);
    name.push(".");
    Some(name)
}

/// A name that nobody else uses, so that two who write at once do not meet.
fn sibling_of(path: &Path) -> PathBuf {
    let mut name = prefix_of(path).unwrap_or_default();
    name.push(uuid::Uuid::new_v4().simple().to_string());
    path.with_file_name(name)
}

fn write(sibling: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(sibling)?;
    flock(&file, FlockOperation::LockExclusive)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

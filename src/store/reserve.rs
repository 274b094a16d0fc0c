//! The reserve: a file that holds space, given back when a write finds the disk full.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;

use super::open::with_suffix;

/// The log moved into the store once, and then what cleanup of every lane writes, several times over.
const RESERVE_BYTES: u64 = 8 * 1024 * 1024;
/// The reserve comes back when this much is free beside it: not while somebody fights for the last bytes.
const COMFORT_BYTES: u64 = 64 * 1024 * 1024;
/// How often a missing reserve is thought of.
const RETRY: Duration = Duration::from_secs(60);

/// Space for bad times.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    held: bool,
    looked_at: Instant,
}

impl Reserve {
    /// The reserve beside the store at `path`; made when there is space for it.
    pub(super) fn beside(path: &Path) -> Self {
        let mut reserve =
            Self { path: with_suffix(path, ".reserve"), held: false, looked_at: Instant::now() };
        reserve.make();
        reserve
    }

    /// Gives the space back. True when there was any.
    pub(super) fn release(&mut self) -> bool {
        let held = std::mem::take(&mut self.held);
        self.looked_at = Instant::now();
        held && fs::remove_file(&self.path).is_ok()
    }

    /// Makes it again when it is missing, now and then, once there is space.
    pub(super) fn restore(&mut self) {
        if !self.held && self.looked_at.elapsed() >= RETRY {
            self.make();
        }
    }

    fn make(&mut self) {
        self.looked_at = Instant::now();
        match allocate(&self.path) {
            Ok(held) => self.held = held,
            Err(error) => {
                tracing::debug!(%error, "no space is held in reserve");
                let _nothing_was_there = fs::remove_file(&self.path);
            }
        }
    }
}

/// Gives the space of the reserve beside the store at `path` back. True when there was any.
pub(super) fn give_back(path: &Path) -> bool {
    let held = fs::remove_file(with_suffix(path, ".reserve")).is_ok();
    if held {
        tracing::warn!("the disk is full; the reserve of the store was given back");
    }
    held
}

fn allocate(path: &Path) -> io::Result<bool> {
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path)?;
    let meta = file.metadata()?;
    if std::os::unix::fs::MetadataExt::blocks(&meta) * 512 >= RESERVE_BYTES {
        return Ok(true);
    }
    let disk = rustix::fs::fstatvfs(&file)?;
    if disk.f_bavail * disk.f_frsize < RESERVE_BYTES + COMFORT_BYTES {
        drop(file);
        fs::remove_file(path)?;
        return Ok(false);
    }
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)?;
    Ok(true)
}

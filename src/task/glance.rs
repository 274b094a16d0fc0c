//! Short looks at a task from outside: whether its keeper lives, what its log ends with.

use std::path::Path;
use std::time::UNIX_EPOCH;

use super::identity::alive;
use super::pidfd;
use super::recipe::RECIPE;
use crate::clock::Timestamp;
use crate::keeper::{Identity, LogReader, Piece};
use crate::proc;

/// The boot that start times of now belong to.
pub fn boot_id() -> String {
    proc::boot_id()
}

/// True while exactly this task's keeper lives.
pub fn keeper_alive(identity: &Identity) -> bool {
    alive(identity.keeper_pid, identity.keeper_start, &identity.boot_id)
}

/// Ends a keeper that does not end itself; exactly this one, and never our own process.
pub fn kill_keeper(identity: &Identity) {
    if identity.keeper_pid == std::process::id() {
        return;
    }
    let Some(process) = pidfd::open(identity.keeper_pid) else { return };
    // The descriptor names one process for good; it is the keeper if the keeper lives now.
    if keeper_alive(identity) {
        let _gone = rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL);
    }
}

/// When something was last written to a log; none for an empty one.
pub fn last_output(log_dir: &Path) -> Option<Timestamp> {
    let entries = std::fs::read_dir(log_dir).ok()?.flatten();
    let times = entries.filter(|entry| entry.file_name() != RECIPE).filter_map(|entry| {
        let about = entry.metadata().ok().filter(|about| about.len() > 0)?;
        about.modified().ok()?.duration_since(UNIX_EPOCH).ok()
    });
    times.max().map(|since| Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

/// The offset after the last byte of a log; 0 when it cannot be read.
pub fn log_end(log_dir: &Path) -> u64 {
    LogReader::open(log_dir, 0).end().unwrap_or(0)
}

/// The last bytes of a log as text, at most `max` of them.
pub fn tail(log_dir: &Path, max: usize) -> String {
    let mut reader = LogReader::open(log_dir, log_end(log_dir).saturating_sub(max as u64));
    reader.writer_is_gone();
    let mut bytes = Vec::new();
    while let Ok(Some(piece)) = reader.read_chunk() {
        match piece {
            Piece::Chunk(chunk) => bytes.extend(chunk.bytes),
            Piece::Gap { .. } => {}
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

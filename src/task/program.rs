//! The copy of the keeper's program that outlives its original.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::TaskError;
use crate::{clock, proc};

/// The small program that lies beside ours.
const NAME: &str = "lanes-keeper";
/// A copy that is younger, in seconds, may be just being made.
const YOUNG_S: i64 = 60;

/// The keeper's program for the program we are: the small one beside it, or else itself.
///
/// One that was built alone (`cargo run`), or embeds us, has nothing beside it.
pub(super) fn beside_us() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|ours| ours.with_file_name(NAME));
    beside.filter(|program| program.is_file()).unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// Copies `from` into `bin`, unless that copy is there; says where it is.
pub(super) fn copy(from: &Path, bin: &Path) -> Result<PathBuf, TaskError> {
    let failed = |source| TaskError::CopyKeeper { from: from.to_path_buf(), to: bin.to_path_buf(), source };
    let mut source = File::open(from).map_err(failed)?;
    let about = source.metadata().map_err(failed)?;
    let target = bin.join(name(from, &about));
    // Time and size are the original's, so one that was cut off or changed since is made anew.
    let there = std::fs::symlink_metadata(&target);
    if there.is_ok_and(|there| there.is_file() && stamp(&there) == stamp(&about)) {
        return Ok(target);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(bin).map_err(failed)?;
    let sibling = bin.join(format!(".new-{}", uuid::Uuid::new_v4().simple()));
    let copied = copy_file(&mut source, &about, &sibling).and_then(|()| {
        // A keeper that runs from an earlier one keeps its file.
        std::fs::rename(&sibling, &target)
    });
    if copied.is_err() {
        let _may_never_have_been = std::fs::remove_file(&sibling);
    }
    copied.map_err(failed)?;
    Ok(target)
}

/// Programs in a folder of copies that nobody runs from, but for the newest. Blocks.
pub fn unused_copies(bin: &Path) -> Vec<PathBuf> {
    let running: BTreeSet<(u64, u64)> = proc::all()
        .iter()
        .filter_map(|process| fs::metadata(format!("/proc/{}/exe", process.pid)).ok())
        .map(|meta| (meta.dev(), meta.ino()))
        .collect();
    let Ok(entries) = fs::read_dir(bin) else { return Vec::new() };
    let mut all: Vec<((i64, i64), PathBuf, bool)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), entry.path().symlink_metadata().ok()?)))
        .filter(|(_path, meta)| meta.is_file())
        .map(|(path, meta)| {
            ((meta.ctime(), meta.ctime_nsec()), path, running.contains(&(meta.dev(), meta.ino())))
        })
        .collect();
    all.sort();
    let is_half =
        |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".new-"));
    // The newest one is what the next keeper probably runs from.
    if let Some(newest) = all.iter().rposition(|(_at, path, _runs)| !is_half(path)) {
        let _kept = all.remove(newest);
    }
    let now = i64::try_from(clock::now().as_ms() / 1000).unwrap_or(i64::MAX);
    let is_old = |path: &Path, at: i64| !is_half(path) || now.saturating_sub(at) > YOUNG_S;
    all.into_iter()
        .filter(|(at, path, runs)| !runs && is_old(path, at.0))
        .map(|(_at, path, _runs)| path)
        .collect()
}

/// What tells one build from another without reading it.
fn stamp(about: &Metadata) -> (u64, i64, i64) {
    (about.len(), about.mtime(), about.mtime_nsec())
}

fn name(from: &Path, about: &Metadata) -> String {
    let (bytes, seconds, nanos) = stamp(about);
    let program = if from.file_name() == Some(OsStr::new(NAME)) { NAME } else { "lanes" };
    format!("{program}-{bytes:x}-{seconds:x}-{nanos:x}")
}

/// Copies in the kernel, which shares the blocks where the file system can.
fn copy_file(source: &mut File, about: &Metadata, to: &Path) -> std::io::Result<()> {
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o700).open(to)?;
    std::io::copy(source, &mut target)?;
    target.set_modified(about.modified()?)
}

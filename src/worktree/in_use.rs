//! Tells what keeps a folder from being freed: what is mounted in it, and who works in it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::quoted_path;
use crate::proc;

/// Where something is mounted below a folder (canonical), in this process's view.
pub(super) fn mounts_below(folder: &Path) -> Vec<PathBuf> {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    mount_points(&table).into_iter().filter(|at| at != folder && at.starts_with(folder)).collect()
}

/// What keeps a tree from being saved, and what helps.
pub(super) fn mounted_at(path: &Path) -> String {
    format!("something is mounted in it: umount {}", quoted_path(path))
}

/// The mount points in a text such as `/proc/self/mountinfo`.
pub(super) fn mount_points(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    lines.filter_map(|line| Some(proc::mount_path(line.split(|byte| *byte == b' ').nth(4)?))).collect()
}

/// How often a process is looked for again before it is believed to stay.
const LOOKS: u32 = 10;
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A process that is in a folder (canonical) or has something below it open, other than this one: its id
/// and name. Those of other users cannot be seen without their rights. Blocks for a fifth of a second when
/// there is one.
pub(super) fn user_of(folder: &Path) -> Option<(u32, String)> {
    let mut found = user_now(folder)?;
    for _look in 1..LOOKS {
        // A program that we start just now has all that we have open, until it has begun.
        std::thread::sleep(PAUSE);
        found = user_now(folder)?;
    }
    Some(found)
}

fn user_now(folder: &Path) -> Option<(u32, String)> {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").ok()?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids.filter(|pid| *pid != own) {
        let process = PathBuf::from(format!("/proc/{pid}"));
        if is_in(&process, folder) {
            let name = std::fs::read(process.join("comm")).unwrap_or_default();
            return Some((pid, String::from_utf8_lossy(name.trim_ascii_end()).into_owned()));
        }
    }
    None
}

fn is_in(process: &Path, folder: &Path) -> bool {
    let below = |link: &Path| {
        let target = std::fs::read_link(link).unwrap_or_default();
        // A removed file is told with this at its end; what is open in the tree keeps its path.
        let bytes = target.as_os_str().as_bytes();
        let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
        Path::new(OsStr::from_bytes(bytes)).starts_with(folder)
    };
    if ["cwd", "root", "exe"].iter().any(|name| below(&process.join(name))) {
        return true;
    }
    let open = std::fs::read_dir(process.join("fd"));
    open.into_iter().flatten().flatten().any(|entry| below(&entry.path()))
}

#[cfg(test)]
mod tests {
    use super::mount_points;
    use std::path::PathBuf;

    #[test]
    fn a_mount_point_may_have_any_name() {
        let table =
            b"36 35 98:0 / / rw - ext4 x rw\n37 36 98:0 /x /a\\040b\\134c\\012d rw - ext4 x rw\nbad\n";
        assert_eq!(mount_points(table), [PathBuf::from("/"), PathBuf::from("/a b\\c\nd")]);
    }
}

//! Admin entries that git was killed over before it said whose they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::discover::read_small;
use super::resolve::admin_dirs;

/// How long a living git may take from opening the first file of an entry to writing it.
const FIRST_WRITE: Duration = Duration::from_millis(100);

/// Removes the entries of this name that were begun and nothing more: there is nothing in them, or a lock
/// whose reason was not written, or not to its end. Blocks.
pub(super) fn remove(common_dir: &Path, name: &str, reason: &str) {
    // git counts up where an entry of that name is there.
    let of_name =
        |id: &str| id.strip_prefix(name).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    let is_begun = |admin: &Path| match first_of(admin) {
        Some(First::Nothing) => true,
        Some(First::Lock(written)) => reason.as_bytes().starts_with(&written),
        None => false,
    };
    let begun: Vec<PathBuf> = admin_dirs(common_dir)
        .into_iter()
        .filter(|(id, admin)| of_name(id) && is_begun(admin))
        .map(|(_id, admin)| admin)
        .collect();
    if begun.is_empty() {
        return;
    }
    // Another tool may be making one of that name in this moment.
    thread::sleep(FIRST_WRITE);
    for admin in begun.into_iter().filter(|admin| is_begun(admin)) {
        let _none_or_gone = fs::remove_file(admin.join("locked"));
        // Removes an empty folder only.
        let _not_empty_or_gone = fs::remove_dir(admin);
    }
}

/// What an entry holds that git has just begun.
enum First {
    /// No file.
    Nothing,
    /// Its lock alone, with as much of the reason as was written.
    Lock(Vec<u8>),
}

fn first_of(admin: &Path) -> Option<First> {
    let mut names = fs::read_dir(admin).ok()?.map(|entry| entry.map(|entry| entry.file_name()));
    match (names.next(), names.next()) {
        (None, _) => Some(First::Nothing),
        (Some(Ok(name)), None) if name == "locked" => read_small(&admin.join("locked")).map(First::Lock),
        (Some(_), _) => None,
    }
}

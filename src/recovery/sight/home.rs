//! Looks at the state folder: run folders, recorded output, links to agents, sockets.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::place;
use super::processes::Table;
use crate::recovery::seen::{Known, Seen, SeenOfLane, SeenRunFolder};
use crate::task;

/// The socket of the runtime itself.
const OWN_SOCKET: &str = "daemon.sock";

pub(super) fn look(known: &Known, table: &Table, seen: &mut Seen) {
    for path in entries(&known.home.join("run")) {
        let Some(task) = name(&path).and_then(|name| name.parse().ok()) else { continue };
        if known.tasks.contains(&task) {
            continue;
        }
        let Some((place, since)) = place::folder(&path) else { continue };
        let identity = task::read_identity(&path);
        let lane = identity.as_ref().map(|identity| identity.lane_id);
        let keeper_lives = identity.is_some_and(|identity| {
            identity.boot_id == table.boot_id && table.has(identity.keeper_pid, identity.keeper_start)
        });
        seen.runs.push(SeenRunFolder { place, task, lane, keeper_lives, since });
    }
    for path in entries(&known.home.join("logs")) {
        let lane = name(&path).and_then(|name| name.parse().ok());
        let of_use = lane.is_none_or(|lane| known.lanes.contains_key(&lane) || seen.trash.contains(&lane));
        if let (false, Some((place, since))) = (of_use, place::folder(&path)) {
            seen.logs.push(SeenOfLane { place, lane, since });
        }
    }
    for path in entries(&known.home.join("agents")) {
        let lane = name(&path).and_then(|name| name.parse().ok());
        if lane.is_some_and(|lane| known.lanes.contains_key(&lane)) {
            continue;
        }
        // Without a lane's name: what was about to be swapped in.
        let Some((place, since, facts)) = place::at(&path) else { continue };
        if facts.is_symlink() {
            seen.sockets.push(SeenOfLane { place, lane, since });
        }
    }
    for path in entries(&known.home).into_iter().filter(|path| !path.ends_with(OWN_SOCKET)) {
        let Some((place, since, facts)) = place::at(&path) else { continue };
        if facts.file_type().is_socket() {
            seen.sockets.push(SeenOfLane { place, lane: None, since });
        }
    }
}

fn name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

/// What is in a folder of ours, in order; of one that cannot be read, nothing.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

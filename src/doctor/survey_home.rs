//! Looks at the home: its owner, folders, run folders, programs, output, the store.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::state::{Copies, DaemonFacts, HomeFacts, Mode, RunFacts, RunSeen, StoreFacts};
use super::survey_machine::disk_of;
use crate::api::{Client, DaemonStatus, Nothing};
use crate::clock;
use crate::config;
use crate::failure::Code;
use crate::home::{self, FOLDERS};
use crate::ids::TaskId;
use crate::keeper;
use crate::proc;
use crate::store::{self, Inspection};
use crate::task;
use crate::worktree::Floors;

/// What the home needs: its reserve, and its log, several times over.
pub(super) const HOME_FLOORS: Floors =
    Floors { bytes: config::HOME_MIN_FREE, inodes: config::HOME_MIN_INODES };
/// How long a daemon may take to say how it is.
const ANSWER: Duration = Duration::from_secs(2);
/// What is younger, in seconds, may be just being made.
const YOUNG_S: i64 = 60;
/// The path of a keeper's socket below its home: `/run/tm_…/keeper.sock`.
const SOCKET_BELOW: usize = 5 + 29 + 1 + 11;

/// Asks the owner how it is; starts none.
pub(super) async fn daemon(home: &Path, patience: Duration) -> DaemonFacts {
    let asking = async {
        let client = Client::connect(home, concat!("lanes-doctor ", env!("CARGO_PKG_VERSION"))).await?;
        client.call::<DaemonStatus>(Nothing {}).await
    };
    let answer = tokio::time::timeout(ANSWER.min(patience), asking).await;
    let owner = store::living_owner(home);
    match (answer, owner) {
        (Ok(Ok(reply)), _) => DaemonFacts::Answers {
            pid: reply.daemon.pid,
            version: reply.daemon.version,
            safe_mode: reply.daemon.safe_mode,
            notes: reply.daemon.notes,
        },
        (Err(_late), owner) => DaemonFacts::Silent(owner),
        (Ok(Err(failure)), owner) if failure.code == Code::DaemonDown && failure.retryable => match owner {
            Some(pid) => DaemonFacts::Embedded(pid),
            None => DaemonFacts::Nobody { stale_socket: is_socket(&home.join(crate::api::socket::SOCKET)) },
        },
        (Ok(Err(failure)), _) => DaemonFacts::Refuses(failure.message),
    }
}

fn is_socket(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_socket())
}

/// The file system of the home. Blocks.
pub(super) fn disk(home: &Path) -> Option<Disk> {
    disk_of(home)
}

/// Looks at the folders. `measuring` bounds how long sizes are added up. Blocks.
pub(super) fn home(path: &Path, owned: bool, measuring: Duration) -> HomeFacts {
    let mut facts = HomeFacts { path: path.to_path_buf(), owned, ..HomeFacts::default() };
    facts.socket_path_bytes = path.as_os_str().len() + SOCKET_BELOW;
    let Ok(found) = path.symlink_metadata() else { return facts };
    facts.there = true;
    if let Some(why) = home::refusal(&found) {
        facts.refused = Some(format!("the home {} {why}", path.display()));
        return facts;
    }
    judge_mode(path, &found, &mut facts);
    for folder in FOLDERS {
        let below = path.join(folder);
        match below.symlink_metadata() {
            Ok(meta) if meta.is_dir() => {}
            Ok(_another_thing) => facts.strange.push(below),
            Err(_missing) => facts.missing.push(folder),
        }
    }
    // `agents/` has links, below `logs/` and `run/` a folder a task.
    for (folder, depth) in [("", 1), ("run", 2), ("bin", 1), ("workspaces", 1), ("logs", 2)] {
        look_below(&path.join(folder), depth, &mut facts);
    }
    facts.copies = copies(&path.join("bin"));
    facts.output = output(&path.join("logs"), Instant::now() + measuring);
    facts.daemon_log = path.join("daemon.log").symlink_metadata().map_or(0, |meta| meta.len());
    facts
}

fn look_below(folder: &Path, depth: usize, facts: &mut HomeFacts) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if facts.strange.contains(&path) {
            continue;
        }
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_symlink() || meta.uid() != rustix::process::geteuid().as_raw() {
            facts.strange.push(path);
            continue;
        }
        if !facts.open_to_others.iter().any(|one| one.path == path) {
            judge_mode(&path, &meta, facts);
        }
        if meta.is_dir() && depth > 1 {
            look_below(&path, depth - 1, facts);
        }
    }
}

fn judge_mode(path: &Path, meta: &fs::Metadata, facts: &mut HomeFacts) {
    // Files behind a folder that is closed cannot be reached; what lies open is told where it begins.
    if meta.mode() & 0o077 != 0 && (meta.is_dir() || facts.path == path.parent().unwrap_or(path)) {
        facts.open_to_others.push(Mode { path: path.to_path_buf(), mode: meta.mode() });
    }
}

fn copies(bin: &Path) -> Copies {
    let unused = task::unused_copies(bin);
    let length = |path: &PathBuf| path.symlink_metadata().map_or(0, |meta| meta.len());
    Copies { bytes: unused.iter().map(length).sum(), unused }
}

fn now_s() -> i64 {
    i64::try_from(clock::now().as_ms() / 1000).unwrap_or(i64::MAX)
}

fn output(logs: &Path, until: Instant) -> (u64, Option<(String, u64)>) {
    let Ok(entries) = fs::read_dir(logs) else { return (0, None) };
    let mut total = 0;
    let mut most: Option<(String, u64)> = None;
    for entry in entries.flatten() {
        let bytes = size_until(&entry.path(), until);
        total += bytes;
        if most.as_ref().is_none_or(|(_lane, before)| bytes > *before) && bytes > 0 {
            most = Some((entry.file_name().to_string_lossy().into_owned(), bytes));
        }
    }
    (total, most)
}

/// What a folder takes on the disk, as far as it can be added up until then.
pub(super) fn size_until(path: &Path, until: Instant) -> u64 {
    let Ok(meta) = path.symlink_metadata() else { return 0 };
    let own = meta.blocks() * 512;
    if !meta.is_dir() || Instant::now() >= until {
        return own;
    }
    let below = fs::read_dir(path).into_iter().flatten().flatten();
    own + below.map(|entry| size_until(&entry.path(), until)).sum::<u64>()
}

/// Looks at the run folders. Blocks.
pub(super) fn runs(home: &Path, known: Option<&BTreeSet<TaskId>>, watched: bool) -> RunFacts {
    let run = home.join("run");
    let Ok(entries) = fs::read_dir(&run) else { return RunFacts { runs: Vec::new(), watched } };
    let mut ids: Vec<TaskId> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    let (mut secrets, mut named) = (Vec::new(), BTreeSet::new());
    if !ids.is_empty() {
        for process in proc::all() {
            secrets.extend(proc::variable(process.pid, keeper::SECRET));
            let words =
                proc::command_line(process.pid).into_iter().filter_map(|word| String::from_utf8(word).ok());
            named.extend(words.filter_map(|word| word.parse::<TaskId>().ok()));
        }
    }
    let seen = |id: TaskId| {
        let folder = run.join(id.text().as_str());
        let identity = task::read_identity(&folder);
        let alive = identity.as_ref().is_some_and(task::keeper_alive);
        let secret = identity.map(|identity| identity.secret);
        let processes =
            secrets.iter().filter(|one| secret.as_ref().is_some_and(|s| s.as_bytes() == one.as_slice()));
        RunSeen {
            id,
            keeper: alive || named.contains(&id) || is_young(&folder),
            processes: processes.count(),
            known: known.map(|known| known.contains(&id)),
        }
    };
    RunFacts { runs: ids.into_iter().map(seen).collect(), watched }
}

fn is_young(path: &Path) -> bool {
    let changed = path.symlink_metadata().map_or(0, |meta| meta.mtime());
    now_s().saturating_sub(changed) < YOUNG_S
}

/// Looks into the store. Blocks.
pub(super) fn store(home: &Path, owned: bool) -> (StoreFacts, Option<Inspection>) {
    let path = home.join("lanes.db");
    let length = |suffix: &str| {
        let mut name = path.clone().into_os_string();
        name.push(suffix);
        fs::symlink_metadata(PathBuf::from(name)).map(|meta| meta.len())
    };
    let mut facts = StoreFacts {
        there: length("").is_ok() || length("-wal").is_ok_and(|bytes| bytes > 0),
        broken: None,
        unread: false,
        version: 0,
        bytes: (length("").unwrap_or(0), length("-wal").unwrap_or(0)),
        aside: store::moved_aside(&path),
        unreadable: 0,
    };
    if !facts.there {
        return (facts, None);
    }
    if facts.bytes.0 == 0 && facts.bytes.1 > 0 {
        facts.broken = Some(("the store is empty, and its log is not".to_owned(), true));
        return (facts, None);
    }
    let mut looked = store::inspect(&path, owned);
    let is_wrong = |looked: &Result<Option<Inspection>, _>| {
        !matches!(looked, Ok(None) | Ok(Some(Inspection { damage: None, .. })))
    };
    if !owned && is_wrong(&looked) && store::living_owner(home).is_some() {
        // It was written to while it was read as one that nobody writes to.
        looked = store::inspect(&path, true);
    }
    match looked {
        Ok(Some(found)) => {
            facts.version = found.version;
            facts.broken = found.damage.clone().map(|why| (format!("the store is damaged: {why}"), true));
            (facts, Some(found))
        }
        Ok(None) => {
            facts.unread = true;
            (facts, None)
        }
        Err(error) => {
            facts.broken = Some((error.to_string(), error.is_corrupt()));
            (facts, None)
        }
    }
}

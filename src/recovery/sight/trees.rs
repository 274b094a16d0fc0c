//! Looks at the roots of a repository's trees and at git's entries of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::Roots;
use super::place;
use crate::clock;
use crate::ids::LaneId;
use crate::proc;
use crate::recovery::seen::{Claim, Known, Seen, SeenEntry, SeenRest, SeenTree, Step};
use crate::worktree::discover::gitfile_target;
use crate::worktree::resolve::{admin_dirs, tree_of};
use crate::worktree::{self, trash};

/// What the reason of a lane's lock begins with.
const LOCK: &str = "lanes ";
/// What is renamed out of the way by `undo` begins with this; then the lane's id, then what it was.
const UNDO: &str = ".lanes-undo-";
/// An entry that is being made anew from the trash lies beside `worktrees/` under this and the lane's id.
const RESTORING: &str = "lanes-restoring-";
/// An entry of the trash that is being freed.
const GONE: &str = ".gone-";

/// One of git's entries.
struct Entry {
    id: String,
    dir: PathBuf,
    /// Where it says its tree is.
    tree: Option<PathBuf>,
    /// `None` for one that we did not make.
    claim: Option<Claim>,
}

pub(super) fn look(roots: &Roots, known: &Known, seen: &mut Seen) {
    let common = &roots.repo.common_dir;
    let entries: Vec<Entry> = admin_dirs(common).into_iter().map(|(id, dir)| entry(id, dir, known)).collect();
    let mut claimed: BTreeSet<(u64, u64)> = BTreeSet::new();
    let by_dir: BTreeMap<&Path, &Entry> = entries.iter().map(|entry| (entry.dir.as_path(), entry)).collect();
    let mut moved: BTreeSet<&str> = BTreeSet::new();
    let mut gone: Vec<&Entry> = Vec::new();
    for entry in &entries {
        match entry.tree.as_deref().filter(|tree| is_tree_of(tree, &entry.dir)).and_then(place::folder) {
            Some((place, since)) => {
                claimed.insert((place.dev, place.ino));
                if let Some(claim) = &entry.claim {
                    let (repo, admin) = (common.clone(), Some(entry.id.clone()));
                    seen.trees.push(SeenTree { place, repo, admin, claim: claim.clone(), since });
                }
            }
            None => gone.push(entry),
        }
    }
    for (root, all_ours) in &roots.folders {
        for path in folders(root, &mut seen.trash_listed) {
            let Some((place, since)) = place::folder(&path) else { continue };
            if claimed.contains(&(place.dev, place.ino)) {
                continue;
            }
            let named = path.file_name().unwrap_or_default();
            if let Some(lane) = lane_after(named, UNDO) {
                let claim = aside(common, lane, known);
                seen.rests.push(SeenRest { place, step: Step::Provisioning, lane, claim, since });
                continue;
            }
            // No lane's name begins with a dot: our own folders, and what the user has there.
            if named.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let (admin, claim) = match held_by(&path, common, &by_dir) {
                Holder::Entry(entry) => {
                    moved.insert(&entry.id);
                    match &entry.claim {
                        Some(claim) => (Some(entry.id.clone()), claim.clone()),
                        None => continue,
                    }
                }
                Holder::Somebody => continue,
                Holder::GoneEntry => (None, Claim::Nothing),
                Holder::Nobody if *all_ours => (None, Claim::Nothing),
                Holder::Nobody => continue,
            };
            seen.trees.push(SeenTree { place, repo: common.clone(), admin, claim, since });
        }
        look_at_trash(root, known, seen);
    }
    for entry in gone.into_iter().filter(|entry| !moved.contains(entry.id.as_str())) {
        if let (Some(claim), Some((place, since))) = (&entry.claim, place::folder(&entry.dir)) {
            let tree = entry.tree.clone().unwrap_or_default();
            let (repo, admin, claim) = (common.clone(), entry.id.clone(), claim.clone());
            seen.entries.push(SeenEntry { place, repo, admin, tree, claim, since });
        }
    }
    for path in folders(common, &mut true) {
        let named = path.file_name().unwrap_or_default();
        let lane = lane_after(named, UNDO).or_else(|| lane_after(named, RESTORING));
        if let (Some(lane), Some((place, since))) = (lane, place::folder(&path)) {
            let claim = claim_of(&path, known).unwrap_or(Claim::Nothing);
            seen.rests.push(SeenRest { place, step: Step::Provisioning, lane, claim, since });
        }
    }
}

fn entry(id: String, dir: PathBuf, known: &Known) -> Entry {
    let claim = claim_of(&dir, known);
    let tree = tree_of(&dir);
    Entry { id, dir, tree, claim }
}

/// What an entry of ours says: its order, or before that is written, the reason of its lock.
fn claim_of(dir: &Path, known: &Known) -> Option<Claim> {
    if let Some(order) = worktree::read_token(dir) {
        let home = order.home.to_path_buf();
        let home_there = home == known.home || !is_gone(&home);
        return Some(Claim::Token { lane: order.lane_id, home, home_there });
    }
    let reason = worktree::lock_reason(dir)?;
    let mut words = reason.strip_prefix(LOCK)?.split(' ');
    let lane = words.next()?.parse::<LaneId>().ok()?;
    let maker_lives = match (words.next(), words.next().and_then(|pid| pid.parse::<u32>().ok())) {
        (Some(boot_id), Some(pid)) => may_be_maker(pid, boot_id, &dir.join("locked")),
        (Some(_) | None, _) => false,
    };
    Some(Claim::Lock { lane, maker_lives })
}

/// True when the process that wrote a lock may be the one that has its pid now: it started before.
fn may_be_maker(pid: u32, boot_id: &str, locked: &Path) -> bool {
    if boot_id != proc::boot_id() {
        return false;
    }
    let Some(process) = proc::process(pid).filter(|process| !process.is_dead()) else { return false };
    let began = super::processes::started_at(process.start, clock::now());
    place::at(locked).is_none_or(|(_place, since, _facts)| began <= since)
}

/// Only what is certainly absent counts as gone.
fn is_gone(path: &Path) -> bool {
    matches!(path.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound)
}

/// True when the folder is the tree of this entry: its `.git` names it, or it has none any more.
fn is_tree_of(tree: &Path, dir: &Path) -> bool {
    let dot_git = tree.join(".git");
    match gitfile_target(&dot_git) {
        Some(target) => fs::canonicalize(tree.join(target)).is_ok_and(|target| target == dir),
        None => is_gone(&dot_git) && !is_gone(tree),
    }
}

/// What holds a folder in a root that no entry names.
enum Holder<'a> {
    /// An entry that names another place: the tree was moved by hand, or is a copy.
    Entry(&'a Entry),
    /// An entry of this repository that is not there.
    GoneEntry,
    /// A repository of its own, or another one's.
    Somebody,
    /// Nothing.
    Nobody,
}

fn held_by<'a>(path: &Path, common: &Path, by_dir: &BTreeMap<&Path, &'a Entry>) -> Holder<'a> {
    let dot_git = path.join(".git");
    let Ok(facts) = dot_git.symlink_metadata() else { return Holder::Nobody };
    if !facts.is_file() {
        return Holder::Somebody;
    }
    let Some(target) = gitfile_target(&dot_git) else { return Holder::Nobody };
    let target = path.join(target);
    match fs::canonicalize(&target) {
        Ok(target) => by_dir.get(target.as_path()).map_or(Holder::Somebody, |entry| Holder::Entry(entry)),
        Err(_gone) if target.starts_with(common.join("worktrees")) => Holder::GoneEntry,
        Err(_gone) => Holder::Somebody,
    }
}

/// What the entry of a tree says that `undo` renamed out of the way.
fn aside(common: &Path, lane: LaneId, known: &Known) -> Claim {
    claim_of(&common.join(format!("{UNDO}{lane}-admin")), known).unwrap_or(Claim::Nothing)
}

fn look_at_trash(root: &Path, known: &Known, seen: &mut Seen) {
    for path in folders(&root.join(trash::TRASH_DIR), &mut seen.trash_listed) {
        let named = path.file_name().unwrap_or_default();
        if let Some(lane) = lane_after(named, "") {
            seen.trash.insert(lane);
        } else if let (Some(lane), Some((place, since))) = (lane_after(named, GONE), place::folder(&path)) {
            let claim = match trash::entry_in(&path) {
                Some(entry) => {
                    let home = entry.order.home.to_path_buf();
                    let home_there = home == known.home || !is_gone(&home);
                    Claim::Token { lane, home, home_there }
                }
                None => Claim::Nothing,
            };
            seen.rests.push(SeenRest { place, step: Step::Emptying, lane, claim, since });
        }
    }
}

/// The lane whose id stands in a name after this beginning.
fn lane_after(name: &OsStr, start: &str) -> Option<LaneId> {
    let rest = name.to_str()?.strip_prefix(start)?;
    rest.split('-').next()?.parse().ok()
}

/// The folders in a folder, in order. `listed` becomes false when nobody can tell.
fn folders(folder: &Path, listed: &mut bool) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            *listed &= error.kind() == std::io::ErrorKind::NotFound;
            return Vec::new();
        }
    };
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut found: Vec<PathBuf> = entries.flatten().filter(is_folder).map(|entry| entry.path()).collect();
    found.sort();
    found
}

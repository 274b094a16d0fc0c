//! Deletes the branch that a lane made, if what it has is elsewhere too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::changes::is_merged;
use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::model::{Repository, TrashEntry};
use super::pins::{answer, plain};
use super::refs_files;
use super::trash::{self, Spot, read_small};
use super::trash_lock;
use crate::fault;
use crate::raw::Raw;

/// Deletes the branch of the order when it is ours, merged, and used nowhere. What is needed to make it
/// again is in the entry before it goes.
pub(super) async fn delete_if_merged(
    git: &Git,
    repo: &Repository,
    spot: &Spot,
    entry: &mut TrashEntry,
) -> Result<(), WorktreeError> {
    if !entry.order.branch.created || entry.branch_deleted {
        return Ok(());
    }
    let name = entry.order.branch.name.clone();
    let full = format!("refs/heads/{name}");
    let place = Place::repository(repo);
    let _lock = trash_lock::lock(repo).await?;
    let Some(tip) = plain_tip(git, &place, &full).await? else {
        // A crash right after the deletion, or somebody else did it: either way it can be made again.
        entry.branch_deleted = entry.branch_tip.is_some();
        return trash::store(spot, entry);
    };
    if !is_merged(git, repo, &tip, &name, &entry.order.base).await? {
        return Ok(());
    }
    if used_branches(git, repo, &spot.admin()).await?.contains(&full) {
        return Ok(());
    }
    entry.branch_tip = Some(tip.clone());
    entry.branch_config = match refs_files::is_unconfigured(repo, &name) {
        true => Vec::new(),
        false => config_of(git, &place, &name).await?,
    };
    trash::store(spot, entry)?;
    keep_reflog(repo, spot, &name)?;
    fault::at("retire.deleting")?;
    let delete = ["update-ref", "--no-deref", "-d", full.as_str(), tip.as_str()];
    let deleted = git.run(plain(git, Mode::Write, &place, &delete), git.timeout()).await?;
    if !deleted.ok() {
        if plain_tip(git, &place, &full).await? == Some(tip) {
            return deleted.success("git update-ref").map(|_said| ());
        }
        // Its tip moved just now: it stays.
        entry.branch_tip = None;
        return trash::store(spot, entry);
    }
    if !entry.branch_config.is_empty() {
        let section = format!("branch.{name}");
        let remove = ["config", "--local", "--remove-section", section.as_str()];
        let _only_cosmetic = git.run(plain(git, Mode::Write, &place, &remove), git.timeout()).await?;
    }
    fault::at("retire.deleted")?;
    entry.branch_deleted = true;
    trash::store(spot, entry)
}

/// Where the reflog of a deleted branch lies.
pub(super) fn reflog_copy(spot: &Spot) -> PathBuf {
    spot.dir.join("branch.log")
}

/// The commit of a branch that is no symbolic ref.
async fn plain_tip(git: &Git, place: &Place, full: &str) -> Result<Option<String>, WorktreeError> {
    let format = "--format=%(refname) %(objecttype) %(objectname) %(symref)";
    let listed = answer(git, plain(git, Mode::Look, place, &["for-each-ref", format, full])).await?;
    let text = listed.text();
    Ok(text.lines().find_map(|line| {
        let mut words = line.split(' ');
        let is_it = words.next() == Some(full) && words.next() == Some("commit");
        let oid = words.next()?;
        (is_it && words.next().is_none_or(str::is_empty)).then(|| oid.to_owned())
    }))
}

/// The branches that some worktree is on, or is rebasing or bisecting; the retired one's operations too.
pub(super) async fn used_branches(
    git: &Git,
    repo: &Repository,
    retired: &Path,
) -> Result<BTreeSet<String>, WorktreeError> {
    let mut used = match heads(repo) {
        Some(used) => used,
        None => {
            let list = ["worktree", "list", "--porcelain"];
            let listed = answer(git, plain(git, Mode::Look, &Place::repository(repo), &list)).await?;
            let text = listed.text();
            text.lines().filter_map(|line| line.strip_prefix("branch ")).map(str::to_owned).collect()
        }
    };
    let worktrees = std::fs::read_dir(repo.common_dir.join("worktrees"));
    let others = worktrees.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    for admin in others.chain([repo.common_dir.clone(), retired.to_path_buf()]) {
        for file in ["rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"] {
            let text = read_small(&admin.join(file), 1 << 16).unwrap_or_default();
            let name = String::from_utf8_lossy(text.trim_ascii()).into_owned();
            let _new = match name.starts_with("refs/") {
                true => used.insert(name),
                false => used.insert(format!("refs/heads/{name}")),
            };
        }
        // Branches that a rebase will update at its end, one in each group of three lines.
        let text = read_small(&admin.join("rebase-merge/update-refs"), 1 << 20).unwrap_or_default();
        let lines = String::from_utf8_lossy(&text).into_owned();
        used.extend(lines.lines().filter(|line| line.starts_with("refs/")).map(str::to_owned));
    }
    Ok(used)
}

/// The branches that HEADs are on, the main one's and those of all worktrees; none when only git can tell.
fn heads(repo: &Repository) -> Option<BTreeSet<String>> {
    let mut used = BTreeSet::new();
    // A bare repository is on no branch, whatever its HEAD says.
    if repo.main_tree.is_some() {
        used.extend(refs_files::symbolic(repo, &repo.common_dir.join("HEAD"))?);
    }
    let entries = match std::fs::read_dir(repo.common_dir.join("worktrees")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(used),
        Err(_unreadable) => return None,
    };
    for entry in entries {
        let head = entry.ok()?.path().join("HEAD");
        if head.exists() {
            used.extend(refs_files::symbolic(repo, &head)?);
        }
    }
    Some(used)
}

async fn config_of(git: &Git, place: &Place, branch: &str) -> Result<Vec<(Raw, Raw)>, WorktreeError> {
    let output =
        git.run(plain(git, Mode::Look, place, &["config", "--local", "-z", "--list"]), git.timeout()).await?;
    let start = format!("branch.{branch}.").into_bytes();
    let mut found = Vec::new();
    for line in output.stdout.split(|byte| *byte == 0) {
        let (key, value) = match line.iter().position(|byte| *byte == b'\n') {
            Some(at) => (&line[..at], &line[at + 1..]),
            None => (line, &b"true"[..]),
        };
        // A dot in the rest would be a longer branch name.
        if key.strip_prefix(start.as_slice()).is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'.')) {
            found.push((Raw(key.to_vec()), Raw(value.to_vec())));
        }
    }
    Ok(found)
}

fn keep_reflog(repo: &Repository, spot: &Spot, branch: &str) -> Result<(), WorktreeError> {
    let log = repo.common_dir.join("logs/refs/heads").join(branch);
    let Ok(bytes) = read_small(&log, 128 << 20) else { return Ok(()) };
    let copy = reflog_copy(spot);
    trash::write_synced(&copy, &bytes).map_err(|source| WorktreeError::file("write", copy, source))
}

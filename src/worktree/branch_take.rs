//! Makes the branch of a lane, or makes sure that the one that is there can be taken.

use std::path::PathBuf;

use super::discover::{read_small, trim_newlines};
use super::entry;
use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::model::{Order, Repository};
use super::resolve::{admin_dirs, open_with_libgit2, tree_of, unfinished};
use super::trash_retire::commit_of;

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is the lane's.
    Done,
    /// libgit2 cannot do it here: git has to.
    AskGit,
}

/// The full name of the branch of an order.
pub(super) fn full_name(order: &Order) -> String {
    format!("refs/heads/{}", order.branch.name)
}

/// A branch that is there, in words for people.
pub(super) fn branch_exists(order: &Order) -> WorktreeError {
    WorktreeError::BranchExists {
        name: order.branch.name.clone(),
        reason: "it is there already".to_owned(),
        hint: "choose another name for the lane, or use it with --branch".to_owned(),
    }
}

/// Says whether the branch can be had, without making anything. Blocks; without libgit2 it does not look.
///
/// # Errors
/// `BranchExists`, `BranchMissing`, `BranchCheckedOut`; `SpareUnusable` when the branch is elsewhere than at
/// `base`.
pub(super) fn foresee(repo: &Repository, order: &Order, base: &str) -> Result<Taken, WorktreeError> {
    let Some(opened) = repo.libgit2.then(|| open_with_libgit2(&repo.common_dir)).flatten() else {
        return Ok(Taken::AskGit);
    };
    let full = full_name(order);
    let there = match opened.find_reference(&full).and_then(|reference| reference.resolve()) {
        Ok(reference) => Some(reference.target().map(|id| id.to_string()).unwrap_or_default()),
        Err(error) if error.code() == git2::ErrorCode::NotFound => None,
        Err(_other) => return Ok(Taken::AskGit),
    };
    judge(repo, order, base, there.as_deref()).map(|()| Taken::Done)
}

fn judge(repo: &Repository, order: &Order, base: &str, tip: Option<&str>) -> Result<(), WorktreeError> {
    match (order.branch.created, tip) {
        (true, None) => Ok(()),
        (true, Some(_tip)) => Err(branch_exists(order)),
        (false, None) => Err(WorktreeError::BranchMissing { name: order.branch.name.clone() }),
        (false, Some(tip)) => match holder(repo, order) {
            Some(at) => Err(WorktreeError::BranchCheckedOut { name: order.branch.name.clone(), at }),
            None if tip == base => Ok(()),
            None => Err(WorktreeError::SpareUnusable {
                path: order.path.to_path_buf(),
                reason: "the branch is at another commit".to_owned(),
            }),
        },
    }
}

/// Makes a new branch at `base`, as far as libgit2 can; one that is there was [`foresee`]n. Blocks.
///
/// # Errors
/// `BranchExists`.
pub(super) fn take(
    foreseen: Taken,
    repo: &Repository,
    order: &Order,
    base: &str,
    who: Option<&[u8]>,
) -> Result<Taken, WorktreeError> {
    if foreseen == Taken::AskGit || !order.branch.created {
        return Ok(foreseen);
    }
    let Some(opened) = repo.libgit2.then(|| open_with_libgit2(&repo.common_dir)).flatten() else {
        return Ok(Taken::AskGit);
    };
    let Ok(oid) = git2::Oid::from_str(base) else { return Ok(Taken::AskGit) };
    match opened.reference(&full_name(order), oid, false, &reason(base)) {
        Ok(_made) => sign_log(repo, order, base, who).map(|()| Taken::Done),
        Err(error) if error.code() == git2::ErrorCode::Exists => Err(branch_exists(order)),
        // A name that is a folder of others, a held lock: git says it in words that are known.
        Err(_other) => Ok(Taken::AskGit),
    }
}

/// The same by git.
///
/// # Errors
/// As [`foresee`] and [`take`], and those of git.
pub(super) async fn take_with_git(
    git: &Git,
    repo: &Repository,
    order: &Order,
    base: &str,
) -> Result<(), WorktreeError> {
    let (full, place) = (full_name(order), Place::repository(repo));
    let tip = commit_of(git, &place, &full).await?;
    judge(repo, order, base, tip.as_deref())?;
    if !order.branch.created {
        return Ok(());
    }
    let (why, none) = (reason(base), "0".repeat(repo.oid_len));
    let args = ["update-ref", "--no-deref", "-m", &why, &full, base, &none];
    let output = git.run(git.command(Mode::Write, &place, args), git.timeout()).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.ok() && said.contains("reference already exists") {
        return Err(branch_exists(order));
    }
    if !output.ok() && said.contains("cannot create") {
        return Err(WorktreeError::BranchExists {
            name: order.branch.name.clone(),
            reason: "another branch is in the way: git cannot have both".to_owned(),
            hint: "choose another name for the lane".to_owned(),
        });
    }
    output.success("git update-ref").map(|_said| ())
}

/// What git writes into the log of a new branch.
fn reason(base: &str) -> String {
    format!("branch: Created from {base}")
}

/// Puts git's own name for its user into the log of the branch: libgit2 does not look for it everywhere.
fn sign_log(repo: &Repository, order: &Order, base: &str, who: Option<&[u8]>) -> Result<(), WorktreeError> {
    let path = repo.common_dir.join("logs").join(full_name(order));
    let (Some(log), Some(who)) = (read_small(&path), who) else { return Ok(()) };
    let lines = trim_newlines(&log);
    let last = lines.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let text =
        [&log[..last], &entry::log_line(None, base, who), b"\t", reason(base).as_bytes(), b"\n"].concat();
    entry::exchange(&repo.common_dir.join("logs"), &full_name(order), &text)
}

/// The checkout that holds the branch, or is in the middle of something with it.
fn holder(repo: &Repository, order: &Order) -> Option<PathBuf> {
    let said = format!("ref: {}", full_name(order));
    let is_on = |dir: &PathBuf| {
        read_small(&dir.join("HEAD")).is_some_and(|head| trim_newlines(&head) == said.as_bytes())
    };
    if let Some(main) = repo.main_tree.as_ref().filter(|_| is_on(&repo.common_dir)) {
        return Some(main.clone());
    }
    let linked = admin_dirs(&repo.common_dir).into_iter().map(|(_id, dir)| dir).find(is_on);
    if let Some(dir) = linked {
        return Some(tree_of(&dir).unwrap_or(dir));
    }
    unfinished(repo).into_iter().find(|(name, _at)| *name == order.branch.name).map(|(_name, at)| at)
}

//! Decides what a restored tree's HEAD is, and makes its branches again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::{WorktreeError, quoted};
use super::git::{Git, Mode, Place};
use super::model::{Repository, TrashEntry};
use super::pins::{answer, plain};
use super::restore::Restoring;
use super::trash::{self, Spot, is_there, read_small};
use super::trash_branch::{reflog_copy, used_branches};
use super::trash_lock;
use super::trash_retire::commit_of;

/// What happens to HEAD and branches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The branch that HEAD will be on.
    pub on_branch: Option<String>,
    /// The commit to detach HEAD at, when it cannot be on its branch.
    pub detach: Option<String>,
    /// Branches to make, each with its commit.
    pub create: Vec<(String, String)>,
    /// What is not as it was, for people.
    pub notes: Vec<String>,
}

/// What is known of a branch now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Now {
    /// It is not there, and may be made.
    Missing,
    /// It is not there, and another one's name stands in its way.
    InTheWay,
    /// It is there, at this commit.
    At(String),
}

/// Decides; pure.
pub(super) fn decide(entry: &TrashEntry, ours: &Now, current: &Now, used: &BTreeSet<String>) -> Plan {
    let mut plan = Plan::default();
    let own = &entry.order.branch.name;
    if let (true, Some(tip)) = (entry.branch_deleted, &entry.branch_tip) {
        match ours {
            Now::Missing => plan.create.push((own.clone(), tip.clone())),
            Now::At(now) if now == tip => {}
            Now::At(_) | Now::InTheWay => {
                plan.notes.push(format!("the branch {} is another one now and was left alone", quoted(own)));
            }
        }
    }
    let Some(branch) = &entry.on_branch else { return plan };
    let full = format!("refs/heads/{branch}");
    let will_be = match plan.create.iter().find(|(name, _tip)| name == branch) {
        Some((_name, tip)) => Now::At(tip.clone()),
        None => current.clone(),
    };
    match (&entry.head, will_be) {
        (Some(head), Now::Missing) => {
            plan.create.push((branch.clone(), head.clone()));
            plan.on_branch = Some(branch.clone());
        }
        (Some(head), Now::At(now)) if now == *head && !used.contains(&full) => {
            plan.on_branch = Some(branch.clone());
        }
        (Some(head), Now::At(now)) => {
            let why = if now == *head { "is in use elsewhere" } else { "has moved on" };
            plan.notes.push(format!("the branch {} {why}: HEAD is detached at {head}", quoted(branch)));
            plan.detach = Some(head.clone());
        }
        (Some(head), Now::InTheWay) => {
            plan.notes
                .push(format!("the branch {} cannot be made: HEAD is detached at {head}", quoted(branch)));
            plan.detach = Some(head.clone());
        }
        (None, Now::Missing | Now::InTheWay) => plan.on_branch = Some(branch.clone()),
        (None, Now::At(now)) => {
            plan.notes
                .push(format!("the branch {} has commits now: HEAD is detached at {now}", quoted(branch)));
            plan.detach = Some(now);
        }
    }
    plan
}

/// Looks at the repository and decides.
pub(super) async fn plan(git: &Git, repo: &Repository, entry: &TrashEntry) -> Result<Plan, WorktreeError> {
    let used = used_branches(git, repo, Path::new("/nonexistent")).await?;
    let ours = look(git, repo, &entry.order.branch.name).await?;
    let current = match &entry.on_branch {
        Some(branch) => look(git, repo, branch).await?,
        None => Now::Missing,
    };
    Ok(decide(entry, &ours, &current, &used))
}

async fn look(git: &Git, repo: &Repository, branch: &str) -> Result<Now, WorktreeError> {
    let place = Place::repository(repo);
    let full = format!("refs/heads/{branch}");
    if let Some(oid) = commit_of(git, &place, &full).await? {
        return Ok(Now::At(oid));
    }
    // `a/b` cannot be beside `a`: what is above, and what is below.
    let mut patterns = vec![format!("{full}/")];
    patterns.extend(branch.match_indices('/').map(|(at, _slash)| format!("refs/heads/{}", &branch[..at])));
    let mut args = vec!["for-each-ref", "--format=%(refname)"];
    args.extend(patterns.iter().map(String::as_str));
    let listed = answer(git, plain(git, Mode::Look, &place, &args)).await?.text();
    let in_the_way = listed
        .lines()
        .any(|name| name.starts_with(&patterns[0]) || patterns[1..].iter().any(|pattern| pattern == name));
    Ok(if in_the_way { Now::InTheWay } else { Now::Missing })
}

/// Makes the branches of the plan; our own gets its settings and reflog again.
pub(super) async fn create(
    git: &Git,
    repo: &Repository,
    spot: &Spot,
    entry: &TrashEntry,
    plan: &Plan,
) -> Result<(), WorktreeError> {
    let place = Place::repository(repo);
    let _lock = trash_lock::lock(repo).await?;
    let null = "0".repeat(repo.oid_len);
    for (branch, tip) in &plan.create {
        let full = format!("refs/heads/{branch}");
        let args = ["update-ref", "--no-deref", full.as_str(), tip.as_str(), null.as_str()];
        let _said = answer(git, plain(git, Mode::Write, &place, &args)).await?;
        if *branch != entry.order.branch.name || !entry.branch_deleted {
            continue;
        }
        put_reflog(repo, spot, branch)?;
        for (key, value) in &entry.branch_config {
            let known = ["config", "--local", "--get-all", "--fixed-value"].map(std::ffi::OsString::from);
            let args = known.into_iter().chain([key.as_os_str().into(), value.as_os_str().into()]);
            let known = git.run(git.command(Mode::Look, &place, args), git.timeout()).await?;
            if known.ok() {
                continue;
            }
            let add = ["config", "--local", "--add"].map(std::ffi::OsString::from);
            let args = add.into_iter().chain([key.as_os_str().into(), value.as_os_str().into()]);
            let _only_cosmetic = git.run(git.command(Mode::Write, &place, args), git.timeout()).await?;
        }
    }
    Ok(())
}

fn log_of(repo: &Repository, branch: &str) -> PathBuf {
    repo.common_dir.join("logs/refs/heads").join(branch)
}

fn put_reflog(repo: &Repository, spot: &Spot, branch: &str) -> Result<(), WorktreeError> {
    let log = log_of(repo, branch);
    let Ok(bytes) = read_small(&reflog_copy(spot), 128 << 20) else { return Ok(()) };
    if !is_there(&log)? {
        return Ok(());
    }
    trash::write_synced(&log, &bytes).map_err(|error| WorktreeError::file("write", log, error))
}

/// Detaches HEAD when the plan says so.
pub(super) async fn settle_head(git: &Git, admin: &Path, plan: &Plan) -> Result<(), WorktreeError> {
    let Some(oid) = &plan.detach else { return Ok(()) };
    let args = ["update-ref", "--no-deref", "HEAD", oid.as_str()];
    let _said = answer(git, plain(git, Mode::Write, &Place::git_dir(admin), &args)).await?;
    Ok(())
}

/// An index as of HEAD, where there was none.
pub(super) async fn fresh_index(git: &Git, entry: &TrashEntry, admin: &Path) -> Result<(), WorktreeError> {
    let Some(head) = &entry.head else { return Ok(()) };
    let command = plain(git, Mode::Write, &Place::git_dir(admin), &["read-tree", head.as_str()]);
    let _said = answer(git, command).await?;
    Ok(())
}

/// Takes the branches away again that were made, if they are still where they were put.
pub(super) async fn withdraw(git: &Git, repo: &Repository, intent: &Restoring) -> Result<(), WorktreeError> {
    let place = Place::repository(repo);
    for (branch, tip) in &intent.branch {
        let full = format!("refs/heads/{branch}");
        let args = ["update-ref", "--no-deref", "-d", full.as_str(), tip.as_str()];
        let deleted = git.run(plain(git, Mode::Write, &place, &args), git.timeout()).await?;
        if !deleted.ok() && commit_of(git, &place, &full).await?.as_ref() == Some(tip) {
            return deleted.success("git update-ref").map(|_never| ());
        }
        let log = trash::sibling_of(&log_of(repo, branch));
        trash::remove_file_if_there(&log).map_err(|error| WorktreeError::file("remove", log, error))?;
    }
    Ok(())
}

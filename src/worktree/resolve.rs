//! Resolves where a lane starts and which branch it gets.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::discover::{locate, read_small, trim_newlines};
use super::error::{WorktreeError, quoted};
use super::git::{Git, Mode, Place};
use super::model::{Base, Branch, Repository};
use super::{names, refs_files};

/// Resolves a revision, or the HEAD of the checkout `from`, to a commit.
///
/// # Errors
/// `NO_COMMITS`, `BASE_NOT_FOUND`, and those of git.
pub async fn resolve_base(
    git: &Git,
    repo: &Repository,
    from: &Path,
    rev: Option<&str>,
) -> Result<Base, WorktreeError> {
    let git_dir = match locate(from) {
        Ok(found) if found.common_dir == repo.common_dir => found.git_dir,
        Ok(_) | Err(_) => repo.common_dir.clone(),
    };
    let asked = rev.unwrap_or("HEAD");
    if let Some(reason) = names::rev_rule(asked) {
        return Err(WorktreeError::BaseNotFound { rev: asked.to_owned(), reason: reason.to_owned() });
    }
    let fast = match repo.libgit2 && names::is_plain_rev(asked) {
        true => {
            let (git_dir, asked) = (git_dir.clone(), asked.to_owned());
            let work = tokio::task::spawn_blocking(move || resolve_with_libgit2(&git_dir, &asked));
            work.await.ok().flatten()
        }
        false => None,
    };
    let resolved = match fast {
        Some(resolved) => Some(resolved),
        None => resolve_with_git(git, &git_dir, asked).await?,
    };
    let Some((sha, target)) = resolved else {
        if asked == "HEAD" {
            return Err(WorktreeError::NoCommits { path: repo.common_dir.clone() });
        }
        return Err(WorktreeError::BaseNotFound {
            rev: asked.to_owned(),
            reason: "does not name a commit here".to_owned(),
        });
    };
    let rev = match (rev, &target) {
        (Some(rev), _) => rev.to_owned(),
        (None, Some(target)) => short(target).to_owned(),
        (None, None) => "HEAD".to_owned(),
    };
    Ok(Base { rev, sha, target })
}

fn resolve_with_libgit2(git_dir: &Path, rev: &str) -> Option<(String, Option<String>)> {
    let repo = open_with_libgit2(git_dir)?;
    let (object, reference) = repo.revparse_ext(rev).ok()?;
    let commit = object.peel_to_commit().ok()?;
    let target = match reference {
        Some(reference) if rev == "HEAD" => {
            reference.resolve().ok().or(Some(reference)).and_then(|full| full.name().ok().map(str::to_owned))
        }
        Some(reference) => reference.name().ok().map(str::to_owned),
        None => None,
    };
    Some((commit.id().to_string(), target.filter(|name| is_branch(name))))
}

/// Opens a git directory as it is, without a search.
pub(super) fn open_with_libgit2(git_dir: &Path) -> Option<git2::Repository> {
    let flags = git2::RepositoryOpenFlags::NO_SEARCH | git2::RepositoryOpenFlags::NO_DOTGIT;
    let none: [&Path; 0] = [];
    git2::Repository::open_ext(git_dir, flags, none).ok()
}

async fn resolve_with_git(
    git: &Git,
    git_dir: &Path,
    rev: &str,
) -> Result<Option<(String, Option<String>)>, WorktreeError> {
    let place = Place::git_dir(git_dir);
    let peeled = format!("{rev}^{{commit}}");
    let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", peeled.as_str()];
    let output = git.run(git.command(Mode::Look, &place, args), git.timeout()).await?;
    let sha = output.text();
    if !output.ok() || !is_oid(&sha) {
        return Ok(None);
    }
    let args = ["rev-parse", "--symbolic-full-name", "--verify", "--quiet", "--end-of-options", rev];
    let named = git.run(git.command(Mode::Look, &place, args), git.timeout()).await?;
    let target = Some(named.text()).filter(|name| named.ok() && is_branch(name));
    Ok(Some((sha, target)))
}

/// The short name of a local branch.
fn short(name: &str) -> &str {
    name.strip_prefix("refs/heads/").unwrap_or(name)
}

fn is_branch(name: &str) -> bool {
    (name.starts_with("refs/heads/") || name.starts_with("refs/remotes/")) && !name.contains('\n')
}

/// True for a whole object id in lower-case hexadecimal digits.
pub(super) fn is_oid(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// A local branch, and where it is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Short name.
    pub name: String,
    /// The commit.
    pub sha: String,
    /// The checkout that holds it.
    pub checked_out: Option<PathBuf>,
}

/// Decides which branch a lane gets: a new one called `prefix + name`, or the existing one that was asked for.
///
/// # Errors
/// `BRANCH_EXISTS`, `BRANCH_CHECKED_OUT`, `NAME_INVALID`, `BASE_NOT_FOUND` for an unknown existing branch.
pub async fn check_branch(
    git: &Git,
    repo: &Repository,
    prefix: &str,
    name: &str,
    existing: Option<&str>,
) -> Result<Branch, WorktreeError> {
    let wanted = existing.map_or_else(|| format!("{prefix}{name}"), str::to_owned);
    names::branch_name(&wanted)?;
    if existing.is_some() {
        return decide_existing(&wanted, &heads(git, repo).await?);
    }
    // A new branch asks for a few names only, and those are in files that need no process.
    let (looked_in, name) = (repo.clone(), wanted.clone());
    let near = tokio::task::spawn_blocking(move || refs_files::heads_near(&looked_in, &name)).await;
    match near.ok().flatten() {
        Some(near) => decide_new(&wanted, near.iter().map(String::as_str)),
        None => decide_new(&wanted, heads(git, repo).await?.iter().map(|head| head.name.as_str())),
    }
}

/// Whether a local branch is there; none when libgit2 cannot tell.
pub(super) async fn has_branch_with_libgit2(repo: &Repository, name: &str) -> Option<bool> {
    if !repo.libgit2 {
        return None;
    }
    let (common_dir, full) = (repo.common_dir.clone(), format!("refs/heads/{name}"));
    let work =
        tokio::task::spawn_blocking(move || match open_with_libgit2(&common_dir)?.find_reference(&full) {
            Ok(_there) => Some(true),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Some(false),
            Err(_other) => None,
        });
    work.await.ok().flatten()
}

/// Decides whether a new branch can be made beside those that are there.
///
/// # Errors
/// `BranchExists` with what is in the way.
pub fn decide_new<'a>(
    wanted: &str,
    heads: impl IntoIterator<Item = &'a str>,
) -> Result<Branch, WorktreeError> {
    let no = |reason: String, hint: String| {
        Err(WorktreeError::BranchExists { name: wanted.to_owned(), reason, hint })
    };
    let other_name = || "choose another name for the lane, or use it with --branch".to_owned();
    for there in heads {
        if there == wanted {
            return no("it is there already".to_owned(), other_name());
        }
        if there.to_lowercase() == wanted.to_lowercase() {
            let reason = format!("it differs only in case from the branch {}", quoted(there));
            return no(reason, "choose a name that differs in more than case".to_owned());
        }
        if wanted.strip_prefix(there).is_some_and(|rest| rest.starts_with('/')) {
            let reason = format!("a branch called {} is in the way: git cannot have both", quoted(there));
            let hint = format!(
                "rename it (git branch -m {there} {there}-old), or set lanes.branch_prefix to something else"
            );
            return no(reason, hint);
        }
        if there.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/')) {
            let reason = format!("the branch {} is in the way: git cannot have both", quoted(there));
            return no(reason, "choose another name for the lane".to_owned());
        }
    }
    Ok(Branch { name: wanted.to_owned(), created: true })
}

/// Decides whether a branch that is there can be checked out.
///
/// # Errors
/// `BranchMissing`, `BranchCheckedOut`.
pub fn decide_existing(wanted: &str, heads: &[Head]) -> Result<Branch, WorktreeError> {
    let Some(head) = heads.iter().find(|head| head.name == wanted) else {
        return Err(WorktreeError::BranchMissing { name: wanted.to_owned() });
    };
    match &head.checked_out {
        Some(at) => Err(WorktreeError::BranchCheckedOut { name: wanted.to_owned(), at: at.clone() }),
        None => Ok(Branch { name: wanted.to_owned(), created: false }),
    }
}

/// All local branches, and where each is checked out or being rebased.
///
/// # Errors
/// Those of git.
pub async fn heads(git: &Git, repo: &Repository) -> Result<Vec<Head>, WorktreeError> {
    let format = "--format=%(refname)%00%(objectname)%00%(worktreepath)%00";
    let output =
        git.ask(Mode::Look, &Place::repository(repo), ["for-each-ref", format, "refs/heads/"]).await?;
    let mut heads = parse_heads(&output.stdout);
    for head in &mut heads {
        // The HEAD of a bare repository holds no branch.
        let bare = |at: &PathBuf| {
            repo.main_tree.is_none()
                && (*at == repo.common_dir || repo.common_dir.parent() == Some(at.as_path()))
        };
        head.checked_out = head.checked_out.take().filter(|at| !bare(at));
    }
    for (name, at) in unfinished(repo) {
        if let Some(head) = heads.iter_mut().find(|head| head.name == name && head.checked_out.is_none()) {
            head.checked_out = Some(at);
        }
    }
    Ok(heads)
}

/// Reads `refname NUL objectname NUL worktreepath NUL newline` records.
pub fn parse_heads(bytes: &[u8]) -> Vec<Head> {
    let mut fields = bytes.split(|byte| *byte == 0);
    let mut heads = Vec::new();
    while let (Some(name), Some(sha), Some(at)) = (fields.next(), fields.next(), fields.next()) {
        let name = name.strip_prefix(b"\n").unwrap_or(name);
        let name = String::from_utf8_lossy(name);
        let checked_out = (!at.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(at)));
        heads.push(Head {
            name: short(&name).to_owned(),
            sha: String::from_utf8_lossy(sha).into_owned(),
            checked_out,
        });
    }
    heads
}

/// Branches in the middle of a rebase or bisection, and where.
pub(super) fn unfinished(repo: &Repository) -> Vec<(String, PathBuf)> {
    let mut dirs = vec![(repo.common_dir.clone(), repo.main_tree.clone())];
    for (_id, dir) in admin_dirs(&repo.common_dir) {
        let tree = tree_of(&dir);
        dirs.push((dir, tree));
    }
    let mut found = Vec::new();
    for (dir, tree) in dirs {
        for file in ["rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START"] {
            let Some(bytes) = read_small(&dir.join(file)) else { continue };
            let name = String::from_utf8_lossy(trim_newlines(&bytes)).into_owned();
            found.push((short(&name).to_owned(), tree.clone().unwrap_or_else(|| dir.clone())));
        }
    }
    found
}

/// The admin directories of all linked worktrees, with their ids, in order.
pub fn admin_dirs(common_dir: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(common_dir.join("worktrees")) else { return Vec::new() };
    let is_folder = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut dirs: Vec<_> = entries
        .filter_map(Result::ok)
        .filter(is_folder)
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .collect();
    dirs.sort();
    dirs
}

/// The tree that an admin directory says it belongs to.
pub fn tree_of(admin_dir: &Path) -> Option<PathBuf> {
    let bytes = read_small(&admin_dir.join("gitdir"))?;
    let dot_git = admin_dir.join(OsStr::from_bytes(trim_newlines(&bytes)));
    Some(dot_git.parent()?.to_path_buf())
}

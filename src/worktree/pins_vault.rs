//! Keeps pinned objects reachable through the HEAD of one locked admin entry, without any ref.
//!
//! `.vault` is a worktree without files. Its detached HEAD is a chain of commits, one for each retired
//! lane: the first parent is the chain so far, the others are the pinned commits, the tree holds the pinned
//! blobs and trees under their own ids. A HEAD is no ref that `push --mirror` would send or `fetch --prune`
//! delete, and both `gc` and `worktree prune` respect it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use super::begun;
use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::model::{Repository, TrashEntry};
use super::pace::Pace;
use super::pins::{Object, answer, empty_tree, kinds_of, objects_of, of_kind, plain};
use super::pins_copy;
use super::remove::remove_tree;
use super::trash::{self, Spot, is_there, read_small};
use super::trash_lock;
use crate::clock::Timestamp;
use crate::ids::LaneId;

/// The folder of the vault in a root of trees.
pub const VAULT_DIR: &str = ".vault";
/// Why it is locked, for people who run `git worktree list`.
pub const VAULT_REASON: &str = "lanes vault";
/// What git calls the entry of a worktree in such a folder.
const ADMIN: &str = "-vault";
/// Commits that one commit of the chain may have as parents; more make another link.
const MAX_PARENTS: usize = 200;
/// How often the chain is tried again when somebody collects what was just written. Each try takes a few
/// milliseconds, collecting takes tens.
const TRIES: usize = 20;
/// A vault that stays half made for so long was left by a git that was killed: only we write there, one at a
/// time, and for a few milliseconds.
const LEFT: Duration = Duration::from_secs(1);

/// What one link of the chain holds.
pub(super) struct Link<'a> {
    pub lane_id: LaneId,
    pub at: Timestamp,
    pub commits: &'a [String],
    pub objects: &'a [Object],
}

/// Adds a link to the chain and returns the commit that is the vault's HEAD afterwards. The caller holds the
/// lock of the workspace.
///
/// # Errors
/// When git fails or the vault's place is taken; the chain is as before then.
pub(super) async fn hold(
    git: &Git,
    repo: &Repository,
    root: &Path,
    link: &Link<'_>,
) -> Result<String, WorktreeError> {
    let mut tries = 1;
    loop {
        match try_hold(git, repo, root, link).await {
            // Somebody collects what nothing holds: the new link, before HEAD names it.
            Err(error @ WorktreeError::RunGit { .. }) if tries < TRIES && !error.is_disk_full() => tries += 1,
            other => return other,
        }
    }
}

async fn try_hold(
    git: &Git,
    repo: &Repository,
    root: &Path,
    link: &Link<'_>,
) -> Result<String, WorktreeError> {
    let mut vault = made(repo, root).await?;
    let mut before = head_of(git, vault.as_deref()).await?;
    if before.is_none() {
        // Somebody removed the vault by force, or what it named: what the other entries hold goes back in first.
        restore_chain(git, repo, root, link.lane_id).await?;
        vault = made(repo, root).await?;
        before = head_of(git, vault.as_deref()).await?;
    }
    let after = add_link(git, repo, before.clone(), link).await?;
    match vault {
        Some(admin) => move_head(git, &admin, &after, before.as_deref()).await?,
        None => make(git, repo, root, &after).await?,
    }
    Ok(after)
}

/// Looks whether everything is there that the vault of a root is to hold, puts back what is not and makes
/// the chain anew then. The caller holds no lock.
///
/// # Errors
/// When git or the disk fails; may be repeated.
pub(super) async fn mend(git: &Git, repo: &Repository, root: &Path) -> Result<(), WorktreeError> {
    let vault = find(repo, root)?.filter(|admin| is_made(admin));
    let head = head_of(git, vault.as_deref()).await?;
    if let (Some(admin), Some(head)) = (&vault, &head)
        && pins_copy::is_whole(git, &Place::git_dir(admin), std::slice::from_ref(head)).await?
    {
        return Ok(());
    }
    let mut entries = trash::list(root)?;
    entries.retain(|entry| !entry.pins.is_empty());
    if entries.is_empty() {
        return Ok(());
    }
    let _lock = trash_lock::lock(repo).await?;
    rebuild(git, repo, root, &entries).await
}

/// Makes the chain anew from what the given entries hold; without any the vault is removed. The entries on
/// disk are not touched, somebody else may be saving them. The caller holds the lock of the workspace.
///
/// # Errors
/// When git or the disk fails; the chain is the old or the new one then, both hold the entries.
pub(super) async fn rebuild(
    git: &Git,
    repo: &Repository,
    root: &Path,
    entries: &[TrashEntry],
) -> Result<(), WorktreeError> {
    let mut tries = 1;
    loop {
        match try_rebuild(git, repo, root, entries).await {
            Err(error @ WorktreeError::RunGit { .. }) if tries < TRIES && !error.is_disk_full() => tries += 1,
            other => return other,
        }
    }
}

async fn try_rebuild(
    git: &Git,
    repo: &Repository,
    root: &Path,
    entries: &[TrashEntry],
) -> Result<(), WorktreeError> {
    let vault = made(repo, root).await?;
    let mut chain: Option<String> = None;
    for entry in entries {
        let spot = Spot::new(root, entry.order.lane_id);
        let _was_missing = pins_copy::put_back(git, repo, &spot, entry).await?;
        let kinds = kinds_of(git, repo, &entry.pins).await?;
        let commits = of_kind(&entry.pins, &kinds, "commit");
        let objects = objects_of(&entry.pins, &kinds);
        let link = Link { lane_id: entry.order.lane_id, at: entry.at, commits: &commits, objects: &objects };
        let after = add_link(git, repo, chain, &link).await?;
        chain = Some(after);
    }
    match (vault, chain) {
        (Some(admin), Some(chain)) => {
            let before = head_of(git, Some(&admin)).await?;
            move_head(git, &admin, &chain, before.as_deref()).await?;
        }
        (None, Some(chain)) => make(git, repo, root, &chain).await?,
        (vault, None) => {
            remove(root, vault)?;
            // Of a git that was killed over one before, and of which nobody would hear any more.
            remove_begun(repo).await;
        }
    }
    Ok(())
}

/// The admin directory of the vault of this root, also when somebody removed its folder.
pub(super) fn find(repo: &Repository, root: &Path) -> Result<Option<PathBuf>, WorktreeError> {
    let worktrees = repo.common_dir.join("worktrees");
    let wanted = root.join(VAULT_DIR).join(".git");
    let entries = match std::fs::read_dir(&worktrees) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(WorktreeError::file("list", worktrees, error)),
    };
    for entry in entries {
        let admin = entry.map_err(|error| WorktreeError::file("list", &worktrees, error))?.path();
        let locked = read_small(&admin.join("locked"), 4096).unwrap_or_default();
        let gitdir = read_small(&admin.join("gitdir"), 1 << 16).unwrap_or_default();
        let points = gitdir.strip_suffix(b"\n").unwrap_or(&gitdir);
        if locked.starts_with(VAULT_REASON.as_bytes()) && same_place(points, &wanted) {
            return Ok(Some(admin));
        }
    }
    Ok(None)
}

/// True when git can work with this entry: what it writes first and what it writes last is there.
fn is_made(admin: &Path) -> bool {
    ["HEAD", "commondir"].iter().all(|name| admin.join(name).metadata().is_ok_and(|file| file.len() > 0))
}

/// The vault of a root as [`find`]; what a git left that was killed while it made one is removed. The caller
/// holds the lock of the workspace.
async fn made(repo: &Repository, root: &Path) -> Result<Option<PathBuf>, WorktreeError> {
    let begun = Instant::now();
    loop {
        match find(repo, root)? {
            Some(admin) if !is_made(&admin) && begun.elapsed() >= LEFT => {
                return remove(root, Some(admin)).map(|()| None);
            }
            Some(admin) if !is_made(&admin) => tokio::time::sleep(LEFT / 50).await,
            vault => return Ok(vault),
        }
    }
}

/// True when the bytes name this `.git` file, the folders above compared as they really are.
fn same_place(bytes: &[u8], wanted: &Path) -> bool {
    if bytes == wanted.as_os_str().as_bytes() {
        return true;
    }
    let real = |path: &Path| path.ancestors().nth(2).and_then(|root| root.canonicalize().ok());
    let said = Path::new(std::ffi::OsStr::from_bytes(bytes));
    said.ends_with(Path::new(VAULT_DIR).join(".git")) && real(said).is_some() && real(said) == real(wanted)
}

/// The commit that the HEAD of this vault is at, if that is there.
async fn head_of(git: &Git, vault: Option<&Path>) -> Result<Option<String>, WorktreeError> {
    let Some(admin) = vault else { return Ok(None) };
    let command = plain(
        git,
        Mode::Look,
        &Place::git_dir(admin),
        &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"],
    );
    let head = git.run(command, git.timeout()).await?.found("git rev-parse")?;
    Ok(head.map(|head| head.text()))
}

async fn move_head(git: &Git, admin: &Path, to: &str, from: Option<&str>) -> Result<(), WorktreeError> {
    let mut args = vec!["update-ref", "--no-deref", "HEAD", to];
    args.extend(from);
    // A reflog would hold what was let go of.
    let command =
        plain(git, Mode::Write, &Place::git_dir(admin), &args).config("core.logAllRefUpdates", "false");
    let _said = answer(git, command).await?;
    Ok(())
}

/// Removes entries of a vault that say no more than that they are one's.
async fn remove_begun(repo: &Repository) {
    let common_dir = repo.common_dir.clone();
    let _stopped = tokio::task::spawn_blocking(move || begun::remove(&common_dir, ADMIN, VAULT_REASON)).await;
}

async fn make(git: &Git, repo: &Repository, root: &Path, head: &str) -> Result<(), WorktreeError> {
    remove_begun(repo).await;
    let folder = root.join(VAULT_DIR);
    if is_there(&folder)? {
        // Left behind when somebody removed the admin entry by hand: nothing but its `.git` file may be in it.
        trash::remove_file_if_there(&folder.join(".git"))
            .and_then(|()| std::fs::remove_dir(&folder))
            .map_err(|source| WorktreeError::file("make room for the vault at", &folder, source))?;
    }
    let mut args: Vec<OsString> = [
        "worktree",
        "add",
        "--detach",
        "--no-checkout",
        "--lock",
        "--reason",
        VAULT_REASON,
        "--end-of-options",
    ]
    .map(OsString::from)
    .to_vec();
    args.push(folder.into_os_string());
    args.push(head.into());
    let command =
        git.command(Mode::Write, &Place::repository(repo), args).config("core.logAllRefUpdates", "false");
    let _said = answer(git, command).await?;
    Ok(())
}

fn remove(root: &Path, admin: Option<PathBuf>) -> Result<(), WorktreeError> {
    if let Some(admin) = admin {
        let _gone = remove_tree(&admin, None, &Pace::full())?;
        // As git does with its last linked worktree.
        if let Some(worktrees) = admin.parent() {
            let _not_empty = std::fs::remove_dir(worktrees);
        }
        let _gone = remove_tree(&root.join(VAULT_DIR), None, &Pace::full())?;
    }
    Ok(())
}

async fn restore_chain(git: &Git, repo: &Repository, root: &Path, but: LaneId) -> Result<(), WorktreeError> {
    let mut others = trash::list(root)?;
    others.retain(|entry| entry.order.lane_id != but && !entry.pins.is_empty());
    if others.is_empty() {
        return Ok(());
    }
    rebuild(git, repo, root, &others).await
}

async fn add_link(
    git: &Git,
    repo: &Repository,
    before: Option<String>,
    link: &Link<'_>,
) -> Result<String, WorktreeError> {
    let tree = flat_tree(git, repo, link.objects).await?;
    let mut last = before;
    let mut chunks: Vec<&[String]> = link.commits.chunks(MAX_PARENTS).collect();
    if chunks.is_empty() {
        chunks.push(&[]);
    }
    for commits in chunks {
        let text = commit_text(&tree, last.as_deref(), commits, link);
        let args = ["hash-object", "-t", "commit", "-w", "--stdin"];
        let command = plain(git, Mode::Write, &Place::repository(repo), &args).stdin(text.into_bytes());
        last = Some(answer(git, command).await?.text());
    }
    Ok(last.expect("invariant: there is at least one chunk"))
}

/// A commit as git stores it; the same input gives the same commit.
fn commit_text(tree: &str, before: Option<&str>, commits: &[String], link: &Link<'_>) -> String {
    let mut text = format!("tree {tree}\n");
    let mut seen = BTreeSet::new();
    for parent in before.into_iter().chain(commits.iter().map(String::as_str)) {
        if seen.insert(parent) {
            text.push_str(&format!("parent {parent}\n"));
        }
    }
    let who = format!("lanes <lanes@localhost> {} +0000", link.at.as_ms() / 1000);
    text.push_str(&format!("author {who}\ncommitter {who}\n\nlanes pins {}\n", link.lane_id));
    text
}

async fn flat_tree(git: &Git, repo: &Repository, objects: &[Object]) -> Result<String, WorktreeError> {
    if objects.is_empty() {
        return empty_tree(git, repo).await;
    }
    let line = |object: &Object| match object.is_tree {
        true => format!("040000 tree {0}\t{0}\0", object.oid),
        false => format!("100644 blob {0}\t{0}\0", object.oid),
    };
    let input: String = objects.iter().map(line).collect();
    let command =
        plain(git, Mode::Write, &Place::repository(repo), &["mktree", "-z"]).stdin(input.into_bytes());
    Ok(answer(git, command).await?.text())
}

//! Finds the objects that only one lane holds: what its admin directory names and other refs may not.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::blocking::blocking;
use super::error::WorktreeError;
use super::git::{Git, GitCommand, GitOutput, Mode, Place};
use super::model::Repository;
use super::trash::read_small;

/// The largest file of an admin directory that is searched for ids: a reflog of half a million entries.
const MAX_SCANNED_BYTES: u64 = 128 << 20;
/// Folders in folders of an admin directory, at most.
const MAX_DEPTH: usize = 32;

/// What has to stay reachable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Commits, none of them reachable from another one in the list.
    pub commits: Vec<String>,
    /// Blobs and trees.
    pub objects: Vec<Object>,
    /// What could not be read, in words.
    pub notes: Vec<String>,
}

/// A blob or tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// True for a tree, false for a blob.
    pub is_tree: bool,
    /// The object id.
    pub oid: String,
}

impl Held {
    /// All ids.
    pub fn names(&self) -> Vec<String> {
        self.commits.iter().cloned().chain(self.objects.iter().map(|object| object.oid.clone())).collect()
    }
}

/// Adds every run of exactly `oid_len` hexadecimal digits to `found`; the null id is none.
pub fn scan_ids(bytes: &[u8], oid_len: usize, found: &mut BTreeSet<String>) {
    for run in bytes.split(|byte| !byte.is_ascii_hexdigit()) {
        if run.len() == oid_len && run.iter().any(|byte| *byte != b'0') {
            let text: String = run.iter().map(|byte| char::from(byte.to_ascii_lowercase())).collect();
            let _new = found.insert(text);
        }
    }
}

/// True when the output of `git diff-index --raw -z` has an entry that is not merged.
fn has_unmerged(output: &[u8]) -> bool {
    output.split(|byte| *byte == 0).any(|line| line.starts_with(b":") && line.ends_with(b" U"))
}

/// The new ids in the output of `git diff-index --raw -z`, without submodules.
pub fn parse_diff_index(output: &[u8], found: &mut BTreeSet<String>) {
    for line in output.split(|byte| *byte == 0).filter(|line| line.starts_with(b":")) {
        let Ok(text) = std::str::from_utf8(&line[1..]) else { continue };
        let mut words = text.split(' ').skip(1);
        if let (Some(mode), Some(_old), Some(oid)) = (words.next(), words.next(), words.next())
            && mode != "160000"
        {
            scan_ids(oid.as_bytes(), oid.len(), found);
        }
    }
}

/// The ids in the output of `git ls-files -z --stage`, `--unmerged` or `--resolve-undo`, without submodules.
pub fn parse_stages(output: &[u8], found: &mut BTreeSet<String>) {
    for line in output.split(|byte| *byte == 0) {
        let facts = line.split(|byte| *byte == b'\t').next().unwrap_or_default();
        let Ok(text) = std::str::from_utf8(facts) else { continue };
        let mut words = text.split(' ');
        if let (Some(mode), Some(oid)) = (words.next(), words.next())
            && mode != "160000"
        {
            scan_ids(oid.as_bytes(), oid.len(), found);
        }
    }
}

/// Of `git rev-list --parents`: the commits that no other listed commit has as its parent.
pub fn tips(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    let mut listed = Vec::new();
    let mut parents = HashSet::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        listed.extend(words.next());
        parents.extend(words);
    }
    listed.into_iter().filter(|oid| !parents.contains(oid)).map(str::to_owned).collect()
}

/// Collects what `admin` names: HEAD and its relatives, every reflog, an unfinished operation, refs of its
/// own, the staged content; and the reflog of `branch` when that may be deleted.
///
/// # Errors
/// When git or the disk fails in a way that leaves open what there is.
pub(super) async fn collect(
    git: &Git,
    repo: &Repository,
    admin: &Path,
    head: Option<&str>,
    branch: Option<&str>,
) -> Result<Held, WorktreeError> {
    let mut named = BTreeSet::new();
    let mut notes = Vec::new();
    let there = admin.is_dir();
    if there {
        named = scan_admin(admin, repo.oid_len).await?;
    }
    if let Some(branch) = branch {
        let log = repo.common_dir.join("logs/refs/heads").join(branch);
        scan_file(&log, repo.oid_len, &mut named)
            .map_err(|source| WorktreeError::file("read", &log, source))?;
    }
    if repo.common_dir.join("reftable").is_dir() {
        reftable_ids(git, repo, admin, branch, &mut named).await?;
    }
    named.extend(head.map(str::to_owned));
    let staged = if there { staged_ids(git, repo, admin, head, &mut notes).await? } else { BTreeSet::new() };
    let all: Vec<String> = named.union(&staged).cloned().collect();
    if let ([only], Some(head)) = (all.as_slice(), head)
        && only == head
    {
        return Ok(Held { commits: all, objects: Vec::new(), notes });
    }
    let kinds = kinds_of(git, repo, &all).await?;
    let mut commits = of_kind(&all, &kinds, "commit");
    commits.extend(of_kind(&all, &kinds, "tag"));
    let commits = independent(git, repo, commits, head, &mut notes).await?;
    Ok(Held { commits, objects: objects_of(&all, &kinds), notes })
}

/// The ids of one type, in their order.
pub(super) fn of_kind(all: &[String], kinds: &BTreeMap<String, String>, wanted: &str) -> Vec<String> {
    all.iter().filter(|oid| kinds.get(*oid).is_some_and(|kind| kind == wanted)).cloned().collect()
}

/// The trees and blobs among the ids.
pub(super) fn objects_of(all: &[String], kinds: &BTreeMap<String, String>) -> Vec<Object> {
    let trees = of_kind(all, kinds, "tree").into_iter().map(|oid| Object { is_tree: true, oid });
    let blobs = of_kind(all, kinds, "blob").into_iter().map(|oid| Object { is_tree: false, oid });
    trees.chain(blobs).collect()
}

/// The type of each object that exists.
pub(super) async fn kinds_of(
    git: &Git,
    repo: &Repository,
    oids: &[String],
) -> Result<BTreeMap<String, String>, WorktreeError> {
    if oids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let args = ["cat-file", "--batch-check=%(objecttype) %(objectname)"];
    let command = plain(git, Mode::Look, &Place::repository(repo), &args).stdin(oids.join("\n").into_bytes());
    let output = answer(git, command).await?;
    let known = ["commit", "tag", "tree", "blob"];
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let pairs = lines.lines().filter_map(|line| line.split_once(' '));
    Ok(pairs
        .filter(|(kind, _oid)| known.contains(kind))
        .map(|(kind, oid)| (oid.to_owned(), kind.to_owned()))
        .collect())
}

/// Reduces commits to those that no other one reaches. A commit whose history is not all there would make
/// every `git gc` fail, were it pinned: it is left out and said.
async fn independent(
    git: &Git,
    repo: &Repository,
    commits: Vec<String>,
    head: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<Vec<String>, WorktreeError> {
    let others: Vec<String> = commits.into_iter().filter(|oid| Some(oid.as_str()) != head).collect();
    let mut kept: Vec<String> = head.map(str::to_owned).into_iter().collect();
    if others.is_empty() {
        return Ok(kept);
    }
    let whole = reached(git, repo, &others, head).await?;
    if whole.ok() {
        kept.extend(tips(&whole.stdout));
        return Ok(kept);
    }
    for oid in others {
        let one = reached(git, repo, std::slice::from_ref(&oid), head).await?;
        match one.ok() {
            true => kept.extend(tips(&one.stdout)),
            false => notes.push(format!("{oid} is named by a reflog, but its history is not complete")),
        }
    }
    kept.sort_unstable();
    kept.dedup();
    Ok(kept)
}

/// Runs `rev-list --parents` for what `from` reaches and `head` does not.
async fn reached(
    git: &Git,
    repo: &Repository,
    from: &[String],
    head: Option<&str>,
) -> Result<GitOutput, WorktreeError> {
    let mut input = from.join("\n");
    input.push('\n');
    if let Some(head) = head {
        input.push_str(&format!("^{head}\n"));
    }
    let command = plain(git, Mode::Look, &Place::repository(repo), &["rev-list", "--parents", "--stdin"]);
    twice(git, command.stdin(input.into_bytes())).await
}

/// Asks again what git refuses: what follows from a refusal is that something is not held, and git that was short
/// of memory or descriptors for a moment refuses with the same code as one that finds damage.
async fn twice(git: &Git, command: GitCommand) -> Result<GitOutput, WorktreeError> {
    let first = git.run(command.clone(), git.timeout()).await?;
    if first.ok() { Ok(first) } else { git.run(command, git.timeout()).await }
}

/// Ids of staged content that the tree of HEAD does not hold. An index that git cannot read is kept as a
/// file and said, it holds up no cleanup.
async fn staged_ids(
    git: &Git,
    repo: &Repository,
    admin: &Path,
    head: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<BTreeSet<String>, WorktreeError> {
    let mut found = BTreeSet::new();
    let index = admin.join("index");
    let Ok(bytes) = read_small(&index, 4 << 30) else { return Ok(found) };
    let place = Place::git_dir(admin);
    let against = match head {
        Some(head) => head.to_owned(),
        None => empty_tree(git, repo).await?,
    };
    let args = [
        "diff-index",
        "--cached",
        "--raw",
        "-z",
        "--no-renames",
        "--no-abbrev",
        "--end-of-options",
        &against,
    ];
    let changed = twice(git, plain(git, Mode::Look, &place, &args)).await?;
    // Whatever is unmerged is said there, too, by a status of its own.
    let unmerged = match changed.ok() && has_unmerged(&changed.stdout) {
        true => {
            let list = ["ls-files", "-z", "--unmerged"];
            Some(twice(git, plain(git, Mode::Look, &place, &list)).await?)
        }
        false => None,
    };
    if !changed.ok() || unmerged.as_ref().is_some_and(|unmerged| !unmerged.ok()) {
        notes.push("git could not read the index: content that was only staged may be collected".to_owned());
        return Ok(found);
    }
    parse_diff_index(&changed.stdout, &mut found);
    if let Some(unmerged) = unmerged {
        parse_stages(&unmerged.stdout, &mut found);
    }
    if bytes.windows(4).any(|four| four == b"REUC") {
        let undo = twice(git, plain(git, Mode::Look, &place, &["ls-files", "-z", "--resolve-undo"])).await?;
        parse_stages(&undo.stdout, &mut found);
    }
    Ok(found)
}

/// Makes sure that the empty tree is there and names it.
pub(super) async fn empty_tree(git: &Git, repo: &Repository) -> Result<String, WorktreeError> {
    let command = plain(git, Mode::Write, &Place::repository(repo), &["mktree", "-z"]);
    Ok(answer(git, command).await?.text())
}

/// Ids in the refs and reflogs that only git can read.
async fn reftable_ids(
    git: &Git,
    repo: &Repository,
    admin: &Path,
    branch: Option<&str>,
    found: &mut BTreeSet<String>,
) -> Result<(), WorktreeError> {
    let own_branch = branch.map(|name| format!("refs/heads/{name}"));
    let is_own = |name: &str| {
        !name.starts_with("refs/")
            || ["refs/worktree/", "refs/bisect/", "refs/rewritten/"]
                .iter()
                .any(|start| name.starts_with(start))
            || own_branch.as_deref() == Some(name)
    };
    let place = if admin.is_dir() { Place::git_dir(admin) } else { Place::repository(repo) };
    let args = ["for-each-ref", "--include-root-refs", "--format=%(objectname) %(refname)"];
    let refs = answer(git, plain(git, Mode::Look, &place, &args)).await?;
    for line in refs.text().lines() {
        if let Some((oid, name)) = line.split_once(' ')
            && is_own(name)
        {
            scan_ids(oid.as_bytes(), repo.oid_len, found);
        }
    }
    let logs = answer(git, plain(git, Mode::Look, &place, &["reflog", "list"])).await?;
    for name in logs.text().lines().filter(|name| is_own(name)) {
        let args = ["reflog", "show", "--format=%H", "--end-of-options", name];
        // A log with a broken entry is read as far as it goes.
        let log = twice(git, plain(git, Mode::Look, &place, &args)).await?;
        scan_ids(&log.stdout, repo.oid_len, found);
    }
    Ok(())
}

async fn scan_admin(admin: &Path, oid_len: usize) -> Result<BTreeSet<String>, WorktreeError> {
    let top = admin.to_path_buf();
    blocking("reading what the lane holds", move || {
        let mut found = BTreeSet::new();
        scan_folder(&top, oid_len, 0, &mut found)
            .map(|()| found)
            .map_err(|(path, source)| WorktreeError::file("read", path, source))
    })
    .await
}

fn scan_folder(
    folder: &Path,
    oid_len: usize,
    depth: usize,
    found: &mut BTreeSet<String>,
) -> Result<(), (PathBuf, io::Error)> {
    let failed = |source| (folder.to_path_buf(), source);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        // Submodules keep their own history, the index and reftable are read by git.
        let skipped = depth == 0
            && (["modules", "index", "reftable", "objects"].contains(&name.as_ref())
                || name.starts_with("sharedindex."));
        if skipped {
            continue;
        }
        if kind.is_dir() && depth < MAX_DEPTH {
            scan_folder(&path, oid_len, depth + 1, found)?;
        } else if kind.is_file() {
            scan_file(&path, oid_len, found).map_err(|source| (path, source))?;
        }
    }
    Ok(())
}

fn scan_file(path: &Path, oid_len: usize, found: &mut BTreeSet<String>) -> io::Result<()> {
    match read_small(path, MAX_SCANNED_BYTES) {
        Ok(bytes) => scan_ids(&bytes, oid_len, found),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A call that sees objects as they are, replacements aside.
pub(super) fn plain(git: &Git, mode: Mode, place: &Place, args: &[&str]) -> GitCommand {
    git.command(mode, place, args.iter().map(OsString::from)).env("GIT_NO_REPLACE_OBJECTS", "1")
}

/// Runs a call that has to succeed.
pub(super) async fn answer(git: &Git, command: GitCommand) -> Result<GitOutput, WorktreeError> {
    let label = command.label.clone();
    git.run(command, git.timeout()).await?.success(&label)
}

//! Says what a lane has changed, running nothing of the repository.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::WorktreeError;
use super::git::{Git, GitCommand, Mode, Place};
use super::model::{Base, Changes, Repository};
use super::resolve::{is_oid, open_with_libgit2};

/// The tree without files, in repositories of either kind of object id.
const EMPTY_TREE_SHA1: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
const EMPTY_TREE_SHA256: &str = "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321";
/// The file without contents.
const EMPTY_BLOB_SHA1: &str = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";
const EMPTY_BLOB_SHA256: &str = "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813";

/// Counts what a lane has changed: commits against its target, files and lines against its HEAD.
///
/// # Errors
/// Those of git.
pub async fn changes(
    git: &Git,
    repo: &Repository,
    tree_path: &Path,
    admin_dir: &Path,
    base: &Base,
) -> Result<Changes, WorktreeError> {
    let place = Place::tree(admin_dir, tree_path);
    let head = commit(git, &place, "HEAD").await?;
    let (ahead, behind) = match &head {
        Some(head) => ahead_behind(git, repo, head, base).await?,
        None => (0, 0),
    };
    let off = git.filters_off(&place).await?;
    let against = head.unwrap_or_else(|| empty_tree(repo).to_owned());
    let args = ["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--numstat", "-z"];
    let command =
        git.command(Mode::Look, &place, args.into_iter().chain([against.as_str(), "--"])).configs(&off);
    let mut lines = parse_numstat(&said(git, command).await?);
    if !off.is_empty() {
        forget_unfiltered(git, &place, &against, &mut lines).await?;
    }
    let untracked = untracked(git, &place).await?;
    let files = lines.len() + untracked.len();
    Ok(Changes {
        ahead,
        behind,
        files: u64::try_from(files).unwrap_or(u64::MAX),
        insertions: lines.values().map(|(added, _removed)| added).sum(),
        deletions: lines.values().map(|(_added, removed)| removed).sum(),
    })
}

/// The diff from where the lane and its target parted to the work tree, untracked files included.
///
/// # Errors
/// Those of git; `File` for the copy of the index.
pub async fn diff(
    git: &Git,
    repo: &Repository,
    tree_path: &Path,
    admin_dir: &Path,
    base: &Base,
) -> Result<Vec<u8>, WorktreeError> {
    let place = Place::tree(admin_dir, tree_path);
    let from = parted_at(git, repo, &place, base).await?;
    let off = git.filters_off(&place).await?;
    let index = IndexCopy::of(admin_dir)?;
    let blob = if repo.oid_len == 64 { EMPTY_BLOB_SHA256 } else { EMPTY_BLOB_SHA1 };
    let mut entries = Vec::new();
    for path in untracked(git, &place).await?.iter().filter(|path| !path.as_bytes().ends_with(b"/")) {
        entries.extend(format!("100644 {blob}\t").into_bytes());
        entries.extend(path.as_bytes());
        entries.push(0);
    }
    if !entries.is_empty() {
        // Into the copy only, and by name only: nothing is read and nothing becomes an object.
        let command = git.command(Mode::Write, &place, ["update-index", "--add", "-z", "--index-info"]);
        let _done = said(git, index.used_by(command).stdin(entries).configs(&off)).await?;
    }
    let args = ["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--submodule=short"];
    let command =
        git.command(Mode::Look, &place, args.into_iter().chain([from.as_str(), "--"])).configs(&off);
    said(git, index.used_by(command)).await
}

/// True when what the tip has is elsewhere: reachable from another local or remote branch, or its tree is
/// that of the recorded target.
///
/// # Errors
/// Those of git.
pub async fn is_merged(
    git: &Git,
    repo: &Repository,
    tip: &str,
    own_branch: &str,
    base: &Base,
) -> Result<bool, WorktreeError> {
    let place = Place::repository(repo);
    let contains = format!("--contains={tip}");
    let args = ["for-each-ref", "--format=%(refname)", contains.as_str(), "refs/heads/", "refs/remotes/"];
    let output = git.ask(Mode::Look, &place, args).await?;
    let own = format!("refs/heads/{own_branch}");
    if output.stdout.split(|byte| *byte == b'\n').any(|name| !name.is_empty() && name != own.as_bytes()) {
        return Ok(true);
    }
    let Some(target) = base.target.as_deref().filter(|target| *target != own) else { return Ok(false) };
    let tree = |commit: &str| format!("{commit}^{{tree}}");
    let (ours, theirs) = (object(git, &place, &tree(tip)).await?, object(git, &place, &tree(target)).await?);
    Ok(ours.is_some() && ours == theirs)
}

async fn said(git: &Git, command: GitCommand) -> Result<Vec<u8>, WorktreeError> {
    let label = command.label.clone();
    Ok(git.run(command, git.timeout()).await?.success(&label)?.stdout)
}

async fn commit(git: &Git, place: &Place, rev: &str) -> Result<Option<String>, WorktreeError> {
    object(git, place, &format!("{rev}^{{commit}}")).await
}

async fn object(git: &Git, place: &Place, rev: &str) -> Result<Option<String>, WorktreeError> {
    let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", rev];
    let found = git.run(git.command(Mode::Look, place, args), git.timeout()).await?.found("git rev-parse")?;
    Ok(found.map(|found| found.text()).filter(|text| is_oid(text)))
}

fn empty_tree(repo: &Repository) -> &'static str {
    if repo.oid_len == 64 { EMPTY_TREE_SHA256 } else { EMPTY_TREE_SHA1 }
}

/// The commit of the target now, or the base when the target is gone.
async fn target_of(git: &Git, repo: &Repository, base: &Base) -> Result<String, WorktreeError> {
    let target = match &base.target {
        Some(target) => commit(git, &Place::repository(repo), target).await?,
        None => None,
    };
    Ok(target.unwrap_or_else(|| base.sha.clone()))
}

async fn ahead_behind(
    git: &Git,
    repo: &Repository,
    head: &str,
    base: &Base,
) -> Result<(u64, u64), WorktreeError> {
    if repo.libgit2 {
        let (dir, head, base) = (repo.common_dir.clone(), head.to_owned(), base.clone());
        let work = tokio::task::spawn_blocking(move || ahead_behind_with_libgit2(&dir, &head, &base));
        if let Some(counts) = work.await.ok().flatten() {
            return Ok(counts);
        }
    }
    let range = format!("{head}...{}", target_of(git, repo, base).await?);
    let args = ["rev-list", "--left-right", "--count", "--end-of-options", range.as_str()];
    let output = git.ask(Mode::Look, &Place::repository(repo), args).await?;
    let text = output.text();
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(ahead)), Some(Ok(behind))) => Ok((ahead, behind)),
        _other => {
            Err(WorktreeError::ReadGit { command: "git rev-list".to_owned(), what: "no two numbers in it" })
        }
    }
}

fn ahead_behind_with_libgit2(common_dir: &Path, head: &str, base: &Base) -> Option<(u64, u64)> {
    let repo = open_with_libgit2(common_dir)?;
    let head = git2::Oid::from_str(head).ok()?;
    let target = base.target.as_deref().and_then(|target| repo.refname_to_id(target).ok());
    let target = match target {
        Some(target) => target,
        None => git2::Oid::from_str(&base.sha).ok()?,
    };
    let (ahead, behind) = repo.graph_ahead_behind(head, target).ok()?;
    Some((u64::try_from(ahead).ok()?, u64::try_from(behind).ok()?))
}

async fn parted_at(
    git: &Git,
    repo: &Repository,
    place: &Place,
    base: &Base,
) -> Result<String, WorktreeError> {
    let target = target_of(git, repo, base).await?;
    let args = ["merge-base", "HEAD", target.as_str()];
    let output = git.run(git.command(Mode::Look, place, args), git.timeout()).await?;
    let text = output.text();
    Ok(if output.ok() && is_oid(&text) { text } else { base.sha.clone() })
}

/// Files that git does not track and does not ignore.
async fn untracked(git: &Git, place: &Place) -> Result<Vec<OsString>, WorktreeError> {
    let args = ["ls-files", "--others", "--exclude-standard", "-z", "--full-name"];
    let bytes = said(git, git.command(Mode::Look, place, args)).await?;
    Ok(paths(&bytes).map(OsStr::to_owned).collect())
}

fn paths(bytes: &[u8]) -> impl Iterator<Item = &OsStr> {
    bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(OsStr::from_bytes)
}

/// Lines added and removed by file; binary files count as none.
pub fn parse_numstat(bytes: &[u8]) -> BTreeMap<PathBuf, (u64, u64)> {
    let mut lines = BTreeMap::new();
    for record in bytes.split(|byte| *byte == 0) {
        let mut fields = record.splitn(3, |byte| *byte == b'\t');
        let (Some(added), Some(removed), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let number = |field: &[u8]| std::str::from_utf8(field).ok().and_then(|n| n.parse().ok()).unwrap_or(0);
        let _new = lines.insert(PathBuf::from(OsStr::from_bytes(path)), (number(added), number(removed)));
    }
    lines
}

/// Corrects what looking without filters gets wrong: a filtered file (LFS) whose index entry is as young as
/// the index is compared by contents, and its contents are not what the unfiltered object holds. Such a file
/// counts as changed when its stat data or its staged object changed, and never with lines.
async fn forget_unfiltered(
    git: &Git,
    place: &Place,
    against: &str,
    lines: &mut BTreeMap<PathBuf, (u64, u64)>,
) -> Result<(), WorktreeError> {
    let mut names = Vec::new();
    for path in lines.keys() {
        names.extend(path.as_os_str().as_bytes());
        names.push(0);
    }
    if names.is_empty() {
        return Ok(());
    }
    let command = git.command(Mode::Look, place, ["check-attr", "-z", "--stdin", "filter"]).stdin(names);
    let filtered = parse_filtered(&said(git, command).await?);
    if filtered.is_empty() {
        return Ok(());
    }
    let args = ["diff", "--cached", "--no-ext-diff", "--no-textconv", "--name-only", "-z", against, "--"];
    let bytes = said(git, git.command(Mode::Look, place, args)).await?;
    let staged: BTreeSet<PathBuf> = paths(&bytes).map(PathBuf::from).collect();
    let args: Vec<OsString> = ["ls-files", "--debug", "-z", "--full-name", "--"].map(OsString::from).to_vec();
    let args = args.into_iter().chain(filtered.iter().map(|path| path.clone().into_os_string()));
    let known = parse_debug(&said(git, git.command(Mode::Look, place, args)).await?);
    let tree = place.work_tree.as_deref().unwrap_or(Path::new("/"));
    for path in filtered {
        let same = known.get(&path).is_some_and(|stat| is_same(&tree.join(&path), *stat));
        if same && !staged.contains(&path) {
            let _unchanged = lines.remove(&path);
        } else {
            let _no_lines = lines.insert(path, (0, 0));
        }
    }
    Ok(())
}

/// The paths of `path NUL attribute NUL value NUL` records that have a filter.
fn parse_filtered(bytes: &[u8]) -> Vec<PathBuf> {
    let fields: Vec<_> = bytes.split(|byte| *byte == 0).collect();
    let has = |record: &&[&[u8]]| !matches!(record[2], b"unspecified" | b"unset" | b"set" | b"");
    fields.chunks_exact(3).filter(has).map(|record| PathBuf::from(OsStr::from_bytes(record[0]))).collect()
}

/// What the index remembers of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Seconds and nanoseconds of the last change.
    pub mtime: (i64, i64),
    /// The inode, as far as the index keeps it.
    pub ino: u32,
    /// The size, as far as the index keeps it.
    pub size: u32,
}

/// Reads what `git ls-files --debug -z` prints: a path, NUL, and five lines.
pub fn parse_debug(bytes: &[u8]) -> BTreeMap<PathBuf, Remembered> {
    let mut known = BTreeMap::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let path = PathBuf::from(OsStr::from_bytes(&rest[..end]));
        let lines: Vec<_> = rest[end + 1..].splitn(6, |byte| *byte == b'\n').collect();
        let [_ctime, mtime, ino, _owner, size, after] = lines[..] else { break };
        let number = |line: &[u8], name: &str| -> Option<i64> {
            let text = std::str::from_utf8(line).ok()?;
            let value = text.split_once(name)?.1.trim_start();
            value.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        let nanos =
            std::str::from_utf8(mtime).ok().and_then(|text| text.rsplit(':').next()?.trim().parse().ok());
        if let (Some(seconds), Some(nanos), Some(ino), Some(size)) =
            (number(mtime, "mtime:"), nanos, number(ino, "ino:"), number(size, "size:"))
        {
            let (ino, size) = (ino as u32, size as u32);
            let _new = known.insert(path, Remembered { mtime: (seconds, nanos), ino, size });
        }
        rest = after;
    }
    known
}

fn is_same(path: &Path, stat: Remembered) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| {
        (meta.mtime(), meta.mtime_nsec()) == stat.mtime
            && meta.ino() as u32 == stat.ino
            && meta.size() as u32 == stat.size
    })
}

/// A copy of an index beside it, gone when dropped.
struct IndexCopy {
    path: PathBuf,
}

impl IndexCopy {
    fn of(admin_dir: &Path) -> Result<Self, WorktreeError> {
        let path = admin_dir.join(format!("lanes-diff-{}", uuid::Uuid::new_v4().simple()));
        let copy = Self { path };
        let index = admin_dir.join("index");
        match fs::copy(&index, &copy.path).and_then(|_bytes| copy.keep_time_of(&index)) {
            Ok(()) => Ok(copy),
            // Nothing was ever added.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(copy),
            Err(error) => Err(WorktreeError::file("copy the index to", &copy.path, error)),
        }
    }

    /// A younger index would make git trust entries that are as young as the real one.
    fn keep_time_of(&self, index: &Path) -> std::io::Result<()> {
        let modified = fs::metadata(index)?.modified()?;
        fs::File::options().write(true).open(&self.path)?.set_modified(modified)
    }

    fn used_by(&self, command: GitCommand) -> GitCommand {
        command.env("GIT_INDEX_FILE", &self.path)
    }
}

impl Drop for IndexCopy {
    fn drop(&mut self) {
        let _gone_or_never_there = fs::remove_file(&self.path);
    }
}

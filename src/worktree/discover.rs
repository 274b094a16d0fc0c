//! Finds the repository that a folder belongs to.
//!
//! The git directory is found by looking at files only; libgit2 reads it where it can, git where it cannot.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::blocking::blocking;
use super::error::WorktreeError;
use super::git::{Git, Mode, Place};
use super::model::Repository;

/// A `.git` file is one path; more is not one.
const MAX_GITFILE_BYTES: u64 = 16 << 10;

/// The git directory that a folder is in, as the files say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The git directory of this checkout: the common one, or an admin directory.
    pub git_dir: PathBuf,
    /// The common git directory, canonical.
    pub common_dir: PathBuf,
    /// The folder with the `.git`; none inside a git directory itself.
    pub checkout: Option<PathBuf>,
}

/// Finds the repository at or above `from`: a folder of a checkout, of a lane, of a worktree of a bare
/// repository, or a bare repository itself. Runs nothing of it.
///
/// # Errors
/// `NOT_A_REPOSITORY`, also when it belongs to another user and git was not told to trust it.
pub async fn discover(git: &Git, from: &Path) -> Result<Repository, WorktreeError> {
    let from = from.to_path_buf();
    let find = move || {
        let found = locate(&from)?;
        let read = read_with_libgit2(&found);
        Ok((found, read))
    };
    let (found, read) = blocking("finding the repository", find).await?;
    check_owner(git, &found).await?;
    let facts = match read {
        Some(facts) => facts,
        None => read_with_git(git, &found).await?,
    };
    let main_tree = main_tree(&found, &facts);
    let name = name_of(main_tree.as_deref(), &found.common_dir);
    Ok(Repository {
        common_dir: found.common_dir,
        main_tree,
        name,
        oid_len: facts.oid_len,
        libgit2: facts.libgit2,
    })
}

/// Finds the git directory by looking at files only. Blocks.
///
/// # Errors
/// `NotARepository` with what was found instead.
pub fn locate(from: &Path) -> Result<Found, WorktreeError> {
    let not =
        |reason: &str| WorktreeError::NotARepository { from: from.to_path_buf(), reason: reason.to_owned() };
    let start = fs::canonicalize(from).map_err(|error| not(&error.to_string()))?;
    let inside_bare = start.ancestors().find(|folder| is_git_dir(folder));
    let mut nearest = None;
    for folder in start.ancestors() {
        if inside_bare == Some(folder) {
            nearest = Some(Found {
                git_dir: folder.to_path_buf(),
                common_dir: common_dir_of(folder).ok_or_else(|| not("its commondir leads nowhere"))?,
                checkout: None,
            });
            break;
        }
        let dot_git = folder.join(".git");
        if let Some(git_dir) = git_dir_at(&dot_git) {
            let common_dir = common_dir_of(&git_dir).ok_or_else(|| not("its commondir leads nowhere"))?;
            return Ok(Found { git_dir, common_dir, checkout: Some(folder.to_path_buf()) });
        }
        if fs::symlink_metadata(&dot_git).is_ok_and(|meta| meta.is_file()) {
            return Err(not(&format!("{} leads nowhere", super::error::quoted_path(&dot_git))));
        }
    }
    let Some(bare) = nearest else { return Err(not("no .git in it or in a folder above it")) };
    if bare.git_dir.file_name() != Some(".git".as_ref()) && is_tracked_content(&bare) {
        return Err(not(
            "it is a bare repository inside the checkout of another one, which could be planted there",
        ));
    }
    Ok(bare)
}

/// True when a bare repository lies inside a checkout of some other repository.
fn is_tracked_content(bare: &Found) -> bool {
    let above = bare.common_dir.ancestors().skip(1);
    let outer =
        above.filter_map(|folder| git_dir_at(&folder.join(".git"))).find_map(|dir| common_dir_of(&dir));
    // `project/.bare` beside a `project/.git` that leads to it is a usual arrangement, and a submodule's
    // repository lies inside its superproject's `.git`.
    outer.is_some_and(|outer| outer != bare.common_dir && !bare.common_dir.starts_with(&outer))
}

fn is_git_dir(folder: &Path) -> bool {
    let head =
        fs::symlink_metadata(folder.join("HEAD")).is_ok_and(|meta| meta.is_file() || meta.is_symlink());
    head && (folder.join("commondir").is_file()
        || (folder.join("objects").is_dir()
            && (folder.join("refs").exists() || folder.join("reftable").is_dir())))
}

/// The git directory that a `.git` is or leads to.
fn git_dir_at(dot_git: &Path) -> Option<PathBuf> {
    let meta = fs::metadata(dot_git).ok()?;
    if meta.is_dir() {
        return is_git_dir(dot_git).then(|| fs::canonicalize(dot_git).ok()).flatten();
    }
    let target = gitfile_target(dot_git)?;
    let target = dot_git.parent()?.join(target);
    is_git_dir(&target).then(|| fs::canonicalize(&target).ok()).flatten()
}

/// The path that a `.git` file of a worktree names, as it stands there.
pub fn gitfile_target(dot_git: &Path) -> Option<PathBuf> {
    let bytes = read_small(dot_git)?;
    let path = bytes.strip_prefix(b"gitdir: ")?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(trim_newlines(path))))
}

/// The canonical common directory of a git directory.
fn common_dir_of(git_dir: &Path) -> Option<PathBuf> {
    let Some(bytes) = read_small(&git_dir.join("commondir")) else { return fs::canonicalize(git_dir).ok() };
    let named = git_dir.join(std::ffi::OsStr::from_bytes(trim_newlines(&bytes)));
    fs::canonicalize(named).ok()
}

/// What a small file says; none when it is not a file, or larger than such files are.
pub(super) fn read_small(path: &Path) -> Option<Vec<u8>> {
    let meta = fs::metadata(path).ok()?;
    if !meta.is_file() || meta.len() > MAX_GITFILE_BYTES {
        return None;
    }
    fs::read(path).ok()
}

/// Only the newlines at the end, as git does it: a path may end in a blank.
pub(super) fn trim_newlines(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., b'\n' | b'\r'] = bytes {
        bytes = rest;
    }
    bytes
}

/// What the repository's configuration says.
struct Facts {
    bare: bool,
    work_tree: Option<PathBuf>,
    oid_len: usize,
    libgit2: bool,
}

fn read_with_libgit2(found: &Found) -> Option<Facts> {
    let flags = git2::RepositoryOpenFlags::NO_SEARCH | git2::RepositoryOpenFlags::NO_DOTGIT;
    let none: [&Path; 0] = [];
    let repo = git2::Repository::open_ext(&found.common_dir, flags, none).ok()?;
    let work_tree = repo.workdir().map(Path::to_path_buf);
    Some(Facts { bare: repo.is_bare(), work_tree, oid_len: 40, libgit2: true })
}

/// Why libgit2 cannot open a repository; none when it can. Blocks.
pub fn libgit2_refuses(common_dir: &Path) -> Option<String> {
    let flags = git2::RepositoryOpenFlags::NO_SEARCH | git2::RepositoryOpenFlags::NO_DOTGIT;
    let none: [&Path; 0] = [];
    let opened = git2::Repository::open_ext(common_dir, flags, none);
    opened.err().map(|error| error.message().to_owned())
}

async fn read_with_git(git: &Git, found: &Found) -> Result<Facts, WorktreeError> {
    let args = ["rev-parse", "--is-bare-repository", "--show-object-format"];
    let place = Place::git_dir(&found.common_dir);
    let command = git.command(Mode::Look, &place, args);
    let output = git.run(command, git.timeout()).await?;
    if !output.ok() {
        let reason = format!("git cannot read it: {}", super::error::tail(&output.stderr));
        return Err(WorktreeError::NotARepository { from: found.common_dir.clone(), reason });
    }
    let text = output.text();
    let mut lines = text.lines();
    let bare = lines.next() == Some("true");
    let oid_len = if lines.next() == Some("sha256") { 64 } else { 40 };
    let args = ["config", "--includes", "-z", "--get", "core.worktree"];
    let named = git.run(git.command(Mode::Look, &place, args), git.timeout()).await?;
    let work_tree = named.ok().then(|| {
        let path = named.stdout.strip_suffix(b"\0").unwrap_or(&named.stdout);
        found.common_dir.join(std::ffi::OsStr::from_bytes(path))
    });
    Ok(Facts { bare, work_tree, oid_len, libgit2: false })
}

/// The main checkout: only a folder whose `.git` leads back to the repository.
fn main_tree(found: &Found, facts: &Facts) -> Option<PathBuf> {
    if facts.bare {
        return None;
    }
    let beside = (found.common_dir.file_name() == Some(".git".as_ref()))
        .then(|| found.common_dir.parent().map(Path::to_path_buf))
        .flatten();
    let here = (found.git_dir == found.common_dir).then(|| found.checkout.clone()).flatten();
    let candidates = [facts.work_tree.clone(), beside, here];
    candidates
        .into_iter()
        .flatten()
        .filter_map(|tree| fs::canonicalize(tree).ok())
        .find(|tree| git_dir_at(&tree.join(".git")).is_some_and(|git_dir| git_dir == found.common_dir))
}

/// What people call the repository.
fn name_of(main_tree: Option<&Path>, common_dir: &Path) -> String {
    let named = match main_tree {
        Some(tree) => tree.file_name(),
        // `project/.bare` and `project/.git` are called by the folder that they are in.
        None => match common_dir.file_name() {
            Some(name) if name.as_bytes().starts_with(b".") => common_dir.parent().and_then(Path::file_name),
            other => other,
        },
    };
    let name = named.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = name.strip_suffix(".git").unwrap_or(&name);
    if name.is_empty() { "repository".to_owned() } else { name.to_owned() }
}

/// Our git calls name the git directory, which switches git's own check of its owner off: so it is here.
async fn check_owner(git: &Git, found: &Found) -> Result<(), WorktreeError> {
    let places = [Some(&found.common_dir), Some(&found.git_dir), found.checkout.as_ref()];
    let mut foreign = None;
    for path in places.into_iter().flatten() {
        let meta = fs::metadata(path).map_err(|error| WorktreeError::file("look at", path, error))?;
        if !is_own(meta.uid()) {
            foreign = Some((path, meta.uid()));
        }
    }
    let Some((path, owner)) = foreign else { return Ok(()) };
    let args = ["config", "--includes", "--type=path", "-z", "--get-all", "safe.directory"];
    let output = git.run(git.command(Mode::Look, &Place::nowhere(), args), git.timeout()).await?;
    let trusted = trusted_folders(&output.stdout);
    let trusts = |place: &Path| {
        let place = place.as_os_str().as_bytes();
        trusted.iter().any(|folder| match folder.strip_suffix(b"*") {
            Some(prefix) => prefix.is_empty() || (prefix.ends_with(b"/") && place.starts_with(prefix)),
            None => *folder == place,
        })
    };
    if trusts(&found.common_dir) || found.checkout.as_deref().is_some_and(trusts) {
        return Ok(());
    }
    Err(WorktreeError::ForeignRepository { path: path.clone(), owner })
}

/// The values of `safe.directory` that count: an empty one forgets those before it.
fn trusted_folders(values: &[u8]) -> Vec<&[u8]> {
    let mut all: Vec<&[u8]> = values.split(|b| *b == 0).collect();
    let _after_last_nul = all.pop();
    match all.iter().rposition(|value| value.is_empty()) {
        Some(at) => all.split_off(at + 1),
        None => all,
    }
}

/// True for our own files, and for those of the user who called us through `sudo`, as git does it.
fn is_own(uid: u32) -> bool {
    let own = rustix::process::geteuid();
    own.as_raw() == uid
        || (own.is_root() && std::env::var("SUDO_UID").is_ok_and(|text| text.parse() == Ok(uid)))
}

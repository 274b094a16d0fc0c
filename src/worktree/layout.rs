//! Chooses the folder that all trees of a workspace lie in.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use super::error::WorktreeError;
use super::model::Repository;
use super::reserve::{self, RESERVE};

/// Folders of a root that are not lanes; a lane's name cannot begin with a dot, so none collides.
pub const RESERVED: [&str; 5] = [".template", ".pool", ".overlay", ".trash", ".vault"];
/// Those of them that are nothing while they are empty.
const STOCK: [&str; 3] = [".template", ".pool", ".overlay"];
/// Says whose root it is: the common directory of its repository.
const MARKER: &str = ".workspace";
/// Where the trees of a second workspace go when two share one configured root.
const SHARED: &str = ".workspaces";

/// The folder of all trees of a workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// The folder, canonical.
    pub path: PathBuf,
    /// How it was chosen.
    pub choice: Choice,
}

/// How a root was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// `<parent>/<repo>.lanes`.
    Sibling,
    /// The data folder: beside the repository was not possible.
    DataFolder,
    /// As configured, outside the repository.
    Configured,
    /// As configured, inside the main checkout, and kept out of its status.
    Inside,
}

/// What the choice depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surroundings<'a> {
    /// The main checkout, or the bare repository.
    pub home: &'a Path,
    /// What people call the repository.
    pub name: &'a str,
    /// True when we can make a folder beside it.
    pub parent_writable: bool,
    /// True when the folder above lies in a repository itself.
    pub parent_in_repository: bool,
}

/// Where the root would be, decided without looking.
pub fn decide(around: Surroundings<'_>, common_dir: &Path, data_dir: &Path) -> (PathBuf, Choice) {
    match around.home.parent() {
        Some(parent) if around.parent_writable && !around.parent_in_repository => {
            (parent.join(format!("{}.lanes", around.name)), Choice::Sibling)
        }
        Some(_) | None => (data_dir.join(distinct(around.name, common_dir)), Choice::DataFolder),
    }
}

/// Chooses the root and makes it. Blocks for some file operations.
///
/// # Errors
/// `Root` when the folder is a link, somebody else's, writable by others or in the git directory; `File`.
pub fn choose(repo: &Repository, configured: Option<&Path>, data_dir: &Path) -> Result<Root, WorktreeError> {
    let Root { path, choice } = find(repo, configured, data_dir)?;
    let root = make(repo, &path, choice)?;
    if let (Choice::Inside, Some(main)) = (choice, repo.main_tree.as_deref())
        && let Ok(rest) = path.strip_prefix(main)
    {
        exclude(&repo.common_dir, rest, Kind::Folder)?;
    }
    Ok(root)
}

/// Chooses the root and makes nothing: it may not be there. Blocks for some file operations.
///
/// # Errors
/// `Root` when the folder as configured cannot be one.
pub fn find(repo: &Repository, configured: Option<&Path>, data_dir: &Path) -> Result<Root, WorktreeError> {
    if let Some(configured) = configured {
        return find_configured(repo, configured);
    }
    let home = home_of(repo);
    let parent = home.parent().unwrap_or(Path::new("/"));
    let around = Surroundings {
        home: &home,
        name: &repo.name,
        parent_writable: is_writable(parent),
        parent_in_repository: is_in_repository(parent),
    };
    let (path, choice) = decide(around, &repo.common_dir, data_dir);
    let path = match belongs_to_another(&path, &repo.common_dir) {
        true => path.with_file_name(format!("{}.lanes", distinct(&repo.name, &repo.common_dir))),
        false => path,
    };
    Ok(Root { path, choice })
}

fn find_configured(repo: &Repository, configured: &Path) -> Result<Root, WorktreeError> {
    let refuse =
        |root: &Path, reason: &str| WorktreeError::Root { root: root.into(), reason: reason.to_owned() };
    let home = home_of(repo);
    let path = without_dots(&home.join(configured));
    // The folders above may be links of the user; the path below the checkout is the repository's content.
    let inside =
        repo.main_tree.as_deref().and_then(|main| path.strip_prefix(main).ok().map(|rest| (main, rest)));
    if let Some((main, rest)) = inside {
        if rest.as_os_str().is_empty() {
            return Err(refuse(&path, "it is the main checkout itself"));
        }
        let mut at = main.to_path_buf();
        for part in rest.components() {
            at.push(part);
            if at.is_symlink() {
                return Err(refuse(&path, "it leads through a symbolic link"));
            }
        }
    }
    if path.starts_with(&repo.common_dir) {
        return Err(refuse(&path, "it is inside the git directory"));
    }
    if repo.main_tree.as_deref().is_some_and(|main| main.starts_with(&path)) {
        return Err(refuse(&path, "the main checkout is inside it"));
    }
    if inside.is_some() {
        return Ok(Root { path, choice: Choice::Inside });
    }
    let path = match belongs_to_another(&path, &repo.common_dir) {
        true => path.join(SHARED).join(distinct(&repo.name, &repo.common_dir)),
        false => path,
    };
    Ok(Root { path, choice: Choice::Configured })
}

/// Makes the root again when [`release`] took it away since it was chosen, or only its marker: git makes the
/// folders above a tree.
pub(super) fn make_again(repo: &Repository, root: &Path) -> Result<(), WorktreeError> {
    match fs::symlink_metadata(root.join(MARKER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(repo, root, Choice::Configured).map(drop)
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// True when a folder is marked as the root of the repository with this common directory.
pub fn is_root_of(root: &Path, common_dir: &Path) -> bool {
    fs::read(root.join(MARKER)).is_ok_and(|owner| owner == common_dir.as_os_str().as_bytes())
}

/// Marks a root as that of a repository that was moved: it is marked as that of `from`, which is not there.
///
/// # Errors
/// `File`.
pub fn hand_over(root: &Path, from: &Path, to: &Path) -> Result<(), WorktreeError> {
    if is_root_of(root, from) && !from.exists() {
        write_private(&root.join(MARKER), to.as_os_str().as_bytes())?;
    }
    Ok(())
}

/// True when the root of a repository is there, with nothing but our own files and empty folders in it.
pub(super) fn is_empty(root: &Path) -> bool {
    let is_nothing = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let is_one_of = |names: &[&str]| names.iter().any(|own| name == *own);
        let holds_nothing = || fs::read_dir(entry.path()).is_ok_and(|mut inner| inner.next().is_none());
        is_one_of(&[MARKER, RESERVE]) || (is_one_of(&STOCK) && holds_nothing())
    };
    fs::read_dir(root).is_ok_and(|entries| entries.flatten().all(is_nothing))
}

/// True when nothing but empty folders of spares is in the root of a repository.
pub(super) fn is_emptied(root: &Path) -> bool {
    is_empty(root) && STOCK.iter().any(|folder| root.join(folder).is_dir())
}

/// Takes the root of a repository away when nothing but our marker is in it. It is made again when needed.
pub(super) fn release(repo: &Repository, root: &Path) {
    let marker = root.join(MARKER);
    crate::files::sweep(&marker);
    if !is_root_of(root, &repo.common_dir) || !is_empty(root) || fs::remove_file(&marker).is_err() {
        return;
    }
    let _was_there = reserve::release(root);
    for folder in STOCK {
        let _absent_or_just_filled = fs::remove_dir(root.join(folder));
    }
    if fs::remove_dir(root).is_err() {
        // Somebody made something in it in this moment, or the folder above is not ours to write to.
        let _marked_by_the_next_choice = write_private(&marker, repo.common_dir.as_os_str().as_bytes());
    }
}

/// So often a root is made again that somebody else has released in the middle of it.
const TRIES: u32 = 16;

fn make(repo: &Repository, path: &Path, choice: Choice) -> Result<Root, WorktreeError> {
    let released = |error: &WorktreeError| matches!(error, WorktreeError::File { source, .. } if source.kind() == io::ErrorKind::NotFound);
    for _try in 1..TRIES {
        match make_once(repo, path, choice) {
            Err(error) if released(&error) => {}
            made => return made,
        }
    }
    make_once(repo, path, choice)
}

fn make_once(repo: &Repository, path: &Path, choice: Choice) -> Result<Root, WorktreeError> {
    let made = match fs::symlink_metadata(path) {
        Ok(_there) => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|error| WorktreeError::file("make the folder", path, error))?;
            true
        }
        Err(error) => return Err(WorktreeError::file("look at", path, error)),
    };
    check_private(path)?;
    if made {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|error| WorktreeError::file("set the permissions of", path, error))?;
    }
    let marker = path.join(MARKER);
    if fs::read(&marker).ok().as_deref() != Some(repo.common_dir.as_os_str().as_bytes()) {
        write_private(&marker, repo.common_dir.as_os_str().as_bytes())?;
    }
    let path = fs::canonicalize(path).map_err(|error| WorktreeError::file("resolve", path, error))?;
    Ok(Root { path, choice })
}

/// Refuses a folder that is a link, not ours, or writable by others.
///
/// # Errors
/// `Root` with the reason.
pub fn check_private(path: &Path) -> Result<(), WorktreeError> {
    let meta = fs::symlink_metadata(path).map_err(|error| WorktreeError::file("look at", path, error))?;
    let own = rustix::process::geteuid().as_raw();
    let reason = match () {
        () if meta.is_symlink() => "it is a symbolic link".to_owned(),
        () if !meta.is_dir() => "it is not a folder".to_owned(),
        () if meta.uid() != own => format!("it belongs to another user (uid {})", meta.uid()),
        () if meta.mode() & 0o022 != 0 => "others can write to it".to_owned(),
        () => return Ok(()),
    };
    Err(WorktreeError::Root { root: path.into(), reason })
}

/// Writes a file that only its owner can read, by exchange.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), WorktreeError> {
    crate::files::replace(path, bytes).map_err(|error| WorktreeError::file("write", path, error))
}

/// The main checkout, or the bare repository, or the folder that a hidden bare repository is in.
fn home_of(repo: &Repository) -> PathBuf {
    if let Some(main) = &repo.main_tree {
        return main.clone();
    }
    let hidden = repo.common_dir.file_name().is_some_and(|name| name.as_bytes().starts_with(b"."));
    match repo.common_dir.parent() {
        Some(parent) if hidden => parent.to_path_buf(),
        Some(_) | None => repo.common_dir.clone(),
    }
}

fn distinct(name: &str, common_dir: &Path) -> String {
    let digest = Sha256::digest(common_dir.as_os_str().as_bytes());
    let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("{name}-{hex}")
}

/// True when the marker of a root names another repository that still is there.
fn belongs_to_another(root: &Path, common_dir: &Path) -> bool {
    let Ok(bytes) = fs::read(root.join(MARKER)) else { return false };
    let owner = Path::new(std::ffi::OsStr::from_bytes(&bytes));
    owner != common_dir && owner.join("HEAD").exists()
}

fn is_writable(folder: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD};
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    rustix::fs::accessat(CWD, folder, wanted, AtFlags::EACCESS).is_ok()
}

fn is_in_repository(folder: &Path) -> bool {
    folder.ancestors().any(|folder| folder.join(".git").symlink_metadata().is_ok())
}

fn without_dots(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                let _at_the_top = out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// What an entry of `info/exclude` is to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Folders only.
    Folder,
    /// Anything, links to folders included.
    Any,
}

/// The line of `info/exclude` that matches just this path.
pub fn exclude_line(path: &Path, kind: Kind) -> Option<Vec<u8>> {
    let mut line = b"/".to_vec();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'\n' | b'\r' => return None,
            b'\\' | b'*' | b'?' | b'[' | b']' | b'!' | b'#' | b' ' => line.extend([b'\\', *byte]),
            other => line.push(*other),
        }
    }
    if kind == Kind::Folder {
        line.push(b'/');
    }
    Some(line)
}

/// Keeps a path out of every checkout's status, once.
///
/// # Errors
/// `Root` when the path cannot be written as a pattern, `File`.
pub fn exclude(common_dir: &Path, path: &Path, kind: Kind) -> Result<(), WorktreeError> {
    use std::io::Write;
    let Some(line) = exclude_line(path, kind) else {
        return Err(WorktreeError::Root { root: path.into(), reason: "its name has a newline".to_owned() });
    };
    let info = common_dir.join("info");
    let file = info.join("exclude");
    let before = match fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(WorktreeError::file("read", file, error)),
    };
    if before.split(|byte| *byte == b'\n').any(|known| known == line) {
        return Ok(());
    }
    let mut text = if before.is_empty() || before.ends_with(b"\n") { Vec::new() } else { b"\n".to_vec() };
    text.extend(line);
    text.push(b'\n');
    let write = || -> io::Result<()> {
        fs::create_dir_all(&info)?;
        fs::OpenOptions::new().append(true).create(true).open(&file)?.write_all(&text)
    };
    write().map_err(|error| WorktreeError::file("write", &file, error))
}

//! Places files that git does not track into a tree: copies, links, `.worktreeinclude`.
//!
//! Both sides are resolved beneath their root and through no symbolic link; nothing that is there, and
//! nothing that git tracks on either side, is written over.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{CWD, Mode as Bits, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::blocking::blocking;
use super::error::{WorktreeError, quoted, quoted_path};
use super::git::{Git, Mode, Place};
use super::layout::{Kind, exclude};
use super::lock::WorkspaceLock;
use super::model::{Order, Repository};
use super::provision::LOCK_PATIENCE;

/// The file of the main checkout that says what to copy, in the words of `.gitignore`.
const INCLUDE_FILE: &str = ".worktreeinclude";
/// A file of patterns is short; what is larger is not one.
const MAX_INCLUDE_BYTES: u64 = 1 << 20;
/// Files that are copied; more is a mistake in a pattern and would fill the disk fifty times.
const MAX_FILES: usize = 500_000;
/// Names in one note.
const NAMES_IN_NOTE: usize = 5;

/// Refuses copy and link entries that leave the tree, before anything is made.
///
/// # Errors
/// `Place` (`CONFIG_INVALID`) with the entry.
pub fn check_patterns(order: &Order) -> Result<(), WorktreeError> {
    let copies = order.copy.iter().map(|pattern| ("copy", pattern));
    let links = order.link.iter().map(|path| ("link", path));
    for (attempt, pattern) in copies.chain(links) {
        if let Some(reason) = pattern_rule(pattern) {
            return Err(WorktreeError::Place {
                attempt,
                pattern: pattern.clone(),
                reason: reason.to_owned(),
            });
        }
    }
    Ok(())
}

fn pattern_rule(pattern: &str) -> Option<&'static str> {
    let path = Path::new(pattern);
    match () {
        () if pattern.is_empty() => Some("it is empty"),
        () if path.is_absolute() => Some("it must be relative to the main checkout"),
        () if path.components().any(|part| part == Component::ParentDir) => {
            Some("it leaves the main checkout")
        }
        () if path.components().next() == Some(Component::Normal(".git".as_ref())) => Some("it is in .git"),
        () if pattern.chars().any(char::is_control) => Some("it has a control character in it"),
        () => None,
    }
}

/// Copies and links what the order and the `.worktreeinclude` of the main checkout ask for; says what was
/// not done, for people.
///
/// # Errors
/// `Place` for a link entry that is a symbolic link or tracked, `File`, those of git.
pub async fn place(
    git: &Git,
    repo: &Repository,
    order: &Order,
    admin_dir: &Path,
) -> Result<Vec<String>, WorktreeError> {
    let Some(main) = repo.main_tree.clone() else { return Ok(Vec::new()) };
    let include = read_include(&main)?;
    if order.copy.is_empty() && order.link.is_empty() && include.is_none() {
        return Ok(Vec::new());
    }
    let mut tracked = tracked_files(git, &Place::tree(&repo.common_dir, &main)).await?;
    tracked.extend(tracked_files(git, &Place::tree(admin_dir, order.path.as_path())).await?);
    let (repo_, order_) = (repo.clone(), order.clone());
    let place = move || {
        let sides = Sides::open(&main, order_.path.as_path(), &repo_, &order_, tracked)?;
        let mut notes = sides.copy(&order_.copy, include.as_deref())?;
        let linked = sides.link(&order_.link, &mut notes)?;
        Ok((notes, linked))
    };
    let (notes, linked) = blocking("copying files", place).await?;
    if !linked.is_empty() {
        let holder = format!("links of {}", order.name);
        let _held = WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, &holder).await?;
        for path in linked {
            exclude(&repo.common_dir, &path, Kind::Any)?;
        }
    }
    Ok(notes)
}

fn read_include(main: &Path) -> Result<Option<String>, WorktreeError> {
    let path = main.join(INCLUDE_FILE);
    let Ok(meta) = fs::symlink_metadata(&path) else { return Ok(None) };
    if !meta.is_file() || meta.len() > MAX_INCLUDE_BYTES {
        return Ok(None);
    }
    let bytes = fs::read(&path).map_err(|error| WorktreeError::file("read", path, error))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

async fn tracked_files(git: &Git, place: &Place) -> Result<BTreeSet<PathBuf>, WorktreeError> {
    let output = git.ask(Mode::Look, place, ["ls-files", "-z", "--full-name"]).await?;
    let paths = output.stdout.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Ok(paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect())
}

/// The main checkout, the tree, and what may not be touched.
struct Sides<'a> {
    main: &'a Path,
    main_fd: OwnedFd,
    tree_fd: OwnedFd,
    /// Folders of the main checkout that are not its content: the roots of trees.
    skipped: Vec<PathBuf>,
    tracked: BTreeSet<PathBuf>,
}

impl<'a> Sides<'a> {
    fn open(
        main: &'a Path,
        tree: &Path,
        repo: &Repository,
        order: &Order,
        tracked: BTreeSet<PathBuf>,
    ) -> Result<Self, WorktreeError> {
        let open = |path: &Path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(CWD, path, flags, Bits::empty());
            opened.map_err(|error| WorktreeError::file("open", path, error))
        };
        let skipped = vec![order.root.to_path_buf(), repo.common_dir.clone()];
        Ok(Self { main, main_fd: open(main)?, tree_fd: open(tree)?, skipped, tracked })
    }

    fn copy(&self, patterns: &[String], include: Option<&str>) -> Result<Vec<String>, WorktreeError> {
        let mut notes = Vec::new();
        if patterns.is_empty() && include.is_none() {
            return Ok(notes);
        }
        let matchers = self.matchers(patterns, include, &mut notes)?;
        let mut used = vec![false; matchers.len()];
        let mut left_out = Vec::new();
        for path in self.wanted(&matchers, &mut used, &mut notes) {
            match self.copy_one(&path) {
                Ok(()) => {}
                Err(Errno::EXIST) => {}
                Err(Errno::LOOP | Errno::XDEV | Errno::NOTDIR) => left_out.push(path),
                Err(error) => return Err(WorktreeError::file("copy", self.main.join(path), error)),
            }
        }
        for (pattern, _unused) in patterns.iter().zip(&used).filter(|(_pattern, used)| !**used) {
            notes.push(format!("copy {} matched no file that git does not track", quoted(pattern)));
        }
        if !left_out.is_empty() {
            let names: Vec<_> = left_out.iter().take(NAMES_IN_NOTE).map(|path| quoted_path(path)).collect();
            let (count, names) = (left_out.len(), names.join(", "));
            notes.push(format!("{count} files were not copied, a symbolic link is on their way: {names}"));
        }
        Ok(notes)
    }

    /// One matcher for each pattern, and one for the file of patterns.
    fn matchers(
        &self,
        patterns: &[String],
        include: Option<&str>,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Gitignore>, WorktreeError> {
        let bad = |pattern: &str, error: &ignore::Error| WorktreeError::Place {
            attempt: "copy",
            pattern: pattern.to_owned(),
            reason: format!("it is no pattern: {error}"),
        };
        let mut matchers = Vec::new();
        for pattern in patterns {
            let mut builder = GitignoreBuilder::new(self.main);
            let _self = builder.add_line(None, pattern).map_err(|error| bad(pattern, &error))?;
            matchers.push(builder.build().map_err(|error| bad(pattern, &error))?);
        }
        if let Some(include) = include {
            let mut builder = GitignoreBuilder::new(self.main);
            for line in include.lines() {
                if let Err(error) = builder.add_line(None, line) {
                    notes.push(format!("{INCLUDE_FILE}: {} is no pattern: {error}", quoted(line)));
                }
            }
            matchers.push(builder.build().map_err(|error| bad(INCLUDE_FILE, &error))?);
        }
        Ok(matchers)
    }

    /// The files of the main checkout that a matcher wants and git does not track.
    fn wanted(&self, matchers: &[Gitignore], used: &mut [bool], notes: &mut Vec<String>) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(self.main.join(&folder)) else { continue };
            let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let path = folder.join(entry.file_name());
                let Ok(kind) = entry.file_type() else { continue };
                if entry.file_name() == ".git" || self.skipped.contains(&entry.path()) {
                    continue;
                }
                if kind.is_dir() {
                    // A repository of its own is not a file of this one.
                    if entry.path().join(".git").symlink_metadata().is_err() {
                        folders.push(path);
                    }
                    continue;
                }
                if !(kind.is_file() || kind.is_symlink()) || self.tracked.contains(&path) {
                    continue;
                }
                let mut wanted = false;
                for (matcher, used) in matchers.iter().zip(used.iter_mut()) {
                    if matcher.matched_path_or_any_parents(&path, false).is_ignore() {
                        (wanted, *used) = (true, true);
                    }
                }
                if wanted && found.len() == MAX_FILES {
                    notes.push(format!("only the first {MAX_FILES} files were copied"));
                    return found;
                }
                if wanted {
                    found.push(path);
                }
            }
        }
        found
    }

    /// Copies one file, or makes the same symbolic link, unless something is there.
    fn copy_one(&self, path: &Path) -> Result<(), Errno> {
        let (above, name) = (path.parent().unwrap_or(Path::new("")), path.file_name().ok_or(Errno::INVAL)?);
        let source_folder = beneath(&self.main_fd, above, OFlags::PATH | OFlags::DIRECTORY)?;
        let stat = rustix::fs::statat(&source_folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        let target_folder = self.make_folders(above)?;
        if kind == rustix::fs::FileType::Symlink {
            let target = rustix::fs::readlinkat(&source_folder, name, Vec::new())?;
            return rustix::fs::symlinkat(target, &target_folder, name);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = File::from(rustix::fs::openat(&source_folder, name, flags, Bits::empty())?);
        if !source.metadata().map_err(errno)?.is_file() {
            return Err(Errno::LOOP);
        }
        let bits = Bits::from_raw_mode(stat.st_mode & 0o777);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = File::from(rustix::fs::openat(&target_folder, name, flags, bits)?);
        let _bytes = io::copy(&mut &source, &mut &target).map_err(errno)?;
        let times =
            fs::FileTimes::new().set_modified(source.metadata().and_then(|m| m.modified()).map_err(errno)?);
        target.set_times(times).map_err(errno)
    }

    /// Opens a folder of the tree, making those that are missing.
    fn make_folders(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let mut at = beneath(&self.tree_fd, Path::new(""), OFlags::PATH | OFlags::DIRECTORY)?;
        for part in path.components() {
            let Component::Normal(name) = part else { return Err(Errno::INVAL) };
            match rustix::fs::mkdirat(&at, name, Bits::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            at = beneath(&at, Path::new(name), OFlags::PATH | OFlags::DIRECTORY)?;
        }
        Ok(at)
    }

    /// Links paths to the main checkout; gives back those to be kept out of the status.
    fn link(&self, paths: &[String], notes: &mut Vec<String>) -> Result<Vec<PathBuf>, WorktreeError> {
        let mut linked = Vec::new();
        for text in paths {
            let no = |reason: &str| {
                Err(WorktreeError::Place {
                    attempt: "link",
                    pattern: text.clone(),
                    reason: reason.to_owned(),
                })
            };
            let path: PathBuf =
                Path::new(text).components().filter(|part| *part != Component::CurDir).collect();
            if path.as_os_str().is_empty() {
                return no("it is the main checkout itself");
            }
            if self.tracked.iter().any(|tracked| tracked.starts_with(&path)) {
                return no("git tracks it, or files in it");
            }
            match beneath(&self.main_fd, &path, OFlags::PATH) {
                Ok(_there) => {}
                Err(Errno::NOENT | Errno::NOTDIR) => {
                    notes.push(format!("link {} is not in the main checkout", quoted(text)));
                    continue;
                }
                Err(Errno::LOOP | Errno::XDEV) => return no("a symbolic link is on its way"),
                Err(error) => return Err(WorktreeError::file("open", self.main.join(path), error)),
            }
            match self.link_one(&path) {
                Ok(()) => linked.push(path),
                Err(Errno::EXIST) => notes.push(format!("link {}: something is there already", quoted(text))),
                Err(Errno::LOOP | Errno::XDEV | Errno::NOTDIR) => return no("a symbolic link is on its way"),
                Err(error) => return Err(WorktreeError::file("link", self.main.join(path), error)),
            }
        }
        Ok(linked)
    }

    fn link_one(&self, path: &Path) -> Result<(), Errno> {
        let folder = self.make_folders(path.parent().unwrap_or(Path::new("")))?;
        let name = path.file_name().ok_or(Errno::INVAL)?;
        rustix::fs::symlinkat(self.main.join(path), folder, name)
    }
}

/// Opens a path beneath a folder, through no symbolic link.
fn beneath(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&root, path, flags, Bits::empty(), resolve) {
        Err(Errno::NOSYS | Errno::PERM) => step_by_step(root, path, flags),
        // A link at the very end can be opened as such.
        Ok(fd) if is_symlink(&fd) => Err(Errno::LOOP),
        other => other,
    }
}

/// The same where the kernel or a sandbox does not have `openat2`.
fn step_by_step(root: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(&root, ".", folder, Bits::empty())?;
    let mut parts = path.components().filter(|part| *part != Component::CurDir).peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(Errno::XDEV) };
        let how = if parts.peek().is_some() { folder } else { flags };
        at = rustix::fs::openat(&at, name, how, Bits::empty())?;
        if is_symlink(&at) {
            return Err(Errno::LOOP);
        }
    }
    Ok(at)
}

fn is_symlink(fd: &OwnedFd) -> bool {
    rustix::fs::fstat(fd)
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Symlink)
}

fn errno(error: io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

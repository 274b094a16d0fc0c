//! Makes a tree as a transaction: whole, or nothing of it.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::{Duration, Instant};

use super::branch_take::branch_exists;
use super::discover::gitfile_target;
use super::error::WorktreeError;
use super::git::{Git, GitCommand, GitOutput, Mode, Place, is_transient};
use super::hooks::{Hooks, hook_failed};
use super::model::{Order, Repository, Tree};
use super::settings::Settings;
use super::spare::Kept;
use super::{claim, copy, files, layout, left_lock, lock, overlay_make, reserve, size, token, undo};
use crate::fault;

/// How often a step is tried that failed because another git held one of its lock files for a moment.
const ATTEMPTS: u32 = 8;
/// The first pause between such attempts; it doubles, and is spread so that fifty do not meet again.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// How long the workspace lock is waited for.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(20);
/// Marks every process that provisioning starts, so that `undo` finds those that a crash left behind.
pub(super) const MARK: &str = "LANES_PROVISIONING";

/// A future on the heap.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Runs the calls that run a repository's own commands (filters, hooks).
pub trait Runner: Send + Sync {
    /// Runs one call; it and all that it started are ended when `timeout` is over or the future is dropped.
    fn run(&self, command: GitCommand, timeout: Duration) -> BoxFuture<'_, Result<GitOutput, WorktreeError>>;
}

/// Runs calls as children of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direct;

impl Runner for Direct {
    fn run(&self, command: GitCommand, timeout: Duration) -> BoxFuture<'_, Result<GitOutput, WorktreeError>> {
        Box::pin(super::git::run(command, timeout))
    }
}

/// What must stay free on the disk; 0 asks for nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floors {
    /// Bytes.
    pub bytes: u64,
    /// Inodes.
    pub inodes: u64,
}

/// What a file takes at least on most file systems.
const BLOCK_BYTES: u64 = 4_096;

/// The way to a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// git checks it out.
    Git,
    /// It is copied from this template.
    Copy(Kept),
    /// This pooled tree is handed over.
    Pool(Kept),
    /// A file system over this template.
    Overlay(Kept),
}

impl Way {
    /// What it is called in records and events.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Git => "git",
            Self::Copy(_) => "copy",
            Self::Pool(_) => "pool",
            Self::Overlay(_) => "overlay",
        }
    }
}

/// How far provisioning is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// git makes the tree.
    AddTree,
    /// Submodules are fetched.
    Submodules,
    /// Files that git does not track are placed.
    Files,
    /// A failure is undone.
    Undo,
}

/// Makes the tree of an order. Any failure leaves nothing behind; when the future is dropped, [`undo::undo`]
/// does that. Where what it is to be made from cannot be used, git makes it, and the tree's notes say so; only
/// an overlay is what somebody asked for, and fails then.
///
/// # Errors
/// `DISK_LOW`, `BRANCH_EXISTS`, `GIT_FAILED` (a failing hook included), `GIT_TIMEOUT`, `CONFIG_INVALID` for
/// copy and link entries that leave the tree, `IO`.
#[expect(clippy::too_many_arguments, reason = "each is another part of the world, and there is one caller")]
pub async fn provision(
    git: &Git,
    repo: &Repository,
    order: &Order,
    floors: Floors,
    way: Way,
    settings: &Settings,
    runner: &dyn Runner,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<Tree, WorktreeError> {
    let root = order.root.as_path();
    layout::make_again(repo, root)?;
    if let Err(error) = check_free(root, floors) {
        if root.exists() {
            return Err(error);
        }
        // Whoever failed beside us has released the root in this moment.
        layout::make_again(repo, root)?;
        check_free(root, floors)?;
    }
    // An undo needs some itself: deleting a branch begins with making a lock file.
    has_free(&repo.common_dir, Floors { bytes: ADMIN_BYTES, inodes: ADMIN_FILES }, [None, None])?;
    files::check_patterns(order)?;
    if fs::symlink_metadata(order.path.as_path()).is_ok() {
        return Err(WorktreeError::PathTaken { path: order.path.to_path_buf() });
    }
    check_branch_is_free(git, repo, order).await?;
    reserve::keep(root);
    let begun = Instant::now();
    let made = make(git, repo, order, way, settings, runner, progress).await;
    match made {
        Ok(tree) => Ok(Tree { ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), ..tree }),
        Err(error) => {
            progress(Step::Undo);
            // The first failure is the one to tell; a failed undo is repeated by recovery, from the intent.
            if let Err(second) = undo::undo(git, repo, &as_made(order, &error)).await {
                tracing::warn!(lane = %order.lane_id, error = %second, "could not undo a failed provisioning");
            }
            Err(error)
        }
    }
}

async fn make(
    git: &Git,
    repo: &Repository,
    order: &Order,
    way: Way,
    settings: &Settings,
    runner: &dyn Runner,
    progress: &(dyn Fn(Step) + Send + Sync),
) -> Result<Tree, WorktreeError> {
    let mut notes = Vec::new();
    progress(Step::AddTree);
    let hooks = Hooks::find(repo, settings);
    fault::at("provision.add")?;
    let ground = Ground { git, repo, order, settings, runner, hooks: &hooks };
    let (way, admin_dir) = ground.put_tree(way, &mut notes).await?;
    notes.extend(hooks.note());
    let path = order.path.to_path_buf();
    if order.submodules && path.join(".gitmodules").is_file() {
        progress(Step::Submodules);
        init_submodules(git, repo, order, runner, &admin_dir).await?;
        fault::at("provision.submodules")?;
    }
    progress(Step::Files);
    notes.extend(files::place(git, repo, order, &admin_dir).await?);
    // Whoever released the root in the moment before git made it has taken the marker.
    layout::make_again(repo, order.root.as_path())?;
    fault::at("provision.files")?;
    let meta = fs::symlink_metadata(&path).map_err(|error| WorktreeError::file("look at", &path, error))?;
    let admin_id = admin_dir.file_name().map(|id| id.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Tree {
        path: order.path.clone(),
        admin_id,
        dev: meta.dev(),
        ino: meta.ino(),
        branch: order.branch.clone(),
        backend: way.to_owned(),
        ms: 0,
        notes,
    })
}

/// What the ways to a tree have in common.
struct Ground<'a> {
    git: &'a Git,
    repo: &'a Repository,
    order: &'a Order,
    settings: &'a Settings,
    runner: &'a dyn Runner,
    hooks: &'a Hooks,
}

impl Ground<'_> {
    /// Puts the tree in its place, with its order and after the hook; says which way it came, and its admin
    /// directory.
    async fn put_tree(
        &self,
        way: Way,
        notes: &mut Vec<String>,
    ) -> Result<(&'static str, PathBuf), WorktreeError> {
        let Self { git, repo, order, hooks, runner, .. } = *self;
        let (name, pinned) = (way.name(), matches!(way, Way::Overlay(_)));
        let put = match way {
            Way::Git => None,
            other => Some(self.put_spare(other).await),
        };
        match put {
            None => {}
            Some(Ok(admin_dir)) => {
                hooks.run(git, repo, order, runner).await?;
                fault::at("provision.hooked")?;
                return Ok((name, admin_dir));
            }
            Some(Err(error)) if error.is_of_spare() && !pinned => {
                tracing::warn!(lane = %order.lane_id, %error, "git makes the tree");
                undo::undo(git, repo, order).await?;
                layout::make_again(repo, order.root.as_path())?;
                notes.push(format!("{error}; git made the tree"));
            }
            // Nothing else is to be in its place.
            Some(Err(error)) if error.is_of_spare() => {
                return Err(WorktreeError::OverlayRefused { reason: error.to_string() });
            }
            Some(Err(error)) => return Err(error),
        }
        add_tree(git, repo, order, runner, hooks).await?;
        fault::at("provision.added")?;
        let admin_dir = admin_dir_of(repo, order.path.as_path())?;
        token::write_token(&admin_dir, order)?;
        fault::at("provision.token")?;
        Ok((Way::Git.name(), admin_dir))
    }

    async fn put_spare(&self, way: Way) -> Result<PathBuf, WorktreeError> {
        let Self { git, repo, order, .. } = *self;
        match way {
            Way::Git => unreachable!("invariant: git needs no spare"),
            Way::Pool(kept) => {
                self.check_print(&kept)?;
                claim::claim(git, repo, &kept, order).await
            }
            Way::Copy(template) => {
                self.check_print(&template)?;
                copy::copy(git, repo, &template, order).await
            }
            Way::Overlay(template) => {
                self.check_print(&template)?;
                overlay_make::overlay(git, repo, &template, order).await
            }
        }
    }

    /// Refuses a spare whose files would look different if they were checked out now.
    fn check_print(&self, kept: &Kept) -> Result<(), WorktreeError> {
        match self.settings.only_git {
            Some(reason) => Err(WorktreeError::NotStocked { reason: reason.to_owned() }),
            None if kept.spare.print != self.settings.print => {
                claim::unusable(kept.tree(), "the settings that decide how files look have changed")
            }
            None => Ok(()),
        }
    }
}

/// The order with what is known of the branch: one that was there before us is never ours to delete.
fn as_made(order: &Order, error: &WorktreeError) -> Order {
    let mut order = order.clone();
    order.branch.created &= !matches!(error, WorktreeError::BranchExists { .. });
    order
}

async fn check_branch_is_free(git: &Git, repo: &Repository, order: &Order) -> Result<(), WorktreeError> {
    if !order.branch.created {
        return Ok(());
    }
    match super::resolve::has_branch_with_libgit2(repo, &order.branch.name).await {
        Some(true) => return Err(branch_exists(order)),
        Some(false) => return Ok(()),
        None => {}
    }
    let full = format!("refs/heads/{}", order.branch.name);
    let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", full.as_str()];
    let output = git.run(git.command(Mode::Look, &Place::repository(repo), args), git.timeout()).await?;
    if output.found("git rev-parse")?.is_some() { Err(branch_exists(order)) } else { Ok(()) }
}

/// Refuses when less is free than the floors ask for.
///
/// # Errors
/// `DiskLow`, `File`.
pub fn check_free(root: &Path, floors: Floors) -> Result<(), WorktreeError> {
    has_free(root, floors, [Some("disk.min_free"), Some("disk.min_inodes")])
}

fn has_free(root: &Path, floors: Floors, keys: [Option<&'static str>; 2]) -> Result<(), WorktreeError> {
    let [of_bytes, of_inodes] = keys;
    let room = size::room(root)?;
    let low =
        |free, floor, unit, key| Err(WorktreeError::DiskLow { path: root.into(), free, floor, unit, key });
    if room.bytes < floors.bytes {
        return low(room.bytes, floors.bytes, "bytes", of_bytes);
    }
    match room.inodes {
        Some(inodes) if inodes < floors.inodes => low(inodes, floors.inodes, "inodes", of_inodes),
        Some(_) | None => Ok(()),
    }
}

async fn add_tree(
    git: &Git,
    repo: &Repository,
    order: &Order,
    runner: &dyn Runner,
    hooks: &Hooks,
) -> Result<(), WorktreeError> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS {
        let command = add_command(git, repo, order, hooks);
        let label = command.label.clone();
        let output = runner.run(command, git.checkout_timeout()).await?;
        if output.ok() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if order.branch.created && says_branch_exists(&said) {
            return Err(branch_exists(order));
        }
        if let Some(hook) = hooks.runs.as_ref().filter(|_| is_whole(repo, order)) {
            return Err(hook_failed(hook, &output));
        }
        if is_about_files(&said) {
            check_room(git, repo, order).await?;
        }
        if attempt == ATTEMPTS || !is_transient(&said) {
            return output.success(&label).map(|_never| ());
        }
        undo::undo(git, repo, order).await?;
        layout::make_again(repo, order.root.as_path())?;
        if attempt + 1 == ATTEMPTS {
            let _gone_or_held = left_lock::clear(&said).await;
        }
        wait_a_little(&mut pause).await;
    }
    unreachable!("invariant: the last attempt returns")
}

fn add_command(git: &Git, repo: &Repository, order: &Order, hooks: &Hooks) -> GitCommand {
    let mut args: Vec<OsString> = vec!["worktree".into(), "add".into(), "--quiet".into(), "--lock".into()];
    args.extend(["--reason".into(), order.lock_reason.clone().into()]);
    if order.branch.created {
        args.extend(["--no-track".into(), "-b".into(), order.branch.name.clone().into()]);
    }
    args.extend(["--".into(), order.path.as_os_str().to_owned()]);
    args.push(match order.branch.created {
        true => order.base.sha.clone().into(),
        false => order.branch.name.clone().into(),
    });
    let command =
        git.command(Mode::Checkout, &Place::repository(repo), args).env(MARK, order.lane_id.to_string());
    if hooks.runs.is_some() { command.with_hooks() } else { command }
}

/// True for failures that a full disk may be behind: git does not always say so.
fn is_about_files(said: &str) -> bool {
    [
        "unable to write",
        "unable to create",
        "cannot create",
        "could not create",
        "write error",
        "couldn't write",
        "No space left",
    ]
    .iter()
    .any(|words| said.contains(words))
}

/// Refuses when the tree, or what git keeps of it in the repository, has no room on its disk. Only asked after a failure, as it reads the whole tree;
/// git has removed again what it wrote, so looking at the disk alone would not tell.
async fn check_room(git: &Git, repo: &Repository, order: &Order) -> Result<(), WorktreeError> {
    let args = ["ls-tree", "-r", "-l", "-z", "--end-of-options", order.base.sha.as_str()];
    let output = git.run(git.command(Mode::Look, &Place::repository(repo), args), git.timeout()).await?;
    let sizes = tree_sizes(&output.stdout);
    let inodes = u64::try_from(sizes.len()).unwrap_or(u64::MAX);
    let bytes = sizes.iter().map(|size| size.div_ceil(BLOCK_BYTES) * BLOCK_BYTES).sum();
    has_free(order.root.as_path(), Floors { bytes, inodes }, [None, None])?;
    let index = inodes.saturating_mul(INDEX_ENTRY_BYTES);
    let kept = Floors { bytes: index + ADMIN_BYTES, inodes: ADMIN_FILES };
    has_free(&repo.common_dir, kept, [None, None])
}

/// What an entry of an index takes, about.
const INDEX_ENTRY_BYTES: u64 = 128;
/// What git and we write into a repository for a worktree besides: some twelve small files, of a block each.
const ADMIN_BYTES: u64 = 16 * BLOCK_BYTES;
/// See [`ADMIN_BYTES`].
const ADMIN_FILES: u64 = 16;

/// The sizes of the files in what `git ls-tree -r -l -z` prints.
pub fn tree_sizes(bytes: &[u8]) -> Vec<u64> {
    let size = |record: &[u8]| -> Option<u64> {
        let facts = std::str::from_utf8(record.split(|byte| *byte == b'\t').next()?).ok()?;
        facts.split_ascii_whitespace().nth(3)?.parse().ok()
    };
    bytes.split(|byte| *byte == 0).filter_map(size).collect()
}

fn says_branch_exists(said: &str) -> bool {
    said.contains("a branch named ") && said.contains(" already exists")
}

async fn wait_a_little(pause: &mut Duration) {
    let spread = u64::from(uuid::Uuid::new_v4().as_bytes()[0]);
    tokio::time::sleep(*pause + *pause * u32::try_from(spread).unwrap_or(0) / 256).await;
    *pause *= 2;
}

/// True when the tree was completed, so that what failed came after it.
fn is_whole(repo: &Repository, order: &Order) -> bool {
    admin_dir_of(repo, order.path.as_path())
        .is_ok_and(|dir| dir.join("index").is_file() && !dir.join("index.lock").exists())
}

/// The admin directory of a tree, when both name each other.
///
/// # Errors
/// `NotOurs` when they do not.
pub fn admin_dir_of(repo: &Repository, path: &Path) -> Result<PathBuf, WorktreeError> {
    let no = |reason: &str| WorktreeError::NotOurs { path: path.into(), reason: reason.to_owned() };
    let target = gitfile_target(&path.join(".git")).ok_or_else(|| no("its .git names no admin directory"))?;
    let admin = fs::canonicalize(path.join(target)).map_err(|_gone| no("its admin directory is gone"))?;
    if admin.parent() != Some(repo.common_dir.join("worktrees").as_path()) {
        return Err(no("its admin directory is not one of the repository"));
    }
    let back = super::resolve::tree_of(&admin).and_then(|tree| fs::canonicalize(tree).ok());
    if back.is_none() || back != fs::canonicalize(path).ok() {
        return Err(no("its admin directory belongs to another tree"));
    }
    Ok(admin)
}

async fn init_submodules(
    git: &Git,
    repo: &Repository,
    order: &Order,
    runner: &dyn Runner,
    admin_dir: &Path,
) -> Result<(), WorktreeError> {
    let place = Place::tree(admin_dir, order.path.as_path());
    let mark = order.lane_id.to_string();
    {
        // Writes to the configuration that all worktrees share.
        let holder = format!("provisioning of {}", order.name);
        let _held = lock::WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, &holder).await?;
        let command = git.command(Mode::Checkout, &place, ["submodule", "--quiet", "init"]).env(MARK, &mark);
        let label = command.label.clone();
        let _done = git.run(command, git.timeout()).await?.success(&label)?;
    }
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS {
        let args = ["submodule", "--quiet", "update", "--init", "--recursive", "--checkout"];
        let command = git.command(Mode::Checkout, &place, args).env(MARK, &mark);
        let label = command.label.clone();
        let output = runner.run(command, git.checkout_timeout()).await?;
        if output.ok() || attempt == ATTEMPTS || !is_transient(&String::from_utf8_lossy(&output.stderr)) {
            return output.success(&label).map(|_said| ());
        }
        wait_a_little(&mut pause).await;
    }
    Ok(())
}

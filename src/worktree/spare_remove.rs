//! Removes spares, and what crashes left of them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::blocking::blocking;
use super::error::WorktreeError;
use super::lock::WorkspaceLock;
use super::model::Repository;
use super::pace::Pace;
use super::provision::LOCK_PATIENCE;
use super::remove::remove_tree;
use super::resolve::{admin_dirs, tree_of};
use super::spare::{Kept, SpareKind, is_named_by, read_spare};
use super::token::has_order;
use super::trash::is_there;
use super::{layout, overlay, undo};
use crate::fault;

/// What the name of a tree begins with that is being deleted.
const GONE: &str = ".gone-";
/// What the name of an admin entry begins with that is being made, in the common directory.
const STAGE: &str = "lanes-spare-";
/// What the name of one begins with that is being deleted, likewise.
const GONE_ENTRY: &str = ".lanes-gone-";

/// True for the name of what is being deleted.
pub(super) fn is_going(name: &OsStr) -> bool {
    [GONE, GONE_ENTRY].iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
}

/// What a sweep removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Trees, and what was left of some.
    pub trees: usize,
    /// Admin entries.
    pub entries: usize,
    /// What could not be removed, for people; the next sweep tries again.
    pub stays: Vec<String>,
}

/// Where the entry of a spare is made, before git sees it.
pub(super) fn stage_of(repo: &Repository, name: &str) -> PathBuf {
    repo.common_dir.join(format!("{STAGE}{name}"))
}

/// Takes a spare away: out of everybody's sight at once, then from the disk at this pace. One that is a
/// lane's by now, or not where it was, is left alone.
///
/// # Errors
/// `SpareUnusable` when it is no such spare any more, or overlays live on it; `Lock`, `File`, `RemoveTree`: it may be repeated, and a
/// sweep goes on with it.
pub async fn remove_spare(repo: &Repository, kept: &Kept, pace: Pace) -> Result<(), WorktreeError> {
    let held = WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, "removal of a spare").await?;
    let (repo_, kept_) = (repo.clone(), kept.clone());
    blocking("removing a spare", move || {
        let admin = kept_.admin(&repo_);
        if read_spare(&admin).is_none_or(|spare| spare.home != kept_.spare.home) {
            return super::claim::unusable(kept_.tree(), "it is nobody's spare any more");
        }
        check_unused(&kept_)?;
        let gone = take_away(&repo_, kept_.spare.root.as_path(), &kept_.name)?;
        drop(held);
        free(&gone, &pace)?;
        layout::release(&repo_, kept_.spare.root.as_path());
        Ok(())
    })
    .await
}

/// Refuses a template that overlays live on. They are made with the workspace lock held.
pub(super) fn check_unused(kept: &Kept) -> Result<(), WorktreeError> {
    match overlay::in_use(kept.spare.root.as_path()).contains(&kept.name) {
        true => super::claim::unusable(kept.tree(), "lanes live on it"),
        false => Ok(()),
    }
}

/// Takes away what was made of a spare that came to nothing. What fails is for the log: a sweep tries again.
pub(super) async fn discard(repo: &Repository, root: &Path, name: &str) {
    let own = name.to_owned();
    undo::end_marked(move |mark| mark == own.as_bytes()).await;
    let (repo, root, name) = (repo.clone(), root.to_path_buf(), name.to_owned());
    let held = WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, "removal of a spare").await;
    let work = tokio::task::spawn_blocking(move || {
        let gone = take_away(&repo, &root, &name)?;
        drop(held);
        free(&gone, &Pace::full())?;
        layout::release(&repo, &root);
        Ok::<(), WorktreeError>(())
    });
    if let Ok(Err(error)) = work.await {
        tracing::warn!(%error, "what was made of a spare stays for now");
    }
}

/// Renames the trees and entries of a name out of the way, where no lane has them or lives on them.
fn take_away(repo: &Repository, root: &Path, name: &str) -> Result<Vec<PathBuf>, WorktreeError> {
    let admin = repo.common_dir.join("worktrees").join(name);
    let mut gone = Vec::new();
    if has_order(&admin) || overlay::in_use(root).contains(name) {
        return Ok(gone);
    }
    let mut take = |from: PathBuf, to: PathBuf| {
        if is_there(&from)? {
            let _before = remove_tree(&to, None, &Pace::full())?;
            fs::rename(&from, &to).map_err(|error| WorktreeError::file("move away", from, error))?;
        }
        if is_there(&to)? {
            gone.push(to);
        }
        Ok::<(), WorktreeError>(())
    };
    for kind in [SpareKind::Template, SpareKind::Pooled] {
        let folder = root.join(kind.folder());
        take(folder.join(name), folder.join(format!("{GONE}{name}")))?;
    }
    fault::at("unspare.tree")?;
    let aside = repo.common_dir.join(format!("{GONE_ENTRY}{name}"));
    take(admin, aside)?;
    fault::at("unspare.entry")?;
    let stage = stage_of(repo, name);
    if is_there(&stage)? {
        gone.push(stage);
    }
    Ok(gone)
}

fn free(gone: &[PathBuf], pace: &Pace) -> Result<(), WorktreeError> {
    gone.iter().try_for_each(|path| remove_tree(path, None, pace).map(|_removed| ()))
}

/// Removes what crashes left of spares of this home: unfinished ones, those whose tree or entry is gone, what
/// was being deleted. `keep` are the names that this process is making.
///
/// # Errors
/// `Lock`. What cannot be removed is in the answer.
pub async fn sweep_spares(
    repo: &Repository,
    root: &Path,
    home: &Path,
    keep: &BTreeSet<String>,
) -> Result<Swept, WorktreeError> {
    let (own, making) = (home.to_path_buf(), keep.clone());
    undo::end_marked(move |mark| {
        std::str::from_utf8(mark).is_ok_and(|name| is_named_by(&own, name) && !making.contains(name))
    })
    .await;
    let (repo, root, home, keep) = (repo.clone(), root.to_path_buf(), home.to_path_buf(), keep.clone());
    let nothing = {
        let (repo, root, home, keep) = (repo.clone(), root.clone(), home.clone(), keep.clone());
        let look = move || {
            rubbish(&repo, &root, &home, &keep).is_empty()
                && half_gone(&repo, &root, &home, &keep).is_empty()
                && !layout::is_emptied(&root)
        };
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    };
    if nothing {
        return Ok(Swept::default());
    }
    let held = WorkspaceLock::acquire(&repo.common_dir, LOCK_PATIENCE, "sweep of spares").await?;
    blocking("sweeping", move || {
        let mut swept = Swept::default();
        let mut gone = Vec::new();
        for name in rubbish(&repo, &root, &home, &keep) {
            match take_away(&repo, &root, &name) {
                Ok(taken) => gone.extend(taken),
                Err(error) => swept.stays.push(error.with_hint()),
            }
        }
        gone.extend(half_gone(&repo, &root, &home, &keep));
        gone.sort();
        gone.dedup();
        drop(held);
        for path in gone {
            match remove_tree(&path, None, &Pace::full()) {
                Ok(_removed) if path.starts_with(&repo.common_dir) => swept.entries += 1,
                Ok(_removed) => swept.trees += 1,
                Err(error) => swept.stays.push(error.with_hint()),
            }
        }
        layout::release(&repo, &root);
        Ok(swept)
    })
    .await
}

/// What [`sweep_spares`] would remove: trees, and entries that have none. Blocks.
pub fn left_behind(repo: &Repository, root: &Path, home: &Path) -> BTreeSet<PathBuf> {
    let none = BTreeSet::new();
    let of_name = |name: String| {
        let trees = [SpareKind::Template, SpareKind::Pooled].map(|kind| root.join(kind.folder()).join(&name));
        let entries = [repo.common_dir.join("worktrees").join(&name), stage_of(repo, &name)];
        let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
        let trees: Vec<PathBuf> = trees.into_iter().filter(is_there).collect();
        let alone = if trees.is_empty() { entries.into_iter().find(is_there) } else { None };
        trees.into_iter().chain(alone)
    };
    let mut found: BTreeSet<PathBuf> =
        rubbish(repo, root, home, &none).into_iter().flat_map(of_name).collect();
    found.extend(half_gone(repo, root, home, &none));
    found
}

/// The names of which there is something that is no spare, and no lane's.
fn rubbish(repo: &Repository, root: &Path, home: &Path, keep: &BTreeSet<String>) -> BTreeSet<String> {
    let whole: BTreeSet<String> = super::spare::spares(repo, home)
        .into_iter()
        .filter(|kept| kept.spare.ready)
        .map(|kept| kept.name)
        .collect();
    let is_ours = |name: &OsStr| name.to_str().filter(|name| is_named_by(home, name)).map(str::to_owned);
    let mut names = BTreeSet::new();
    for kind in [SpareKind::Template, SpareKind::Pooled] {
        names.extend(names_in(&root.join(kind.folder())).iter().filter_map(|name| is_ours(name)));
    }
    // Another workspace's root may hold the tree of an entry: two lanes homes in one repository do not.
    let below = |admin: &Path| tree_of(admin).is_none_or(|tree| tree.starts_with(root));
    let entries = admin_dirs(&repo.common_dir).into_iter().filter(|(_name, admin)| below(admin));
    names.extend(entries.filter_map(|(name, _admin)| is_ours(OsStr::new(&name))));
    let stages = names_in(&repo.common_dir);
    names.extend(stages.iter().filter_map(|name| is_ours(OsStr::new(name.to_str()?.strip_prefix(STAGE)?))));
    let is_lanes = |name: &str| has_order(&repo.common_dir.join("worktrees").join(name));
    names.retain(|name| !whole.contains(name) && !keep.contains(name) && !is_lanes(name));
    names
}

/// What was being deleted.
fn half_gone(repo: &Repository, root: &Path, home: &Path, keep: &BTreeSet<String>) -> Vec<PathBuf> {
    let folders = [
        (root.join(SpareKind::Template.folder()), GONE),
        (root.join(SpareKind::Pooled.folder()), GONE),
        (repo.common_dir.clone(), GONE_ENTRY),
    ];
    let mut found = Vec::new();
    for (folder, prefix) in folders {
        let is_ours = |name: &OsStr| {
            let rest = name.to_str().and_then(|name| name.strip_prefix(prefix));
            rest.is_some_and(|name| is_named_by(home, name) && !keep.contains(name))
        };
        found.extend(names_in(&folder).iter().filter(|name| is_ours(name)).map(|name| folder.join(name)));
    }
    found
}

fn names_in(folder: &Path) -> Vec<std::ffi::OsString> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect()
}

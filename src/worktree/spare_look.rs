//! Looks which spares lie in a root, and which of them nobody will ask for again. Changes nothing.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::budget::Usage;
use super::model::Repository;
use super::overlay::OVERLAY_DIR;
use super::provision::admin_dir_of;
use super::resolve::{admin_dirs, tree_of};
use super::size::measure;
use super::spare::{Kept, SPARE_REASON, SpareKind, read_spare, spares};
use super::spare_remove::{is_going, left_behind};
use crate::{clock, proc};

/// What is younger, in seconds, and says of nobody that he made it may be just being made.
const YOUNG_S: i64 = 60;

/// A spare, or what is left of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpareSeen {
    /// The tree; the entry when there is no tree.
    pub path: PathBuf,
    /// What is known of it.
    pub is: Condition,
}

/// How a spare is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Ours and ready.
    Ready(Kept),
    /// Ours and ready, but git may prune its entry: it is not locked.
    Unlocked(Kept),
    /// It is being made or removed by a process that lives, or has changed in the last minute.
    Begun,
    /// Ours, and left behind unfinished or half deleted.
    LeftBehind,
    /// Ready, and its home is not there any more.
    HomeGone(Kept),
}

/// The spares of a home in a root, and those of homes that are gone. Blocks.
pub fn look_at_spares(repo: &Repository, root: &Path, home: &Path) -> Vec<SpareSeen> {
    let ours = spares(repo, home).into_iter().filter(|kept| kept.spare.ready && is_in(kept, root));
    let ours = ours.map(|kept| {
        let is_locked = kept.admin(repo).join("locked").is_file();
        let path = kept.tree().to_path_buf();
        SpareSeen { path, is: if is_locked { Condition::Ready(kept) } else { Condition::Unlocked(kept) } }
    });
    let left = left_behind(repo, root, home).into_iter().map(|path| {
        let is = if is_at_work(repo, &path) { Condition::Begun } else { Condition::LeftBehind };
        SpareSeen { path, is }
    });
    let homeless = homeless(repo, root, home).into_iter().map(|kept| {
        let path = kept.tree().to_path_buf();
        SpareSeen { path, is: Condition::HomeGone(kept) }
    });
    let mut seen: Vec<SpareSeen> = ours.chain(left).chain(homeless).collect();
    seen.sort_by(|one, other| one.path.cmp(&other.path));
    seen
}

/// The ready spares in a root whose home is gone. Blocks.
pub fn homeless(repo: &Repository, root: &Path, home: &Path) -> Vec<Kept> {
    let kept = |(name, admin): (String, PathBuf)| {
        let spare = read_spare(&admin)?;
        let (tree, of) = (spare.path.as_path(), spare.home.as_path());
        let fits = spare.ready
            && of != home
            && is_gone(of)
            && tree_of(&admin).as_deref() == Some(tree)
            && admin_dir_of(repo, tree).ok().as_ref() == Some(&admin);
        let meta = fs::symlink_metadata(tree).ok().filter(fs::Metadata::is_dir)?;
        let kept = Kept { name, dev: meta.dev(), ino: meta.ino(), spare };
        (fits && is_in(&kept, root)).then_some(kept)
    };
    admin_dirs(&repo.common_dir).into_iter().filter_map(kept).collect()
}

/// What the spares in a root take; what cannot be measured counts as nothing. Blocks.
pub fn usage_of_spares(root: &Path) -> Usage {
    let taken = |kind: SpareKind| measure(&root.join(kind.folder())).unwrap_or_default();
    taken(SpareKind::Template).and(taken(SpareKind::Pooled))
}

/// True when some lane in a root may lie on a template of it. Blocks.
pub fn is_lain_on(root: &Path) -> bool {
    fs::read_dir(root.join(OVERLAY_DIR)).is_ok_and(|mut entries| entries.next().is_some())
}

fn is_in(kept: &Kept, root: &Path) -> bool {
    let folders = [SpareKind::Template, SpareKind::Pooled].map(|kind| root.join(kind.folder()));
    kept.tree().parent().is_some_and(|folder| folders.iter().any(|known| known == folder))
}

/// True when a folder is not there, rather than somewhere that cannot be looked at.
fn is_gone(home: &Path) -> bool {
    matches!(fs::symlink_metadata(home), Err(error) if error.kind() == ErrorKind::NotFound)
}

/// True when what is unfinished is probably just being made or removed.
fn is_at_work(repo: &Repository, path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    let entries = [repo.common_dir.join("worktrees").join(name), path.to_path_buf()];
    match entries.iter().find_map(|entry| maker_lives(entry)) {
        Some(true) => true,
        // Whoever removes one need not have made it.
        Some(false) if !is_going(name) => false,
        // Its removal, a rename to begin with, touches the folder again and again.
        Some(false) | None => path.symlink_metadata().is_ok_and(|meta| {
            let now = i64::try_from(clock::now().as_ms() / 1000).unwrap_or(i64::MAX);
            now.saturating_sub(meta.ctime()) < YOUNG_S
        }),
    }
}

/// Whether the process lives that locked an entry as its spare; `None` when none did.
fn maker_lives(admin: &Path) -> Option<bool> {
    let reason = fs::read_to_string(admin.join("locked")).ok()?;
    let mut words = reason.trim().strip_prefix(SPARE_REASON)?.split_ascii_whitespace();
    let (boot, pid) = (words.next()?, words.next()?.parse().ok()?);
    Some(boot == proc::boot_id() && proc::process(pid).is_some())
}

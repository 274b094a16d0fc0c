//! Looks at the spare trees of a workspace.

use std::path::Path;

use super::spares::SpareFacts;
use crate::config::Disk;
use crate::worktree::{self, Condition, DiskFacts, Floors, Kept, Repository, SpareKind, Usage};

/// What lies in a root. Blocks.
pub(super) fn spares(repo: &Repository, root: &Path, home: &Path, disk: &Disk) -> SpareFacts {
    let mut facts = SpareFacts::default();
    for one in worktree::look_at_spares(repo, root, home) {
        let mut count = |kept: &Kept| match kept.spare.kind {
            SpareKind::Template => facts.templates += 1,
            SpareKind::Pooled => facts.pooled += 1,
        };
        match one.is {
            Condition::Ready(kept) => count(&kept),
            Condition::Unlocked(kept) => {
                count(&kept);
                facts.unlocked.push(one.path);
            }
            Condition::Begun => {}
            Condition::LeftBehind => facts.rubbish.push(one.path),
            Condition::HomeGone(_kept) => facts.homeless.push(one.path),
        }
    }
    let spares = worktree::usage_of_spares(root);
    let count = u64::try_from(facts.templates + facts.pooled).unwrap_or(u64::MAX);
    let one = |all: u64| all.checked_div(count).unwrap_or(0);
    facts.disk = DiskFacts {
        // A root that is not there yet has the disk of the folder above it.
        free: root.ancestors().find_map(|folder| worktree::room(folder).ok()).unwrap_or_default(),
        floors: Floors { bytes: disk.min_free, inodes: disk.min_inodes },
        budget: disk.budget,
        spares: if count > 0 { spares } else { Usage::default() },
        trash: worktree::measure(&root.join(worktree::trash::TRASH_DIR)).unwrap_or_default(),
        next: Usage { bytes: one(spares.bytes), inodes: one(spares.inodes) },
    };
    facts
}

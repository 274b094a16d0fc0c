//! Measures what the spares and the trash of a workspace take, where that is limited.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::keep::Stock;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::ids::WorkspaceId;
use crate::worktree::{self, Floors, Kept, Usage, trash};

/// The trash is measured again after so long: what is in it is freed by others.
const WEIGHED_EVERY: Duration = Duration::from_secs(60);

/// What the configuration says of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// What must stay free.
    pub floors: Floors,
    /// Bytes that spares and trash may take together.
    pub budget: Option<u64>,
}

impl Limits {
    pub(super) fn of(config: &Config) -> Self {
        let floors = Floors { bytes: config.disk.min_free, inodes: config.disk.min_inodes };
        Self { floors, budget: config.disk.budget }
    }
}

/// What spares and trash take, as it was last measured; nothing where nothing is limited.
#[derive(Clone, Debug, Default)]
pub(super) struct Weight {
    /// By name: what it takes, and when it was made or brought to its base.
    each: BTreeMap<String, (Timestamp, Usage)>,
    pub(super) trash: Usage,
    trash_at: Option<Instant>,
}

impl Weight {
    pub(super) fn spares(&self) -> Usage {
        self.each.values().fold(Usage::default(), |sum, (_at, usage)| sum.and(*usage))
    }

    /// What one more would take: as the largest there is.
    pub(super) fn next(&self) -> Usage {
        self.each.values().map(|(_at, usage)| *usage).max_by_key(|usage| usage.bytes).unwrap_or_default()
    }

    fn is_known(&self, kept: &Kept) -> bool {
        self.each.get(&kept.name).is_some_and(|(at, _usage)| *at == kept.spare.at)
    }
}

impl Stock {
    /// Measures what is not known yet of a workspace, when it has a budget.
    pub(super) async fn weigh(&self, id: WorkspaceId) {
        let due = self.with(id, |bench| {
            if bench.limits.budget.is_none() {
                bench.weight = Weight::default();
                return None;
            }
            let all = bench.shelf.all();
            bench.weight.each.retain(|name, _is| all.iter().any(|kept| kept.name == *name));
            let new: Vec<Kept> = all.into_iter().filter(|kept| !bench.weight.is_known(kept)).collect();
            let is_due = bench.weight.trash_at.is_none_or(|at| at.elapsed() >= WEIGHED_EVERY);
            let trash = is_due.then(|| bench.root.join(trash::TRASH_DIR));
            (!new.is_empty() || trash.is_some()).then_some((new, trash))
        });
        let Some((new, trash)) = due.flatten() else { return };
        let measure = move || {
            let usage = |kept: &Kept| worktree::measure(kept.tree()).unwrap_or_default();
            let each: Vec<_> =
                new.iter().map(|kept| (kept.name.clone(), (kept.spare.at, usage(kept)))).collect();
            (each, trash.map(|folder| worktree::measure(&folder).unwrap_or_default()))
        };
        let Ok((each, trash)) = tokio::task::spawn_blocking(measure).await else { return };
        self.with(id, |bench| {
            bench.weight.each.extend(each);
            if let Some(trash) = trash {
                (bench.weight.trash, bench.weight.trash_at) = (trash, Some(Instant::now()));
            }
        });
    }
}

//! The stocks of a runtime: what all of them share, and the few steps in which that changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{RwLock, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::plan::{Room, Rules, State, Wanted};
use super::prepare;
use super::refill::LOOK_EVERY;
use super::shelf::{Outside, Shelf};
use super::watch::Watch;
use super::weigh::{Limits, Weight};
use crate::bus::Bus;
use crate::config::Config;
use crate::failure::Failure;
use crate::home::Home;
use crate::ids::WorkspaceId;
use crate::lanes::workspace::Workspaces;
use crate::worktree::{
    self, DiskFacts, Git, Kept, Mode, Pace, Place, Repository, Settings, SettingsCache, Short, Usage,
    Verdict, Want,
};

/// An index of some 20,000 files, which git takes more than a second to check out.
const LARGE_INDEX_BYTES: u64 = 3 << 20;

/// On a disk with less no spare is made: what is left belongs to those who work.
const SPARE_BYTES: u64 = 256 << 20;

/// The stock of a workspace, and where it is.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) shelf: Shelf,
    pub(super) repo: Repository,
    /// The folder of its trees.
    pub(super) root: PathBuf,
    pub(super) limits: Limits,
    /// What its spares and its trash take, where that is limited.
    pub(super) weight: Weight,
    /// What crashes left there was removed.
    pub(super) swept: bool,
    /// The last lane was made from the branch of the main checkout, or at the commit that this was at.
    pub(super) follows: bool,
    /// Where the main checkout was, and what its files looked like that say so.
    pub(super) head: Option<(Vec<u8>, String)>,
    /// When it was last looked for lanes that lie on templates.
    pub(super) laid_at: Option<Instant>,
    /// The fingerprint of `pool.prepare` at a base, as it was last read.
    pub(super) prints: Option<(String, String, String)>,
}

/// The stocks of a runtime.
pub struct Stock {
    pub(super) home: Home,
    pub(super) bus: Bus,
    pub(super) workspaces: Arc<Workspaces>,
    pub(super) settings: SettingsCache,
    /// Held for moments only, never across work.
    benches: Mutex<BTreeMap<WorkspaceId, Bench>>,
    pub(super) watch: Arc<Watch>,
    /// A turn for each copy: more at once than processors are slower together.
    pub(super) copies: Semaphore,
    /// Counts changes; those who wait look again.
    changed: watch::Sender<u64>,
    /// What nobody waits for goes at this pace.
    pub(super) pace: Pace,
    /// Held by who makes spares, and alone by who sweeps: what is half made looks like what a crash left.
    pub(super) making: RwLock<()>,
    /// Templates that somebody waits for.
    pub(super) urgent: TaskTracker,
    pub(super) stop: CancellationToken,
    /// Recovery has ended, and this is not safe mode.
    open: AtomicBool,
}

impl Bench {
    pub(super) fn new(repo: Repository, root: PathBuf, limits: Limits) -> Self {
        Self {
            shelf: Shelf::new(Instant::now()),
            repo,
            root,
            limits,
            weight: Weight::default(),
            swept: false,
            follows: false,
            head: None,
            laid_at: None,
            prints: None,
        }
    }
}

/// True when git takes longer to make such a tree than to bring it to another base, which takes a second.
pub(super) fn is_large(repo: &Repository, kept: &Kept) -> bool {
    let index = kept.admin(repo).join("index").symlink_metadata();
    index.is_ok_and(|meta| meta.len() >= LARGE_INDEX_BYTES)
}

impl Stock {
    /// No stock is known yet, and nothing is made before [`Stock::run`](Self::run). What nobody waits for goes
    /// at this pace.
    pub fn new(home: Home, bus: Bus, workspaces: Arc<Workspaces>, pace: Pace) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            home,
            bus,
            workspaces,
            settings: SettingsCache::default(),
            benches: Mutex::default(),
            watch: Arc::new(Watch::new()),
            copies: Semaphore::new(cores),
            changed: watch::Sender::new(0),
            pace,
            making: RwLock::new(()),
            urgent: TaskTracker::new(),
            stop: CancellationToken::new(),
            open: AtomicBool::new(false),
        }
    }

    /// What git's configuration says of a repository now.
    ///
    /// # Errors
    /// Those of git.
    pub async fn settings(&self, repo: &Repository) -> Result<Arc<Settings>, Failure> {
        Ok(self.settings.get(self.workspaces.git().await?, repo).await?)
    }

    /// From now on spares are made.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Release);
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Acquire) && !self.stop.is_cancelled()
    }

    /// Each step leaves the map whole.
    pub(super) fn benches(&self) -> MutexGuard<'_, BTreeMap<WorkspaceId, Bench>> {
        self.benches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with the stock of a workspace that is known.
    pub(super) fn with<T>(&self, id: WorkspaceId, act: impl FnOnce(&mut Bench) -> T) -> Option<T> {
        self.benches().get_mut(&id).map(act)
    }

    /// The same, when it changes something that others wait for.
    pub(super) fn change<T>(&self, id: WorkspaceId, act: impl FnOnce(&mut Shelf) -> T) -> Option<T> {
        let done = self.with(id, |bench| act(&mut bench.shelf));
        self.tell();
        done
    }

    /// Has everybody who waits look again.
    pub(super) fn tell(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Takes in what the watch has seen: what somebody may have touched is looked at before it is used.
    pub(super) fn take_in(&self, benches: &mut BTreeMap<WorkspaceId, Bench>) {
        let touched = self.watch.drain();
        for bench in benches.values_mut() {
            if touched.all {
                bench.shelf.suspect(None);
            }
            for name in &touched.names {
                bench.shelf.suspect(Some(name));
            }
        }
    }

    /// The machine and the disks of a workspace.
    pub(super) fn outside(&self, bench: &Bench) -> Outside {
        let mut room = room(bench);
        if room == Room::Plenty && !is_roomy(&bench.repo.common_dir) {
            room = Room::Scarce;
        }
        Outside { room, pressure: false, safe_mode: !self.is_open() }
    }

    /// What holds for spares of a base.
    pub(super) async fn rules(
        &self,
        git: &Git,
        repo: &Repository,
        config: &Config,
        settings: &Settings,
        at: (WorkspaceId, &str),
    ) -> Result<Rules, Failure> {
        let (id, base) = at;
        let prepare = match &config.pool.prepare {
            None => None,
            Some(hook) => {
                let words = format!("{:?} {:?}", hook.argv(), config.pool.prepare_files);
                let known = self.with(id, |bench| bench.prints.clone()).flatten();
                let known = known.filter(|(of, by, _print)| of == base && *by == words);
                match known {
                    Some((_base, _words, print)) => Some(print),
                    None => {
                        let args = ["ls-tree", "-r", "-z", "--end-of-options", base];
                        let listed = git.ask(Mode::Look, &Place::repository(repo), args).await?;
                        let print = prepare::fingerprint(hook, &config.pool.prepare_files, &listed.stdout);
                        self.with(id, |bench| {
                            bench.prints = Some((base.to_owned(), words, print.clone()));
                        });
                        Some(print)
                    }
                }
            }
        };
        let (backend, pool) = (config.worktree.backend, &config.pool);
        let only_git = settings.only_git;
        Ok(Rules { backend, size: pool.size, max: pool.max.max(pool.size), prepare, only_git })
    }

    /// Puts what lies on the disk of a workspace onto its shelf, unless it is there or somebody has just taken it.
    pub(super) async fn look_for_spares(&self, id: WorkspaceId) {
        let Some(repo) = self.with(id, |bench| bench.repo.clone()) else { return };
        let home = self.home.path().to_path_buf();
        let look = move || {
            let with_size = |kept: Kept| (is_large(&repo, &kept), kept);
            worktree::spares(&repo, &home).into_iter().map(with_size).collect::<Vec<_>>()
        };
        let found = tokio::task::spawn_blocking(look).await;
        let now = Instant::now();
        self.with(id, |bench| {
            for (large, kept) in found.unwrap_or_default() {
                if kept.spare.ready && kept.spare.workspace_id == id && bench.shelf.is_new(&kept.name) {
                    bench.shelf.put(kept, State::Unverified, large, now);
                }
            }
            bench.laid_at = None;
        });
        self.look_for_laid(id).await;
        self.tell();
    }

    /// Looks on which templates lanes lie, now and then: they leave without a word.
    pub(super) async fn look_for_laid(&self, id: WorkspaceId) {
        let due = |at: Option<Instant>| at.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        let known = self.with(id, |bench| {
            let roots: BTreeSet<PathBuf> =
                bench.shelf.all().iter().map(|kept| kept.spare.root.to_path_buf()).collect();
            (due(bench.laid_at) && !roots.is_empty()).then(|| (roots, bench.shelf.laid_count()))
        });
        let Some((roots, count)) = known.flatten() else { return };
        let look = move || roots.iter().flat_map(|root| worktree::overlay::in_use(root)).collect();
        let Ok(laid) = tokio::task::spawn_blocking(look).await else { return };
        self.with(id, |bench| {
            bench.shelf.set_laid(laid, count);
            bench.laid_at = Some(Instant::now());
        });
    }

    /// What a spare of a workspace is to be.
    pub(super) fn want(
        &self,
        id: WorkspaceId,
        root: &Path,
        kind: worktree::SpareKind,
        wanted: &Wanted,
    ) -> Want {
        let (boot, pid) = (crate::task::boot_id(), std::process::id());
        Want {
            kind,
            home: self.home.path().into(),
            workspace_id: id,
            root: root.into(),
            base: wanted.base.clone(),
            print: wanted.print.clone(),
            lock_reason: format!("{} {boot} {pid}", worktree::SPARE_REASON),
        }
    }

    /// Removes a spare from the disk, which is on no shelf any more. What fails is swept later.
    pub(super) async fn remove(&self, repo: &Repository, kept: &Kept, pace: Pace) {
        if let Err(failure) = self.try_remove(repo, kept, pace).await {
            tracing::warn!(error = %failure, spare = %kept.name, "a spare could not be removed");
        }
    }

    /// The same, for somebody who is told.
    pub(super) async fn try_remove(&self, repo: &Repository, kept: &Kept, pace: Pace) -> Result<(), Failure> {
        self.watch.remove(&kept.name);
        let removed = worktree::remove_spare(repo, kept, pace).await;
        if removed.is_err() {
            self.with(kept.spare.workspace_id, |bench| bench.swept = false);
        }
        Ok(removed?)
    }
}

/// True when a disk has room for what nobody has asked for, whatever has to stay free otherwise.
fn is_roomy(place: &Path) -> bool {
    worktree::room(place).is_ok_and(|free| free.bytes >= SPARE_BYTES)
}

/// What the disk of a root has room for. One that cannot be asked has none.
fn room(bench: &Bench) -> Room {
    // A root that is made with the first lane lies on the disk of what is above it.
    let there = bench.root.ancestors().find(|folder| folder.is_dir()).unwrap_or(&bench.root);
    let Ok(free) = worktree::room(there) else { return Room::Scarce };
    // Where nothing is limited nothing was measured: it only counts whether there is one.
    let there_are = Usage { bytes: 0, inodes: u64::from(!bench.shelf.is_empty()) };
    let facts = DiskFacts {
        free,
        floors: bench.limits.floors,
        budget: bench.limits.budget,
        spares: bench.weight.spares().and(there_are),
        trash: bench.weight.trash,
        next: bench.weight.next(),
    };
    match worktree::judge(&facts) {
        Verdict::Fine if free.bytes < SPARE_BYTES => Room::Scarce,
        Verdict::Fine => Room::Plenty,
        Verdict::NoRefills(_short) => Room::Scarce,
        Verdict::GiveUpSpares(Short::Budget) => Room::OverBudget,
        Verdict::GiveUpSpares(Short::Bytes | Short::Inodes) | Verdict::RefuseLanes(_) => Room::Low,
    }
}

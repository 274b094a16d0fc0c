//! Gives a lane its tree by the fastest way there is.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::keep::{Bench, Stock, is_large};
use super::plan::{self, Asked, Rules, Wanted};
use super::shelf::{Shelf, Source};
use super::weigh::Limits;
use crate::config::{Backend, Config};
use crate::failure::Failure;
use crate::fault;
use crate::ids::WorkspaceId;
use crate::worktree::{
    self, Direct, Floors, Kept, Order, Pace, Repository, Settings, SpareKind, Tree, Way, WorktreeError,
};

/// So long a lane waits for a template that others wait for, too; then git makes its tree.
const WAIT: Duration = Duration::from_secs(60);

/// What happens next for a request.
enum Next {
    /// Its tree is made in this way; the use ends with it.
    Make(Way, Option<Use>, Option<&'static str>),
    /// This spare is looked at first.
    Look(String),
    /// This spare is brought to its base first.
    Retarget(Kept),
    /// It waits until something has changed.
    Wait,
    /// It waits for its turn to copy.
    Turn,
    /// These are given up.
    GiveUp(Vec<Kept>),
    /// It is refused.
    Refused(String),
}

impl Stock {
    /// Makes the tree of an order.
    ///
    /// # Errors
    /// Those of [`worktree::provision()`]; `CONFIG_INVALID` for an overlay that cannot be.
    pub async fn provide(
        self: &Arc<Self>,
        repo: &Repository,
        order: &Order,
        config: &Config,
    ) -> Result<Tree, Failure> {
        let git = self.workspaces.git().await?;
        let settings = self.settings(repo).await?;
        let limits = Limits::of(config);
        let id = order.workspace_id;
        self.meet(id, repo, order.root.as_path(), limits).await;
        let wanted = Wanted { base: order.base.sha.clone(), print: settings.print.clone() };
        let rules = self.rules(git, repo, config, &settings, (id, &wanted.base)).await?;
        let backend = rules.backend;
        let follows = is_of_checkout(repo, order);
        let request = Request::begin(Arc::clone(self), id, wanted, rules, follows);
        let mut asked = Asked {
            wanted: request.wanted.clone(),
            without: BTreeSet::new(),
            by_git: 0,
            template_failed: None,
            waited: false,
            no_overlay: no_overlay(backend, order).await,
        };
        let patience = if backend == Backend::Overlay { config.git.checkout_timeout } else { WAIT };
        let until = Instant::now() + patience;
        let mut turn = None;
        loop {
            let mut changed = self.subscribe();
            match request.decide(&mut asked, turn.is_some()) {
                Next::Make(way, used, note) => {
                    return self.make(repo, order, (limits.floors, &settings), (way, used, note)).await;
                }
                Next::Look(name) => {
                    if self.examine(id, &name, Pace::full()).await == Some(false) {
                        asked.without.insert(name);
                    }
                }
                Next::Retarget(kept) => {
                    asked.without.insert(kept.name.clone());
                    if let Some(name) = self.bring(repo, &kept, &request.wanted).await {
                        asked.without.remove(&name);
                    }
                }
                Next::Wait => {
                    let _soon = self.pace.hurry();
                    let left = until.saturating_duration_since(Instant::now());
                    // Closed only with the runtime, which drops this, too.
                    asked.waited = tokio::time::timeout(left, changed.changed()).await.is_err();
                }
                Next::Turn => turn = self.copies.acquire().await.ok(),
                Next::GiveUp(all) => {
                    for kept in all {
                        self.remove(repo, &kept, Pace::full()).await;
                    }
                }
                Next::Refused(reason) => {
                    return Err(WorktreeError::OverlayRefused { reason }.into());
                }
            }
        }
    }

    /// Meets a workspace when the first lane of it is asked for; later, notes where its trees are now.
    pub(super) async fn meet(&self, id: WorkspaceId, repo: &Repository, root: &Path, limits: Limits) {
        let root = root.to_path_buf();
        let is_new = {
            let mut benches = self.benches();
            match benches.get_mut(&id) {
                Some(bench) => {
                    bench.swept &= bench.root == root;
                    (bench.root, bench.limits) = (root, limits);
                    bench.repo = repo.clone();
                    false
                }
                None => {
                    benches.insert(id, Bench::new(repo.clone(), root, limits));
                    true
                }
            }
        };
        if is_new {
            self.look_for_spares(id).await;
        }
    }

    async fn make(
        self: &Arc<Self>,
        repo: &Repository,
        order: &Order,
        (floors, settings): (Floors, &Settings),
        (way, used, note): (Way, Option<Use>, Option<&'static str>),
    ) -> Result<Tree, Failure> {
        let git = self.workspaces.git().await?;
        fault::pass("stock.chosen");
        let claimed = match &way {
            Way::Pool(kept) => Some(kept.name.clone()),
            Way::Git | Way::Copy(_) | Way::Overlay(_) => None,
        };
        let below = match &way {
            Way::Overlay(kept) => Some(kept.name.clone()),
            Way::Git | Way::Copy(_) | Way::Pool(_) => None,
        };
        // A tree that is there needs no room.
        let floors = if claimed.is_some() { Floors::default() } else { floors };
        let made = worktree::provision(git, repo, order, floors, way, settings, &Direct, &|_step| {}).await;
        let id = order.workspace_id;
        if let Some(name) = below {
            self.change(id, |shelf| match &made {
                Ok(_tree) => shelf.lay(&name),
                // It may be the template that is not as it was made.
                Err(WorktreeError::OverlayRefused { .. } | WorktreeError::Unmounted { .. }) => {
                    shelf.suspect(Some(&name));
                }
                Err(_other) => {}
            });
        }
        drop(used);
        if let Some(name) = claimed {
            self.change(id, |shelf| shelf.done(&name));
            if made.as_ref().map_or(true, |tree| tree.backend != "pool") {
                // Perhaps it is a spare still.
                self.look_for_spares(id).await;
            }
            let stock = Arc::clone(self);
            let _unwatched_when_done = tokio::task::spawn_blocking(move || stock.watch.remove(&name));
        }
        let mut tree = made?;
        let spoilt = self.with(id, |bench| bench.shelf.spoilt().map(|spoilt| spoilt.note.clone()));
        tree.notes.extend(note.map(str::to_owned));
        tree.notes.extend(spoilt.flatten());
        Ok(tree)
    }

    /// Brings a spare that was taken off the shelf to another base, and puts it back; its name, when it is there.
    async fn bring(&self, repo: &Repository, kept: &Kept, to: &Wanted) -> Option<String> {
        let id = kept.spare.workspace_id;
        let brought = self.retargeted(repo, kept, &to.base).await;
        self.change(id, |shelf| shelf.done(&kept.name));
        self.look_for_spares(id).await;
        brought.map(|kept| kept.name)
    }

    /// Retargets; none when that cannot be, or failed.
    pub(super) async fn retargeted(&self, repo: &Repository, kept: &Kept, to: &str) -> Option<Kept> {
        let git = self.workspaces.git().await.ok()?;
        let _no_sweep = self.making.read().await;
        match worktree::can_retarget(git, repo, &kept.spare.base, to).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(error) => {
                tracing::warn!(%error, spare = %kept.name, "whether a spare can follow cannot be told");
                return None;
            }
        }
        let brought = worktree::retarget(git, repo, kept, to).await;
        brought
            .inspect_err(|error| tracing::warn!(%error, spare = %kept.name, "a spare could not follow"))
            .ok()
    }

    /// Makes a template that somebody waits for, beside everything else.
    fn begin_template(self: &Arc<Self>, id: WorkspaceId, wanted: Wanted) {
        let stock = Arc::clone(self);
        let making = async move {
            tokio::select! {
                () = stock.stop.cancelled() => {}
                () = stock.make_template(id, &wanted) => {}
            }
        };
        self.urgent.spawn(making);
    }

    /// Makes a template that the shelf has noted as begun.
    pub(super) async fn make_template(&self, id: WorkspaceId, wanted: &Wanted) {
        let place = self.with(id, |bench| (bench.repo.clone(), bench.root.clone()));
        let Some((repo, root)) = place else { return };
        let made = async {
            let git = self.workspaces.git().await?;
            let _no_sweep = self.making.read().await;
            let want = self.want(id, &root, SpareKind::Template, wanted);
            Ok::<Kept, Failure>(worktree::make_template(git, &repo, &want, &Direct).await?)
        };
        let made = made.await;
        if let Err(failure) = &made {
            tracing::info!(error = %failure, base = wanted.base, "there is no template");
        }
        let name = made.as_ref().ok().map(|kept| kept.name.clone());
        let made = made.map(|kept| (is_large(&repo, &kept), kept)).map_err(|failure| failure.message);
        let made = made.map(|(large, kept)| (kept, large));
        self.change(id, |shelf| shelf.end_template(made, Instant::now()));
        if let Some(name) = name {
            let _settled = self.examine(id, &name, Pace::full()).await;
        }
    }
}

/// True when a lane is made from the branch that the main checkout is on. Its commit may be another one as soon
/// as the lane is there: whoever looks then cannot tell any more where the lane came from.
fn is_of_checkout(repo: &Repository, order: &Order) -> bool {
    let branch = worktree::ref_of_checkout(repo);
    branch.is_some() && branch == order.base.target
}

/// Why no overlay can be where the trees of a workspace are, when that is asked for.
async fn no_overlay(backend: Backend, order: &Order) -> Option<String> {
    if backend != Backend::Overlay {
        return None;
    }
    let root = order.root.to_path_buf();
    match tokio::task::spawn_blocking(move || worktree::probe(&root)).await {
        Ok(Ok(())) => None,
        Ok(Err(WorktreeError::OverlayRefused { reason })) => Some(reason),
        Ok(Err(other)) => Some(other.to_string()),
        Err(_stopped) => Some("the runtime is stopping".to_owned()),
    }
}

/// A request while it is under way.
struct Request {
    stock: Arc<Stock>,
    id: WorkspaceId,
    wanted: Wanted,
}

impl Request {
    fn begin(stock: Arc<Stock>, id: WorkspaceId, wanted: Wanted, rules: Rules, follows: bool) -> Self {
        stock.with(id, |bench| {
            bench.shelf.asked(&wanted, Instant::now());
            bench.shelf.want(wanted.clone(), rules, Source::Request);
            bench.follows = follows;
        });
        Self { stock, id, wanted }
    }

    /// What happens next; what that takes is taken with the decision.
    fn decide(&self, asked: &mut Asked, has_turn: bool) -> Next {
        let now = Instant::now();
        let mut benches = self.stock.benches();
        self.stock.take_in(&mut benches);
        let Some(bench) = benches.get_mut(&self.id) else { return Next::Make(Way::Git, None, None) };
        let outside = self.stock.outside(bench);
        let view = bench.shelf.view(&outside, now);
        (asked.by_git, asked.template_failed) = bench.shelf.said_of(&self.wanted, now);
        match plan::way(asked, &view) {
            plan::Way::Pool { name, verify: true }
            | plan::Way::RetargetThenClaim { name, verify: true }
            | plan::Way::Copy { name, verify: true }
            | plan::Way::Overlay { name, verify: true } => Next::Look(name),
            plan::Way::Pool { name, verify: false } => {
                self.taken(&mut bench.shelf, &name, |kept| Next::Make(Way::Pool(kept), None, None))
            }
            plan::Way::RetargetThenClaim { name, verify: false } => {
                self.taken(&mut bench.shelf, &name, Next::Retarget)
            }
            plan::Way::Copy { .. } if !has_turn => Next::Turn,
            plan::Way::Copy { name, verify: false } => self.held(&mut bench.shelf, name, Way::Copy),
            plan::Way::Overlay { name, verify: false } => self.held(&mut bench.shelf, name, Way::Overlay),
            plan::Way::WaitForTemplate => {
                // One that is there but busy is looked at just now, or brought to its base.
                if !plan::is_coming(&self.wanted, &view) && bench.shelf.begin_template(&self.wanted) {
                    self.stock.begin_template(self.id, self.wanted.clone());
                }
                Next::Wait
            }
            plan::Way::WaitForLook => Next::Wait,
            plan::Way::Git(note) => {
                bench.shelf.begin_git(&self.wanted);
                let used = Use::Git(Arc::clone(&self.stock), self.id, self.wanted.clone());
                Next::Make(Way::Git, Some(used), note)
            }
            plan::Way::GiveUp(names) => {
                Next::GiveUp(names.iter().filter_map(|name| bench.shelf.take(name)).collect())
            }
            plan::Way::Refused(reason) => Next::Refused(reason),
        }
    }

    fn taken(&self, shelf: &mut Shelf, name: &str, then: impl FnOnce(Kept) -> Next) -> Next {
        shelf.take(name).map_or(Next::Wait, then)
    }

    fn held(&self, shelf: &mut Shelf, name: String, way: fn(Kept) -> Way) -> Next {
        match shelf.hold(&name) {
            Some(kept) => {
                let used = Use::Template(Arc::clone(&self.stock), self.id, name);
                Next::Make(way(kept), Some(used), None)
            }
            None => Next::Wait,
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.stock.change(self.id, Shelf::answered);
    }
}

/// What a request uses until its tree is there.
enum Use {
    /// git makes the tree: those who come meanwhile have a template made.
    Git(Arc<Stock>, WorkspaceId, Wanted),
    /// It is made from this template.
    Template(Arc<Stock>, WorkspaceId, String),
}

impl Drop for Use {
    fn drop(&mut self) {
        match self {
            Self::Git(stock, id, wanted) => stock.change(*id, |shelf| shelf.end_git(wanted)),
            Self::Template(stock, id, name) => stock.change(*id, |shelf| shelf.leave(name)),
        };
    }
}

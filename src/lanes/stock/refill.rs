//! The background of a stock: one job after the other, at a pace that nobody notices.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::examine;
use super::keep::{Bench, Stock, is_large};
use super::plan::{self, Job, State, Wanted, Why};
use super::shelf::{Source, Spoilt};
use super::weigh::Limits;
use crate::bus::{Actor, BoxFuture, Context};
use crate::config::Hook;
use crate::fault;
use crate::ids::WorkspaceId;
use crate::lanes::workspace::Workspace;
use crate::worktree::{self, Git, Kept, Pace, Repository, Spare, SpareKind, TrashEntry};

/// How often it is looked where the main checkout is, and whether there is room again.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The main checkout is followed for so long after the last lane.
const FOLLOWED: Duration = Duration::from_secs(60 * 60);

/// What the background has others do.
pub trait Hands: Send + Sync {
    /// Runs `pool.prepare` in a pooled tree and waits for its end; ends it when told to stop.
    ///
    /// # Errors
    /// How it failed, for people.
    fn prepare(
        &self,
        repo: Repository,
        kept: Kept,
        hook: Hook,
        stop: CancellationToken,
    ) -> BoxFuture<'_, Result<(), String>>;

    /// Ends what a runtime that was ended by force has left running.
    fn end_strays(&self) -> BoxFuture<'_, ()>;

    /// Has what was put into the trash saved.
    fn save(&self, entry: TrashEntry);
}

/// What the files look like that say where HEAD is: its own, that of its branch, the packed ones.
fn head_looks(common_dir: &Path) -> Vec<u8> {
    let mut looks = fs::read(common_dir.join("HEAD")).unwrap_or_default();
    let branch = looks.strip_prefix(b"ref: ").map(<[u8]>::trim_ascii_end);
    let branch = branch.map(|name| common_dir.join(OsStr::from_bytes(name)));
    looks.extend(branch.and_then(|path| fs::read(path).ok()).unwrap_or_default());
    if let Ok(packed) = fs::symlink_metadata(common_dir.join("packed-refs")) {
        for number in [packed.ino().cast_signed(), packed.mtime(), packed.mtime_nsec()] {
            looks.extend(number.to_le_bytes());
        }
    }
    looks
}

/// Does something until told to stop.
async fn unless_stopped<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = stop.cancelled() => None,
        done = work => Some(done),
    }
}

impl Stock {
    /// Takes up what lies in the repositories, and keeps every stock as it should be until told to stop. Begins
    /// when recovery has ended; never in safe mode. A job that is cut off leaves what the next start removes.
    pub async fn run(
        self: Arc<Self>,
        workspaces: Vec<(Arc<Workspace>, BTreeSet<PathBuf>)>,
        hands: &dyn Hands,
        stop: CancellationToken,
    ) {
        self.open();
        let take_up = async {
            hands.end_strays().await;
            for (workspace, roots) in workspaces {
                self.take_up(&workspace, roots).await;
            }
        };
        unless_stopped(&stop, take_up).await;
        while !stop.is_cancelled() {
            let next = async {
                let mut changed = self.subscribe();
                let job = self.next_job().await;
                if job.is_none() {
                    let _looked_anyway = tokio::time::timeout(LOOK_EVERY, changed.changed()).await;
                }
                job
            };
            match unless_stopped(&stop, next).await.flatten() {
                // Its command is ended before we are.
                Some((id, Job::Prepare(name))) => self.prepare(id, &name, hands, &stop).await,
                Some((id, job)) => {
                    let _done = unless_stopped(&stop, self.work(id, job, hands)).await;
                }
                None => {}
            }
        }
        self.stop.cancel();
        self.urgent.close();
        self.urgent.wait().await;
    }

    /// Removes what crashes left in a workspace, and takes up what is there.
    async fn take_up(&self, workspace: &Workspace, roots: BTreeSet<PathBuf>) {
        let Ok(config) = self.workspaces.config(&workspace.repo).await else { return };
        let limits = Limits::of(&config);
        for root in roots {
            self.sweep(&workspace.repo, root.clone()).await;
            let mut benches = self.benches();
            let bench = benches.entry(workspace.id);
            bench.or_insert_with(|| Bench::new(workspace.repo.clone(), root, limits)).swept = true;
        }
        self.look_for_spares(workspace.id).await;
        let Some(latest) = self.with(workspace.id, |bench| bench.shelf.latest()).flatten() else { return };
        let (Ok(git), Ok(settings)) = (self.workspaces.git().await, self.settings(&workspace.repo).await)
        else {
            return;
        };
        let at = (workspace.id, latest.base.as_str());
        if let Ok(rules) = self.rules(git, &workspace.repo, &config, &settings, at).await {
            let wanted = Wanted { print: settings.print.clone(), ..latest };
            self.change(workspace.id, |shelf| shelf.want(wanted, rules, Source::Found));
        }
    }

    async fn sweep(&self, repo: &Repository, root: PathBuf) {
        // Nothing is being made while this is held.
        let _alone = self.making.write().await;
        match worktree::sweep_spares(repo, &root, self.home.path(), &BTreeSet::new()).await {
            Ok(swept) if swept.stays.is_empty() => {}
            Ok(swept) => tracing::warn!(stays = ?swept.stays, "what is left of spares stays for now"),
            Err(error) => tracing::warn!(%error, "what is left of spares could not be looked for"),
        }
    }

    /// The next job of any workspace.
    async fn next_job(&self) -> Option<(WorkspaceId, Job)> {
        let ids: Vec<WorkspaceId> = self.benches().keys().copied().collect();
        for id in ids {
            self.follow(id).await;
            self.weigh(id).await;
            let job = self.job_of(id);
            if job != Job::Nothing {
                return Some((id, job));
            }
        }
        None
    }

    fn job_of(&self, id: WorkspaceId) -> Job {
        let mut benches = self.benches();
        self.take_in(&mut benches);
        let Some(bench) = benches.get_mut(&id) else { return Job::Nothing };
        let outside = self.outside(bench);
        let job = plan::next(&bench.shelf.view(&outside, Instant::now()));
        // Noted with the decision, so that nobody else begins the same.
        match (&job, bench.shelf.wanted().cloned()) {
            (Job::MakeTemplate, Some(wanted)) if !bench.shelf.begin_template(&wanted) => Job::Nothing,
            _decided => job,
        }
    }

    /// Finds out where spares are to be: at the base of the last lane, and with the main checkout when that lane
    /// was made from where it was.
    async fn follow(&self, id: WorkspaceId) {
        let known = self.with(id, |bench| {
            let wanted = bench.shelf.wanted().cloned()?;
            let used = bench.shelf.unused(Instant::now()) < FOLLOWED;
            Some((bench.repo.clone(), wanted, bench.follows, used, bench.swept, bench.root.clone()))
        });
        self.look_for_laid(id).await;
        let Some((repo, wanted, follows, used, swept, root)) = known.flatten() else { return };
        if !swept {
            self.sweep(&repo, root).await;
            self.with(id, |bench| bench.swept = true);
        }
        let Ok(git) = self.workspaces.git().await else { return };
        let head = if used { self.head_of(id, git, &repo).await } else { None };
        let is_there = head.as_ref() == Some(&wanted.base);
        let base = head.filter(|_| follows).unwrap_or_else(|| wanted.base.clone());
        let (Ok(settings), Ok(config)) = (self.settings(&repo).await, self.workspaces.config(&repo).await)
        else {
            return;
        };
        let Ok(rules) = self.rules(git, &repo, &config, &settings, (id, &base)).await else { return };
        let now = Wanted { base, print: settings.print.clone() };
        self.with(id, |bench| {
            // A lane may have been asked for meanwhile.
            if bench.shelf.wanted() == Some(&wanted) {
                bench.follows |= is_there;
                bench.shelf.want(now, rules, Source::Checkout);
            }
            bench.limits = Limits::of(&config);
        });
    }

    /// Where the main checkout is now; git is asked when a file that says so has changed.
    async fn head_of(&self, id: WorkspaceId, git: &Git, repo: &Repository) -> Option<String> {
        let looks = head_looks(&repo.common_dir);
        let known = self.with(id, |bench| bench.head.clone()).flatten();
        if let Some((_looks, base)) = known.filter(|(then, _base)| *then == looks) {
            return Some(base);
        }
        let place = repo.main_tree.clone().unwrap_or_else(|| repo.common_dir.clone());
        let base = worktree::resolve_base(git, repo, &place, None).await.ok()?.sha;
        self.with(id, |bench| bench.head = Some((looks, base.clone())));
        Some(base)
    }

    async fn work(&self, id: WorkspaceId, job: Job, hands: &dyn Hands) {
        tracing::debug!(workspace = %id, ?job, "the stock");
        fault::pass("stock.job");
        match job {
            Job::Nothing | Job::Prepare(_) => {}
            Job::MakeTemplate => {
                if let Some(wanted) = self.with(id, |bench| bench.shelf.making().cloned()).flatten() {
                    self.make_template(id, &wanted).await;
                }
            }
            Job::Refill(from) => self.refill(id, &from).await,
            Job::Retarget(name) => self.bring_after(id, &name).await,
            Job::Drop(name, why) => self.give_up(id, &name, why).await,
            Job::Verify(name) => {
                let _settled = self.examine(id, &name, self.pace.clone()).await;
            }
            Job::SetAside(name) => self.put_aside(id, &name, hands).await,
        }
        self.tell();
    }

    async fn refill(&self, id: WorkspaceId, from: &str) {
        let begun = self.with(id, |bench| {
            let template = bench.shelf.hold(from)?;
            Some((bench.repo.clone(), bench.root.clone(), template))
        });
        let Some((repo, root, template)) = begun.flatten() else { return };
        let is = Wanted { base: template.spare.base.clone(), print: template.spare.print.clone() };
        let made = {
            let _no_sweep = self.making.read().await;
            let want = self.want(id, &root, SpareKind::Pooled, &is);
            worktree::make_pooled(&repo, &template, &want, self.pace.clone()).await
        };
        let now = Instant::now();
        self.change(id, |shelf| {
            shelf.leave(from);
            match made {
                Ok(kept) => {
                    let large = is_large(&repo, &kept);
                    shelf.put(kept, State::Unverified, large, now);
                    shelf.refilled();
                }
                Err(error) => {
                    tracing::warn!(%error, "the pool could not be refilled");
                    shelf.refill_failed(now);
                    // It may be the template that is not as it was made.
                    shelf.suspect(Some(from));
                }
            }
        });
    }

    /// Brings a spare to where it is wanted.
    async fn bring_after(&self, id: WorkspaceId, name: &str) {
        let begun = self.with(id, |bench| {
            let to = bench.shelf.wanted()?.base.clone();
            let kept = bench.shelf.begin(name, State::Busy)?;
            Some((bench.repo.clone(), kept, to))
        });
        let Some((repo, kept, to)) = begun.flatten() else { return };
        self.watch.remove(name);
        let brought = self.retargeted(&repo, &kept, &to).await;
        let is_there = kept.tree().is_dir();
        self.change(id, |shelf| match brought {
            Some(kept) => {
                let large = is_large(&repo, &kept);
                shelf.put(kept, State::Unverified, large, Instant::now());
            }
            None if is_there => {
                shelf.stick(name);
                // Nobody watched it meanwhile.
                shelf.settle(name, State::Unverified);
            }
            None => shelf.forget(name),
        });
    }

    /// Removes a spare when it is as it was made.
    async fn give_up(&self, id: WorkspaceId, name: &str, why: Why) {
        let state = self.with(id, |bench| bench.shelf.state(name)).flatten();
        if state == Some(State::Unwatched) && self.examine(id, name, self.pace.clone()).await != Some(true) {
            return;
        }
        let taken = self.with(id, |bench| Some((bench.shelf.take(name)?, bench.repo.clone())));
        let Some((kept, repo)) = taken.flatten() else { return };
        tracing::info!(spare = name, why = why.name(), "a spare is given up");
        self.remove(&repo, &kept, self.pace.clone()).await;
        self.change(id, |shelf| shelf.done(name));
    }

    /// Puts a tree that somebody worked in into the trash.
    async fn put_aside(&self, id: WorkspaceId, name: &str, hands: &dyn Hands) {
        let taken = self.with(id, |bench| Some((bench.shelf.take(name)?, bench.repo.clone())));
        let Some((kept, repo)) = taken.flatten() else { return };
        self.watch.remove(name);
        let Ok(git) = self.workspaces.git().await else { return };
        match worktree::set_aside(git, &repo, &kept).await {
            Ok(entry) => {
                self.change(id, |shelf| shelf.done(name));
                let path = kept.tree().display().to_string();
                let payload = json!({ "path": path, "trash": entry.order.lane_id });
                let mut draft = Context::new(Actor::lanes()).draft("lane.worktree.set_aside", payload);
                draft.workspace_id = Some(id);
                if let Err(failure) = self.bus.publish(draft).await {
                    tracing::warn!(error = %failure, "that a tree was set aside was not written down");
                }
                hands.save(entry);
            }
            Err(error) => tracing::warn!(%error, spare = name, "a tree that somebody worked in stays"),
        }
        // What could not be set aside stays off the shelf until the next start.
    }

    /// Runs `pool.prepare` in a tree. While it does, the tree is no spare: a crash leaves what is swept.
    async fn prepare(&self, id: WorkspaceId, name: &str, hands: &dyn Hands, stop: &CancellationToken) {
        let begun = self.with(id, |bench| {
            let print = bench.shelf.rules().prepare.clone()?;
            let kept = bench.shelf.begin(name, State::Busy)?;
            Some((bench.repo.clone(), kept, print))
        });
        let Some((repo, kept, print)) = begun.flatten() else { return };
        let hook = self.workspaces.config(&repo).await.ok().and_then(|config| config.pool.prepare);
        let Some(hook) = hook else {
            self.change(id, |shelf| shelf.settle(name, State::Unverified));
            return;
        };
        self.watch.remove(name);
        let _no_sweep = self.making.read().await;
        let admin = kept.admin(&repo);
        let spare = |ready, prepared| Spare { ready, prepared, ..kept.spare.clone() };
        let ran = match worktree::write_spare(&admin, &spare(false, None)) {
            Ok(()) => hands.prepare(repo.clone(), kept.clone(), hook, stop.clone()).await,
            Err(error) => Err(error.to_string()),
        };
        if stop.is_cancelled() {
            return;
        }
        let said = match ran {
            Ok(()) => self.why_not_clean(&repo, &kept).await,
            Err(said) => Some(said),
        };
        let now = spare(true, Some(print.clone()));
        let said = match said {
            None => worktree::write_spare(&admin, &now).err().map(|error| error.to_string()),
            Some(said) => Some(said),
        };
        match said {
            None => self.change(id, |shelf| {
                shelf.spoil(None);
                let kept = Kept { spare: now, ..kept.clone() };
                let large = is_large(&repo, &kept);
                shelf.put(kept, State::Unverified, large, Instant::now());
            }),
            Some(said) => {
                let note = format!("pool.prepare failed, so this tree is not prepared: {said}");
                self.tell_failed(id, &said).await;
                self.remove(&repo, &kept, Pace::full()).await;
                self.change(id, |shelf| {
                    shelf.forget(name);
                    shelf.spoil(Some(Spoilt { fingerprint: print, note }));
                })
            }
        };
        self.tell();
    }

    /// What the command has left that a lane would show as changed. The rest is noted, so that nobody can alter
    /// it unseen.
    async fn why_not_clean(&self, repo: &Repository, kept: &Kept) -> Option<String> {
        let git = match self.workspaces.git().await {
            Ok(git) => git,
            Err(failure) => return Some(failure.message),
        };
        match examine::is_clean(git, repo, kept).await {
            Ok(true) => {
                let noted = worktree::note_prepared(git, repo, kept, &self.pace).await;
                noted.err().map(|error| error.to_string())
            }
            Ok(false) => {
                Some("it changed tracked files, or left some that .gitignore does not name".to_owned())
            }
            Err(error) => Some(error.to_string()),
        }
    }

    async fn tell_failed(&self, id: WorkspaceId, said: &str) {
        let mut draft =
            Context::new(Actor::lanes()).draft("lane.worktree.prepare_failed", json!({ "reason": said }));
        draft.workspace_id = Some(id);
        if let Err(failure) = self.bus.publish(draft).await {
            tracing::warn!(error = %failure, "that pool.prepare failed was not written down");
        }
    }
}

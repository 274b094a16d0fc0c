//! The owner of a home: the one process that decides for its lanes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::blocking::{blocking, stopping};
use super::orphans::Watch;
use super::safe_mode;
use crate::api::{self, LaneView, Method};
use crate::bus::{Actor, Bus, Context, Draft, Hub};
use crate::config;
use crate::failure::{Code, Failure};
use crate::fault;
use crate::home::Home;
use crate::ids::WorkspaceId;
use crate::lanes::lane::Lane;
use crate::lanes::machine::Input;
use crate::lanes::table::State;
use crate::lanes::workspace::Workspaces;
use crate::lanes::{Live, Registry};
use crate::store::{OwnerLock, Retention, Store};
use crate::task::Launcher;
use crate::worktree::{self, Repository};

/// The owner of a home.
pub(crate) struct Owner {
    pub(super) home: Home,
    pub(super) bus: Bus,
    pub(super) registry: Registry,
    pub(super) live: Arc<Live>,
    pub(super) workspaces: Arc<Workspaces>,
    pub(super) background: TaskTracker,
    /// Cancelled when somebody asks the runtime to stop.
    pub(super) stop: CancellationToken,
    pub(super) started: Instant,
    /// When a request last came, in milliseconds after `started`.
    asked_ms: AtomicU64,
    /// After so long without a request, an open lane's transition or a live task, the runtime ends.
    idle_exit: Option<Duration>,
    pub(super) boot_id: String,
    pub(super) watch: Watch,
    /// Why nothing new is started, and nothing done without being asked.
    pub(super) safe_mode: Option<String>,
    /// What was found when it started, for people.
    pub(super) notes: Vec<String>,
    /// Held while recovery runs: two at once would see what the other is at as left behind.
    pub(super) recovering: tokio::sync::Mutex<()>,
    /// The workspaces that recovery has looked at.
    pub(super) recovered: std::sync::Mutex<BTreeSet<WorkspaceId>>,
    store: Arc<Store>,
    /// Held until the end; the flock on it is what makes us the owner.
    _lock: OwnerLock,
}

impl Owner {
    /// Opens the store, takes up what is there, registers the methods. The caller holds the lock.
    pub(super) async fn open(
        options: &super::Options,
        home: Home,
        lock: OwnerLock,
    ) -> Result<Arc<Self>, Failure> {
        let hub = Hub::new();
        let settings = config::load(None, options.user_config.as_deref(), false)?.config;
        let retention = Retention { age: settings.events.keep, ..Retention::default() };
        let stop = CancellationToken::new();
        let (locked, leave) = (lock.place()?, stop.clone());
        let owned = move || {
            // What cannot be looked at is not gone.
            let ours = locked.is_held().unwrap_or(true);
            if !ours {
                tracing::error!("the state folder was taken away; this runtime leaves it to the next owner");
                leave.cancel();
            }
            ours
        };
        let (store, opened) = Store::open_with(home.store(), hub.clone(), retention, Box::new(owned))?;
        fault::at("daemon.opened")?;
        let mut notes = Vec::new();
        if let Some(aside) = &opened.moved_aside {
            notes.push(format!(
                "the store was damaged; it lies at {} now, and was rebuilt from what exists",
                aside.display()
            ));
        }
        if opened.created && opened.moved_aside.is_none() && home.has_workspaces() {
            notes.push("the store was not there; it was rebuilt from what exists".to_owned());
        }
        let safe_mode = safe_mode::reason(lock.holder(), settings.daemon.crash_limit);
        if let Some(reason) = &safe_mode {
            notes.push(format!(
                "safe mode: {reason}; nothing new is started, `lanes daemon restart` leaves it"
            ));
        }
        let store = Arc::new(store);
        let bus = Bus::new(Arc::clone(&store) as Arc<dyn crate::bus::Journal>, hub);
        let workspaces = Arc::new(Workspaces::new(
            home.clone(),
            bus.clone(),
            options.user_config.clone(),
            options.git.clone(),
        ));
        let launcher = Launcher::new(options.keeper.clone(), home.path());
        let live = Arc::new(Live::new(
            home.clone(),
            bus.clone(),
            Arc::clone(&workspaces),
            launcher,
            options.open_files_soft,
        ));
        let registry = Registry::new(bus.clone(), Arc::clone(&live) as Arc<dyn crate::lanes::World>);
        let owner = Arc::new(Self {
            home,
            bus,
            registry,
            live,
            workspaces,
            background: TaskTracker::new(),
            stop,
            started: Instant::now(),
            asked_ms: AtomicU64::new(0),
            idle_exit: settings.daemon.idle_exit,
            boot_id: crate::task::boot_id(),
            watch: Watch::new(&settings.watchdog),
            safe_mode,
            notes,
            recovering: tokio::sync::Mutex::new(()),
            recovered: std::sync::Mutex::default(),
            store,
            _lock: lock,
        });
        owner.register_all();
        let context = Context::new(Actor::lanes());
        owner.live.tidy_groups().await;
        owner.recover(owner.extent(), &context).await?;
        let payload =
            json!({ "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"), "notes": owner.notes });
        owner.mention(context.draft("daemon.started", payload)).await?;
        owner.tell_safe_mode(true, &context).await?;
        owner.spawn_background();
        Ok(owner)
    }

    /// Tells what nothing else depends on: that it cannot be written down on a full disk must not keep what
    /// can be done there from being done, such as freeing some.
    ///
    /// # Errors
    /// What the journal says, but for `DISK_LOW`.
    pub(super) async fn mention(&self, draft: Draft) -> Result<(), Failure> {
        match self.bus.publish(draft).await {
            Err(failure) if failure.code == Code::DiskLow => {
                tracing::warn!(error = %failure, "an event is missing");
                Ok(())
            }
            told => told.map(drop),
        }
    }

    /// Serves the socket of the home until the runtime stops.
    #[cfg(feature = "serve")]
    pub(super) fn serve(self: &Arc<Self>) -> Result<super::facade::Server, Failure> {
        use crate::daemon::{ServeOptions, Socket, serve};
        fault::at("daemon.serve")?;
        let mut options = ServeOptions::new(Socket::bind(self.home.path())?, self.bus.clone());
        options.capabilities = self.bus.methods().into_iter().map(str::to_owned).collect();
        let owner = Arc::downgrade(self);
        options.peer_lane = Arc::new(move |pid| owner.upgrade()?.lane_of_process(pid));
        let owner = Arc::downgrade(self);
        options.resolve_lane = Arc::new(move |words, _context| {
            let owner = owner.clone();
            Box::pin(async move { Ok(owner.upgrade().ok_or_else(stopping)?.find(&words).await?.lane().id) })
        });
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(options, stop.clone()));
        fault::pass("daemon.serving");
        Ok(super::facade::Server { until: stop.drop_guard(), serving })
    }

    /// The open lane whose keeper a process descends from.
    #[cfg(feature = "serve")]
    fn lane_of_process(&self, pid: i32) -> Option<crate::ids::LaneId> {
        let task = crate::task::peer_lane(u32::try_from(pid).ok()?, self.home.path())?;
        let lanes = self.registry.all();
        let known =
            lanes.iter().find(|handle| handle.lane().tasks.contains_key(&task)).map(crate::lanes::Handle::id);
        known
            .or_else(|| crate::task::read_identity(&self.home.run_dir(task)).map(|identity| identity.lane_id))
    }

    fn spawn_background(self: &Arc<Self>) {
        let live = Arc::clone(&self.live);
        let stop = self.stop.clone();
        self.background.spawn(async move { live.save_in_background(stop).await });
        if self.safe_mode.is_none() {
            let (owner, stop) = (Arc::downgrade(self), self.stop.clone());
            self.background.spawn(async move { expire(owner, stop).await });
            self.start_stock();
            self.start_watchdog();
        }
        if let Some(limit) = self.idle_exit {
            let (owner, stop) = (Arc::downgrade(self), self.stop.clone());
            self.background.spawn(async move { end_when_idle(owner, stop, limit).await });
        }
    }

    /// Keeps spares, once recovery has ended.
    fn start_stock(self: &Arc<Self>) {
        let (owner, live, stop) = (Arc::downgrade(self), Arc::clone(&self.live), self.stop.clone());
        self.background.spawn(async move {
            let mut known = Vec::new();
            if let Some(owner) = owner.upgrade() {
                for workspace in owner.workspaces.all() {
                    owner.undo_half_claimed(&workspace.repo).await;
                    let roots = owner.roots_of(&workspace).await.unwrap_or_default();
                    known.push((workspace, roots));
                }
            }
            live.keep_stock(known, stop).await;
        });
    }

    /// Undoes claims that were cut off and that no record is of, after the store was lost: nobody was told of these
    /// lanes. Those of which there is one are undone by recovery.
    async fn undo_half_claimed(&self, repo: &Repository) {
        let Ok(git) = self.workspaces.git().await else { return };
        let looked_at = repo.clone();
        let found = tokio::task::spawn_blocking(move || worktree::half_claimed(&looked_at)).await;
        for order in found.unwrap_or_default() {
            if order.home.as_path() != self.home.path() || self.registry.get(order.lane_id).is_some() {
                continue;
            }
            if let Err(error) = worktree::undo(git, repo, &order).await {
                tracing::warn!(%error, lane = %order.lane_id, "a claim that was cut off is not undone");
            }
        }
    }

    fn asked_now(&self) {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.asked_ms.store(ms, Ordering::Relaxed);
    }

    /// True when nobody has asked for anything for so long as `daemon.idle_exit` says, no task is live and
    /// no lane is on its way.
    fn is_idle(&self) -> bool {
        let Some(limit) = self.idle_exit else { return false };
        let quiet = self
            .started
            .elapsed()
            .saturating_sub(Duration::from_millis(self.asked_ms.load(Ordering::Relaxed)));
        let still = |lane: &Lane| {
            lane.live_tasks().next().is_none()
                && !matches!(lane.state(), State::New | State::Provisioning | State::Cleaning)
        };
        quiet >= limit && self.registry.all().iter().all(|handle| still(&handle.lane()))
    }

    /// Refuses, cancels, waits, aborts. Lanes and their tasks go on.
    pub(super) async fn shut_down(&self) {
        fault::pass("daemon.stop");
        self.stop.cancel();
        self.bus.close_calls();
        self.registry.stop().await;
        self.background.close();
        self.background.wait().await;
        let context = Context::new(Actor::lanes());
        if let Err(failure) = self.tell_safe_mode(false, &context).await {
            tracing::warn!(error = %failure, "the end of safe mode was not written down");
        }
        let stopped = context.draft("daemon.stopped", json!({ "pid": std::process::id() }));
        if let Err(failure) = self.bus.publish(stopped).await {
            tracing::warn!(error = %failure, "the end was not written down");
        }
        self.bus.close();
        fault::pass("daemon.stopped");
        let store = Arc::clone(&self.store);
        let _ended = blocking(move || store.close()).await;
    }

    /// A lane as users see it, with what only the runtime knows.
    pub(super) fn view(&self, lane: &Lane) -> LaneView {
        let mut view = lane.view();
        if let Some(workspace) = self.workspaces.by_id(lane.workspace_id()) {
            view.repo = workspace.place().into();
        }
        view.guarantees = self.live.guarantees(lane);
        view.last_output_at = self.live.last_output(lane);
        view
    }

    /// Refuses what a process of a lane asks of others, against accidents of agents: its own lane and the
    /// lanes it made are its own business, the rest is not, unless the user granted it.
    pub(super) fn guard(&self, context: &Context, target: Option<&Lane>, what: &str) -> Result<(), Failure> {
        let Some(from) = context.from_lane else { return Ok(()) };
        let granted = self.registry.get(from).is_some_and(|handle| handle.lane().grant_all);
        let own = target.is_some_and(|lane| lane.id == from || lane.created_by == Some(from));
        if granted || own {
            return Ok(());
        }
        let whose = target.map_or_else(|| "every lane".to_owned(), |lane| format!("lane {}", lane.name()));
        Err(Failure::new(
            Code::NotYourLane,
            format!("a process in lane {} may not {what} {whose}", self.name_of(from)),
        )
        .hint("ask the user to do it, or to make the lane with: lanes create --grant all"))
    }

    fn name_of(&self, id: crate::ids::LaneId) -> String {
        self.registry.get(id).map_or_else(|| id.to_string(), |handle| handle.lane().name().to_owned())
    }

    fn register<M, F, R>(self: &Arc<Self>, handler: F)
    where
        M: Method,
        F: Fn(Arc<Self>, M::Params, Context) -> R + Send + Sync + 'static,
        R: Future<Output = Result<M::Reply, Failure>> + Send + 'static,
    {
        let owner: Weak<Self> = Arc::downgrade(self);
        let handler = Arc::new(handler);
        let answer = move |params: Value,
                           context: Context|
              -> crate::bus::BoxFuture<'static, Result<Value, Failure>> {
            let (owner, handler) = (owner.clone(), Arc::clone(&handler));
            Box::pin(async move {
                let owner = owner.upgrade().ok_or_else(stopping)?;
                owner.asked_now();
                let params = serde_json::from_value(params).map_err(|error| {
                    Failure::new(
                        Code::ValidationError,
                        format!("the parameters of {} are wrong: {error}", M::NAME),
                    )
                    .hint("lanes api schema shows what it takes")
                })?;
                let reply = handler(owner, params, context).await?;
                serde_json::to_value(reply).map_err(|error| {
                    Failure::new(
                        Code::HandlerError,
                        format!("the reply of {} cannot be written: {error}", M::NAME),
                    )
                })
            })
        };
        self.bus.register(M::NAME, Arc::new(answer)).expect("invariant: each method is registered once");
    }

    fn register_all(self: &Arc<Self>) {
        self.register::<api::DaemonHello, _, _>(|o, p, c| async move { o.hello(p, c).await });
        self.register::<api::DaemonStatus, _, _>(|o, p, c| async move { o.status(p, c).await });
        self.register::<api::DaemonStop, _, _>(|o, p, c| async move { o.stop_asked(p, c).await });
        self.register::<api::LaneCreate, _, _>(|o, p, c| async move { o.create(p, c).await });
        self.register::<api::LaneList, _, _>(|o, p, c| async move { o.list(p, c).await });
        self.register::<api::LaneGet, _, _>(|o, p, c| async move { o.get(p, c).await });
        self.register::<api::LaneCleanup, _, _>(|o, p, c| async move { o.cleanup(p, c).await });
        self.register::<api::LaneRestore, _, _>(|o, p, c| async move { o.restore(p, c).await });
        self.register::<api::LaneRevive, _, _>(|o, p, c| async move { o.revive(p, c).await });
        self.register::<api::LaneShare, _, _>(|o, p, c| async move { o.apply(&p, Input::Share, c).await });
        self.register::<api::LaneUnshare, _, _>(
            |o, p, c| async move { o.apply(&p, Input::Unshare, c).await },
        );
        self.register::<api::LaneJoin, _, _>(|o, p, c| async move { o.join(p, c).await });
        self.register::<api::LaneLeave, _, _>(|o, p, c| async move { o.leave(p, c).await });
        self.register::<api::LaneBlock, _, _>(|o, p, c| async move { o.block(p, c).await });
        self.register::<api::LaneUnblock, _, _>(
            |o, p, c| async move { o.apply(&p, Input::Unblock, c).await },
        );
        self.register::<api::LaneWait, _, _>(|o, p, c| async move { o.wait(p, c).await });
        self.register::<api::TaskExec, _, _>(|o, p, c| async move { o.exec(p, c).await });
        self.register::<api::TaskAttach, _, _>(|o, p, c| async move { o.attach(p, c).await });
        self.register::<api::TaskBeat, _, _>(|o, p, c| async move { o.beat(p, c).await });
        self.register::<api::TaskGet, _, _>(|o, p, c| async move { o.task_get(p, c).await });
        self.register::<api::TaskInput, _, _>(|o, p, c| async move { o.input(p, c).await });
        self.register::<api::TaskResize, _, _>(|o, p, c| async move { o.resize(p, c).await });
        self.register::<api::TaskSignal, _, _>(|o, p, c| async move { o.signal(p, c).await });
        self.register::<api::TaskKill, _, _>(|o, p, c| async move { o.kill(p, c).await });
        self.register::<api::TaskLogs, _, _>(|o, p, c| async move { o.logs(p, c).await });
        self.register::<api::TaskDetach, _, _>(|o, p, c| async move { o.detach(p, c).await });
        self.register::<api::EventReplay, _, _>(|o, p, c| async move { o.replay(p, c).await });
        self.register::<api::StateSnapshot, _, _>(|o, p, c| async move { o.snapshot(p, c).await });
        self.register::<api::TrashList, _, _>(|o, p, c| async move { o.trash_list(p, c).await });
        self.register::<api::TrashEmpty, _, _>(|o, p, c| async move { o.trash_empty(p, c).await });
        self.register::<api::Gc, _, _>(|o, p, c| async move { o.gc(p, c).await });
        self.register::<api::OrphanList, _, _>(|o, p, c| async move { o.orphan_list(p, c).await });
        self.register::<api::OrphanConfirm, _, _>(|o, p, c| async move { o.orphan_confirm(p, c).await });
        self.register::<api::OrphanDecline, _, _>(|o, p, c| async move { o.orphan_decline(p, c).await });
        self.register::<api::Reconcile, _, _>(|o, p, c| async move { o.reconcile(p, c).await });
        self.register::<api::Trust, _, _>(|o, p, c| async move { o.trust(p, c).await });
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop.cancel();
        self.registry.cancel();
        self.bus.close();
    }
}

/// How often the trash is looked through for what is past its time.
const EXPIRE_EVERY: Duration = Duration::from_secs(6 * 60 * 60);

/// Stops the runtime once it is idle; looks a few times in each limit.
async fn end_when_idle(owner: Weak<Owner>, stop: CancellationToken, limit: Duration) {
    let mut every = tokio::time::interval((limit / 4).max(Duration::from_millis(100)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _tick = every.tick() => {}
        }
        let Some(owner) = owner.upgrade() else { return };
        if owner.is_idle() {
            tracing::info!("nobody has asked for anything, the runtime ends");
            stop.cancel();
        }
    }
}

async fn expire(owner: Weak<Owner>, stop: CancellationToken) {
    let mut every = tokio::time::interval(EXPIRE_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _tick = every.tick() => {}
        }
        let Some(owner) = owner.upgrade() else { return };
        for workspace in owner.workspaces.all() {
            if let Err(failure) = owner.expire_trash(&workspace).await {
                tracing::warn!(error = %failure, workspace = %workspace.id, "the trash could not be looked through");
            }
        }
    }
}

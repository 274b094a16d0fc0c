//! The real world of lanes: git, keepers, files. The only place of `lanes` that knows they exist.

mod agent_link;
mod changes;
mod clean;
mod environment;
mod hooks;
mod limits;
mod liveness;
mod painter;
mod prepare;
mod room;
mod save;
mod screens;
mod start;
mod tree;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use self::liveness::Heart;
use self::painter::Painter;
use super::lane::{Lane, Lost, Stage, Task};
use super::machine::Input;
use super::stock::Stock;
use super::workspace::{Workspace, Workspaces};
use super::world::{Launch, Retired, Tell, World};
use crate::api::LaneView;
use crate::bus::{BoxFuture, Bus, Context};
use crate::cgroup::Control;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::failure::{Code, Failure};
use crate::home::Home;
use crate::ids::{LaneId, TaskId};
use crate::keeper::{Exit, Identity};
use crate::task::{self, Launcher, Link, Recipe, Sought};
use crate::worktree::{self, Changes, Emptied, Order, Pace, Repository, Saved, TrashEntry, Tree};

/// How many retired trees may wait for their saving; more are found by the next start.
const SAVES: usize = 4096;
/// How many lanes are counted at once in the background: each takes several calls of git, and a list of
/// fifty lanes asks for all of them.
const COUNTS: usize = 2;
/// A list of what a keeper holds is shown without it when it takes longer.
const SHOWN_WITHIN: Duration = Duration::from_secs(1);

struct Shared {
    home: Home,
    bus: Bus,
    workspaces: Arc<Workspaces>,
    launcher: Launcher,
    control: Control,
    /// The soft limit of open files that commands get back, when the runtime has raised its own.
    open_files_soft: Option<u64>,
    hearts: DashMap<TaskId, Arc<Heart>>,
    counted: DashMap<LaneId, Instant>,
    counts: Semaphore,
    saves: mpsc::Sender<TrashEntry>,
    pace: Pace,
    painter: Painter,
    stock: Arc<Stock>,
}

/// The real world of lanes.
pub struct Live {
    shared: Arc<Shared>,
    to_save: tokio::sync::Mutex<mpsc::Receiver<TrashEntry>>,
}

impl Live {
    /// The world of a home.
    ///
    /// `open_files_soft` is the soft limit that commands get back, when the runtime has raised its own.
    pub fn new(
        home: Home,
        bus: Bus,
        workspaces: Arc<Workspaces>,
        launcher: Launcher,
        open_files_soft: Option<u64>,
    ) -> Self {
        let control = Control::look(home.path());
        let (saves, to_save) = mpsc::channel(SAVES);
        let pace = Pace::background();
        let stock = Stock::new(home.clone(), bus.clone(), Arc::clone(&workspaces), pace.clone());
        let stock = Arc::new(stock);
        let (counted, counts) = (DashMap::new(), Semaphore::new(COUNTS));
        let hearts = DashMap::new();
        let shared = Shared {
            hearts,
            home,
            bus,
            workspaces,
            launcher,
            control,
            open_files_soft,
            counted,
            counts,
            saves,
            pace,
            painter: Painter::default(),
            stock,
        };
        Self { shared: Arc::new(shared), to_save: tokio::sync::Mutex::new(to_save) }
    }

    /// When a live task of the lane last wrote something, from the time stamp of its log.
    pub fn last_output(&self, lane: &Lane) -> Option<Timestamp> {
        lane.tasks.values().filter_map(|task| task::last_output(task.log_dir.as_path())).max()
    }

    /// Counts the lane's changes for somebody who waits for it.
    ///
    /// # Errors
    /// What git says.
    pub async fn count_now(&self, lane: &Lane) -> Result<(Option<String>, Changes), Failure> {
        self.shared.count(lane).await
    }

    /// How long ago the lane's changes were counted.
    pub fn counted_ago(&self, lane: LaneId) -> Option<Duration> {
        self.shared.counted.get(&lane).map(|at| at.elapsed())
    }

    /// Puts the processes that outlived their command into a view.
    pub async fn fill_descendants(&self, lane: &Lane, view: &mut LaneView) {
        for seen in &mut view.tasks {
            let Some(task) = lane.tasks.get(&seen.id).filter(|task| task.stage == Stage::Lingering) else {
                continue;
            };
            let asked = async { Link::connect(task.run_dir.as_path()).await?.status().await };
            match tokio::time::timeout(SHOWN_WITHIN, asked).await {
                Ok(Ok(report)) => {
                    seen.descendants = report.descendants.iter().map(|member| member.pid).collect();
                }
                Ok(Err(_it_left)) => {}
                Err(_unanswered) => self.suspect(task.id),
            }
        }
    }

    /// Ends one task with its whole tree, gently first.
    ///
    /// # Errors
    /// `BUSY` when something of it cannot be ended.
    pub async fn stop_task(&self, lane: &Lane, task: &Task) -> Result<(), Failure> {
        let config = self.shared.config(lane).await;
        watch::stop(task, &config).await.map(drop)
    }

    /// Ends a task that belongs to no open lane.
    ///
    /// # Errors
    /// `BUSY` when something of it cannot be ended.
    pub async fn end_stray(&self, task: &Task) -> Result<(), Failure> {
        watch::stop(task, &Config::default()).await.map(drop)
    }

    /// What cleanup would do, for people.
    pub async fn foretell(&self, lane: &Lane) -> Vec<String> {
        self.shared.foretell(lane).await
    }

    /// True when the lane's tip is elsewhere too and its tree is clean.
    ///
    /// # Errors
    /// What git says.
    pub async fn is_merged_and_clean(&self, lane: &Lane) -> Result<bool, Failure> {
        let (_head, changes) = self.shared.count(lane).await?;
        Ok(changes.files == 0
            && !self.shared.locked_by_somebody(lane).await?
            && self.shared.merged(lane).await?)
    }

    /// The pace of what is done in the background: refills, saving and freeing share it.
    pub fn pace(&self) -> &Pace {
        &self.shared.pace
    }

    /// Frees trash for good, with the recorded output of its lanes: of each root, the entries of these lanes.
    /// Says which are gone, which stayed and what could not be freed.
    ///
    /// # Errors
    /// What the file system and git say.
    pub async fn empty_trash(
        &self,
        repo: &Repository,
        due: &BTreeMap<PathBuf, Vec<LaneId>>,
        pace: &Pace,
    ) -> Result<Emptied, Failure> {
        let git = self.shared.workspaces.git().await?;
        let mut all = Emptied::default();
        for (root, ids) in due {
            let emptied = worktree::empty(git, repo, root, ids, pace).await?;
            for id in &emptied.lanes {
                self.shared.forget_logs(*id).await;
            }
            all.lanes.extend(emptied.lanes);
            all.freed += emptied.freed;
            all.stayed.extend(emptied.stayed);
            all.left.extend(emptied.left);
        }
        Ok(all)
    }

    /// Retires the tree of an order whose lane is not open, and has it saved.
    ///
    /// # Errors
    /// What the file system and git say; it may be repeated.
    pub async fn retire(&self, repo: &Repository, order: &Order, tree: &Tree) -> Result<(), Failure> {
        let entry = worktree::retire(self.shared.workspaces.git().await?, repo, order, tree).await?;
        if entry.saved == Saved::Pending {
            self.save_later(entry);
        }
        Ok(())
    }

    /// Removes the recorded output of lanes whose trash was emptied by a call that was cut off.
    pub async fn forget_logs(&self, lane: LaneId) {
        self.shared.forget_logs(lane).await;
    }

    /// The lanes of which there is recorded output.
    pub fn logged(&self) -> BTreeSet<LaneId> {
        let folder = std::fs::read_dir(self.shared.home.logs()).into_iter().flatten().flatten();
        folder.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// Has a retired tree saved in the background.
    pub fn save_later(&self, entry: TrashEntry) {
        self.shared.save_later(entry);
    }

    /// Saves and frees a retired tree for somebody who waits.
    pub async fn save_now(&self, entry: TrashEntry) {
        let _somebody_waits = self.shared.pace.hurry();
        self.shared.save(entry).await;
    }

    /// Starts keepers.
    pub fn launcher(&self) -> &Launcher {
        &self.shared.launcher
    }

    /// The trees that no lane has yet.
    pub fn stock(&self) -> &Stock {
        &self.shared.stock
    }

    /// Keeps the stock of every workspace as it should be, until told to stop; begun when recovery has ended.
    /// With each workspace come the folders of its trees.
    pub async fn keep_stock(
        &self,
        workspaces: Vec<(Arc<Workspace>, BTreeSet<PathBuf>)>,
        stop: CancellationToken,
    ) {
        Arc::clone(&self.shared.stock).run(workspaces, self.shared.as_ref(), stop).await;
    }

    /// Saves retired trees, one after the other, until told to stop.
    pub async fn save_in_background(&self, stop: CancellationToken) {
        let mut queue = self.to_save.lock().await;
        loop {
            let entry = tokio::select! {
                () = stop.cancelled() => return,
                entry = queue.recv() => match entry {
                    Some(entry) => entry,
                    None => return,
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.save(entry) => {}
            }
        }
    }
}

impl World for Live {
    fn provision(&self, lane: Lane, context: Context) -> BoxFuture<'static, Result<Tree, Failure>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.provision(&lane, &context).await })
    }

    fn rollback(&self, lane: Lane) -> BoxFuture<'static, Result<Tree, Failure>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let stopped = Failure::new(Code::DaemonDown, "the runtime stopped while the lane was being made")
                .hint("make it again");
            // What a set-up command started works in the tree that goes now.
            match shared.stop_and_undo(&lane).await {
                Ok(Some(tree)) => Ok(tree),
                Ok(None) => Err(stopped),
                Err(failure) => {
                    let both = format!("{stopped}, and what it left could not be undone: {failure}");
                    Err(Failure::new(failure.code, both).hint("lanes reconcile tries again"))
                }
            }
        })
    }

    fn adopt(&self, task: Task) -> BoxFuture<'static, Option<Identity>> {
        Box::pin(async move {
            let sought = Sought {
                id: task.id,
                lane_id: task.lane_id,
                workspace_id: task.workspace_id,
                secret: &task.secret,
                run_dir: task.run_dir.as_path(),
            };
            task::found(&sought).await
        })
    }

    fn start(&self, lane: Lane, task: Task, launch: Launch) -> BoxFuture<'static, Result<Identity, Failure>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.start(&lane, &task, launch).await })
    }

    fn ended(&self, task: Task, tell: Tell) -> BoxFuture<'static, Exit> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let suspect = || shared.suspect(task.id);
            let ended = shared.looked_after(&task, &tell, watch::ended(&task, suspect));
            let exit = shared.watching_screen(&task, &tell, ended).await;
            let lost = watch::why_lost(&task, &exit);
            if let Some(reason) = lost {
                let _lane_is_closing = tell.send(Input::Lost { id: task.id, reason }).await;
            }
            if lost != Some(Lost::Reboot) {
                Recipe::remove(task.log_dir.as_path());
            }
            exit
        })
    }

    fn gone(&self, task: Task, tell: Tell) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let suspect = || shared.suspect(task.id);
            shared.looked_after(&task, &tell, watch::gone(&task, suspect)).await
        })
    }

    fn clean(&self, lane: Lane, context: Context) -> BoxFuture<'static, Result<Retired, Failure>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.clean(&lane, &context).await })
    }

    fn count(&self, lane: Lane) -> BoxFuture<'static, Result<(Option<String>, Changes), Failure>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let _turn = shared.counts.acquire().await;
            shared.count(&lane).await
        })
    }

    fn forget(&self, task: TaskId) {
        let dir = self.shared.home.run_dir(task);
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, dir = %dir.display(), "the run folder of an ended task could not be removed");
        }
    }
}

impl Shared {
    async fn repository(&self, lane: &Lane) -> Result<Repository, Failure> {
        match self.workspaces.by_id(lane.workspace_id()) {
            Some(workspace) => Ok(workspace.repo.clone()),
            None => Ok(worktree::discover(self.workspaces.git().await?, lane.common_dir.as_path()).await?),
        }
    }

    /// The configuration that holds for a lane; the defaults when its files are broken now.
    async fn config(&self, lane: &Lane) -> Config {
        let found = match self.repository(lane).await {
            Ok(repo) => self.workspaces.config(&repo).await,
            Err(failure) => Err(failure),
        };
        found.unwrap_or_else(|failure| {
            tracing::warn!(lane = %lane.id, error = %failure, "the configuration cannot be read, the defaults hold");
            Config::default()
        })
    }
}

//! The real world of lanes: git, keepers, files. The only file of this folder that knows they exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::lane::{Lane, Stage, Task};
use super::workspace::Workspaces;
use super::world::{Launch, Retired, World};
use crate::api::{Guarantees, LaneView};
use crate::bus::{Actor, BoxFuture, Bus, Context, Table, redact};
use crate::clock::{self, Timestamp};
use crate::config::{Config, Hook};
use crate::failure::{Code, Failure};
use crate::home::Home;
use crate::ids::{LaneId, TaskId, TaskKind};
use crate::keeper::{Exit, ExitStatus, Identity, Shape, Spec};
use crate::raw::Raw;
use crate::task::{self, KeeperChoice, Launcher, Link, Notice};
use crate::worktree::{self, Changes, Git, Mode, Place, Repository, Saved, TrashEntry, Tree};

/// How many retired trees may wait for their saving; more are found by the next start.
const SAVES: usize = 4096;
/// A tree with more to keep than this stays whole in the trash, in bytes.
const ARCHIVE_LIMIT: u64 = 2 << 30;
/// How many lanes are counted at once in the background: each takes several calls of git, and a list of
/// fifty lanes asks for all of them.
const COUNTS: usize = 2;
/// Between two attempts to reach a keeper that lives but does not answer.
const RECONNECT: Duration = Duration::from_millis(200);
/// How long a set-up command may take.
const HOOK_TIMEOUT: Duration = Duration::from_secs(30 * 60);

struct Shared {
    home: Home,
    bus: Bus,
    workspaces: Arc<Workspaces>,
    launcher: Launcher,
    counted: DashMap<LaneId, Instant>,
    counts: Semaphore,
    saves: mpsc::Sender<TrashEntry>,
}

/// The real world of lanes.
pub struct Live {
    shared: Arc<Shared>,
    to_save: tokio::sync::Mutex<mpsc::Receiver<TrashEntry>>,
}

impl Live {
    /// The world of a home.
    pub fn new(home: Home, bus: Bus, workspaces: Arc<Workspaces>, launcher: Launcher) -> Self {
        let (saves, to_save) = mpsc::channel(SAVES);
        let (counted, counts) = (DashMap::new(), Semaphore::new(COUNTS));
        let shared = Shared { home, bus, workspaces, launcher, counted, counts, saves };
        Self { shared: Arc::new(shared), to_save: tokio::sync::Mutex::new(to_save) }
    }

    /// What holds for tasks on this machine.
    pub fn guarantees(&self) -> Guarantees {
        let tree_kill = match self.shared.launcher.choice() {
            KeeperChoice::Program(_) | KeeperChoice::SelfExec => "subreaper",
            KeeperChoice::InProcess => "process_group",
        };
        Guarantees { tree_kill: tree_kill.into(), limits: "none".into() }
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
            if let Ok(link) = Link::connect(task.run_dir.as_path()).await
                && let Ok(report) = link.status().await
            {
                seen.descendants = report.descendants.iter().map(|member| member.pid).collect();
            }
        }
    }

    /// Ends one task with its whole tree, gently first.
    ///
    /// # Errors
    /// `BUSY` when something of it cannot be ended.
    pub async fn stop_task(&self, lane: &Lane, task: &Task) -> Result<(), Failure> {
        let config = self.shared.config(lane).await;
        stop(task, &config).await.map(drop)
    }

    /// Ends a task that belongs to no open lane.
    ///
    /// # Errors
    /// `BUSY` when something of it cannot be ended.
    pub async fn end_stray(&self, task: &Task) -> Result<(), Failure> {
        stop(task, &Config::default()).await.map(drop)
    }

    /// What cleanup would do, for people.
    pub async fn foretell(&self, lane: &Lane) -> Vec<String> {
        let live = lane.tasks.values().filter(|task| task.stage != Stage::Ended).count();
        let mut notes = vec![format!("would end {live} tasks and move {} to the trash", lane.order.path)];
        match self.shared.merged(lane).await {
            Ok(true) => {
                notes.push(format!("would delete the branch {}, which is merged", lane.order.branch.name))
            }
            Ok(false) => notes.push(format!("would keep the branch {}", lane.order.branch.name)),
            Err(failure) => notes.push(format!("could not tell whether it is merged: {failure}")),
        }
        notes
    }

    /// True when the lane's tip is elsewhere too and its tree is clean.
    ///
    /// # Errors
    /// What git says.
    pub async fn is_merged_and_clean(&self, lane: &Lane) -> Result<bool, Failure> {
        let (_head, changes) = self.shared.count(lane).await?;
        Ok(changes.files == 0 && self.shared.merged(lane).await?)
    }

    /// Frees trash for good, with the recorded output of its lanes.
    ///
    /// # Errors
    /// What the file system and git say.
    pub async fn empty_trash(&self, repo: &Repository, entries: &[TrashEntry]) -> Result<(), Failure> {
        let git = self.shared.workspaces.git().await?;
        let roots: BTreeSet<&Raw> = entries.iter().map(|entry| &entry.order.root).collect();
        for root in roots {
            let ids: Vec<LaneId> = entries
                .iter()
                .filter(|entry| entry.order.root == *root)
                .map(|entry| entry.order.lane_id)
                .collect();
            let emptied = worktree::empty(git, repo, root.as_path(), &ids).await?;
            if let Some((lane, why)) = emptied.stayed.first() {
                return Err(Failure::new(Code::Busy, format!("the trash of lane {lane} stayed: {why}"))
                    .hint("try again"));
            }
        }
        for entry in entries {
            self.shared.forget_logs(entry.order.lane_id).await;
        }
        Ok(())
    }

    /// Has a retired tree saved in the background.
    pub fn save_later(&self, entry: TrashEntry) {
        self.shared.save_later(entry);
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
        Box::pin(async move { task::read_identity(task.run_dir.as_path()) })
    }

    fn start(&self, lane: Lane, task: Task, launch: Launch) -> BoxFuture<'static, Result<Identity, Failure>> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move { shared.start(&lane, &task, launch).await })
    }

    fn ended(&self, task: Task) -> BoxFuture<'static, Exit> {
        Box::pin(async move { ended(&task).await })
    }

    fn gone(&self, task: Task) -> BoxFuture<'static, ()> {
        Box::pin(async move { gone(&task).await })
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
        match self.workspaces.by_common_dir(lane.common_dir.as_path()) {
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

    async fn provision(&self, lane: &Lane, context: &Context) -> Result<Tree, Failure> {
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let config = self.config(lane).await;
        let tree = match lane.restored_from {
            Some(from) => {
                let entry = self.trash_entry(lane, from).await?;
                worktree::bring_back(git, &repo, &entry, &lane.order).await?
            }
            None => self.make(git, &repo, lane, &config).await?,
        };
        if let (Some(hook), None) = (&config.hooks.post_create, lane.restored_from)
            && let Err(failure) = self.hook(lane, hook, "post_create", context).await
        {
            let _nothing_stays = self.undo(lane).await?;
            return Err(failure);
        }
        Ok(tree)
    }

    /// Removes the recorded output of a lane that cannot come back, and of those it was brought back from.
    async fn forget_logs(&self, lane: LaneId) {
        let mut next = Some(lane);
        while let Some(id) = next {
            let _absent_or_busy = tokio::fs::remove_dir_all(self.home.lane_logs(id)).await;
            let record = self.bus.get(Table::Lanes, id.to_string()).await.ok().flatten();
            next = record.and_then(|body| serde_json::from_value::<Lane>(body).ok()?.restored_from);
        }
    }

    /// The folder of trees that the lane was in before it was retired.
    async fn trash_root(&self, lane: &Lane, from: LaneId) -> Result<Raw, Failure> {
        let body = self.bus.get(Table::Lanes, from.to_string()).await?;
        let before = body.and_then(|body| serde_json::from_value::<Lane>(body).ok());
        Ok(before.map_or_else(|| lane.order.root.clone(), |before| before.order.root))
    }

    /// The trash entry that a restored lane comes from.
    async fn trash_entry(&self, lane: &Lane, from: LaneId) -> Result<TrashEntry, Failure> {
        let root = self.trash_root(lane, from).await?;
        worktree::trash::find(root.as_path(), from)?.ok_or_else(|| {
            Failure::new(Code::LaneNotFound, format!("lane {from} is not in the trash any more"))
                .hint("lanes trash ls shows what can be restored")
        })
    }

    async fn make(
        &self,
        git: &Git,
        repo: &Repository,
        lane: &Lane,
        config: &Config,
    ) -> Result<Tree, Failure> {
        let floors = worktree::Floors { bytes: config.disk.min_free, inodes: config.disk.min_inodes };
        Ok(worktree::provision(git, repo, &lane.order, floors, &worktree::Direct, &|_step| {}).await?)
    }

    /// Undoes the making of a tree. Gives the tree when it must stay: a restore that had come to its end,
    /// whose files are nowhere else any more.
    async fn undo(&self, lane: &Lane) -> Result<Option<Tree>, Failure> {
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let Some(from) = lane.restored_from else {
            worktree::undo(git, &repo, &lane.order).await?;
            return Ok(None);
        };
        let root = self.trash_root(lane, from).await?;
        if worktree::trash::find(root.as_path(), from)?.is_some() {
            worktree::roll_back(git, &repo, root.as_path(), from).await?;
            return Ok(None);
        }
        Ok(Some(worktree::found_tree(&repo, &lane.order)?))
    }

    async fn stop_and_undo(&self, lane: &Lane) -> Result<Option<Tree>, Failure> {
        let config = self.config(lane).await;
        self.stop_all(lane, &config, &Context::new(Actor::lanes())).await?;
        self.undo(lane).await
    }

    /// Runs a set-up command of the configuration as a task of its own and respects its exit status.
    async fn hook(&self, lane: &Lane, hook: &Hook, name: &str, context: &Context) -> Result<(), Failure> {
        let id = TaskId::generate(TaskKind::Run);
        let argv: Vec<Raw> = hook.argv().into_iter().map(Raw::from).collect();
        let task = Task {
            id,
            lane_id: lane.id,
            workspace_id: lane.workspace_id(),
            shape: Shape::Run { stdin: false },
            command: redacted(&argv),
            agent: None,
            stage: Stage::Starting,
            identity: None,
            secret: format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()),
            run_dir: self.home.run_dir(id).into(),
            log_dir: self.home.log_dir(lane.id, id).into(),
            asked_at: clock::now(),
            exit: None,
        };
        let env = std::env::vars_os().map(|(key, value)| (key.into(), value.into())).collect();
        let timeout_ms = Some(u64::try_from(HOOK_TIMEOUT.as_millis()).unwrap_or(u64::MAX));
        let correlation_id = Some(context.correlation_id);
        let launch = Launch { argv, env, dir: None, timeout_ms, correlation_id };
        let identity = self.start(lane, &task, launch).await?;
        let mut record = task.clone();
        record.identity = Some(identity);
        record.stage = Stage::Live;
        let started = json!({ "task_id": id, "command": record.command, "hook": name });
        self.tell(lane, &record, context, "lane.command.started", started).await?;
        let exit = ended(&record).await;
        record.exit = Some(exit.clone());
        record.stage = Stage::Ended;
        stop(&record, &self.config(lane).await).await?;
        let done = json!({ "task_id": id, "exit": exit.status, "ms": exit.ms, "max_rss_kb": exit.max_rss_kb, "hook": name });
        self.tell(lane, &record, context, "lane.command.completed", done).await?;
        let words = task::tail(record.log_dir.as_path(), HOOK_TAIL);
        let _absent = tokio::fs::remove_dir_all(record.run_dir.as_path()).await;
        if exit.status == ExitStatus::Code(0) {
            return Ok(());
        }
        let how = match exit.status {
            ExitStatus::Code(code) => format!("exit {code}"),
            ExitStatus::Signal(signal) => format!("signal {signal}"),
            ExitStatus::Lost(_) => "nobody knows how".to_owned(),
        };
        Err(Failure::new(
            Code::GitFailed,
            format!("the {name} hook of the configuration failed ({how}): {}", words.trim()),
        )
        .hint(format!(
            "mend the command in lanes.toml, then: lanes trust; all it said: lanes logs {} --run {id}",
            lane.id
        ))
        .details(json!({ "task_id": id })))
    }

    async fn tell(
        &self,
        lane: &Lane,
        task: &Task,
        context: &Context,
        topic: &'static str,
        payload: serde_json::Value,
    ) -> Result<(), Failure> {
        let mut draft = context.draft(topic, payload);
        draft.workspace_id = Some(lane.workspace_id());
        draft.lane_id = Some(lane.id);
        draft.task_id = Some(task.id);
        let writes = vec![crate::bus::Write::put(crate::bus::Table::Tasks, task.id, task)];
        self.bus.commit(crate::bus::Batch { events: vec![draft], writes }).await.map(drop)
    }

    async fn start(&self, lane: &Lane, task: &Task, launch: Launch) -> Result<Identity, Failure> {
        let config = self.config(lane).await;
        let tree = lane.order.path.to_path_buf();
        let cwd = launch.dir.as_ref().map_or_else(|| tree.clone(), |dir| tree.join(dir.as_path()));
        let grace = match task.kind() {
            TaskKind::Terminal => config.stop.terminal_grace,
            TaskKind::Run => config.stop.run_grace,
        };
        let spec = Spec {
            id: task.id,
            lane_id: task.lane_id,
            workspace_id: task.workspace_id,
            correlation_id: launch.correlation_id.unwrap_or_else(crate::ids::CorrelationId::generate),
            shape: task.shape.clone(),
            argv: launch.argv,
            env: self.environment(lane, task, launch.env, &cwd),
            cwd: cwd.into(),
            secret: task.secret.clone(),
            timeout_ms: launch.timeout_ms,
            grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
            run_dir: task.run_dir.clone(),
            log_dir: task.log_dir.clone(),
            log_limit: config.task.log_limit,
        };
        Ok(self.launcher.start(spec).await?.identity)
    }

    fn environment(&self, lane: &Lane, task: &Task, given: Vec<(Raw, Raw)>, cwd: &Path) -> Vec<(Raw, Raw)> {
        let mut env: Vec<(Raw, Raw)> = given.into_iter().filter(|(key, _value)| passes(key)).collect();
        let mut set = |key: &str, value: Raw| env.push((key.into(), value));
        set("PWD", cwd.into());
        set("LANES_LANE_ID", lane.id.to_string().into());
        set("LANES_LANE_NAME", lane.name().into());
        set("LANES_TASK_ID", task.id.to_string().into());
        set("LANES_HOME", self.home.path().into());
        set("LANES_SOCKET", self.home.socket().into());
        if let Some(program) = program_of(self.launcher.choice()) {
            set("LANES_BIN", program.into());
        }
        set("LANES_TASK_SECRET", task.secret.clone().into());
        let term = env.iter().any(|(key, value)| key.as_bytes() == b"TERM" && value.as_bytes() != b"dumb");
        if task.kind() == TaskKind::Terminal && !term {
            env.retain(|(key, _value)| key.as_bytes() != b"TERM");
            env.push(("TERM".into(), "xterm-256color".into()));
        }
        env
    }

    async fn clean(&self, lane: &Lane, context: &Context) -> Result<Retired, Failure> {
        let config = self.config(lane).await;
        let mut notes = Vec::new();
        if let (Some(hook), Some(_tree)) = (&config.hooks.pre_cleanup, &lane.tree)
            && lane.order.path.as_path().is_dir()
            && let Err(failure) = self.hook(lane, hook, "pre_cleanup", context).await
        {
            notes.push(failure.message);
        }
        self.stop_all(lane, &config, context).await?;
        let Some(tree) = &lane.tree else { return Ok(Retired { notes }) };
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let entry = worktree::retire(git, &repo, &lane.order, tree).await?;
        let mut draft = context.draft(
            "lane.worktree.removed",
            json!({ "path": lane.order.path, "branch_deleted": entry.branch_deleted, "head": entry.head }),
        );
        draft.workspace_id = Some(lane.workspace_id());
        draft.lane_id = Some(lane.id);
        self.bus.publish(draft).await?;
        notes.extend(what_is_kept(&entry));
        self.save_later(entry);
        Ok(Retired { notes })
    }

    /// Stops every task side by side; afterwards none of their processes lives.
    async fn stop_all(&self, lane: &Lane, config: &Config, context: &Context) -> Result<(), Failure> {
        let mut stops = JoinSet::new();
        let mut terminals = 0_u64;
        let mut forced = 0_u64;
        for task in lane.tasks.values().filter(|task| task.stage != Stage::Ended) {
            terminals += u64::from(task.kind() == TaskKind::Terminal);
            let (task, config) = (task.clone(), config.clone());
            stops.spawn(async move { stop(&task, &config).await });
        }
        while let Some(stopped) = stops.join_next().await {
            let stopped =
                stopped.map_err(|_aborted| Failure::new(Code::DaemonDown, "the runtime is stopping"))?;
            forced += u64::from(stopped?);
        }
        if terminals > 0 {
            let mut draft =
                context.draft("lane.ptys_terminated", json!({ "count": terminals, "force_killed": forced }));
            draft.workspace_id = Some(lane.workspace_id());
            draft.lane_id = Some(lane.id);
            self.bus.publish(draft).await?;
        }
        Ok(())
    }

    async fn count(&self, lane: &Lane) -> Result<(Option<String>, Changes), Failure> {
        let Some(tree) = &lane.tree else { return Ok((None, Changes::default())) };
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let admin = admin_dir(&repo, tree);
        let changes = worktree::changes(git, &repo, tree.path.as_path(), &admin, &lane.order.base).await?;
        let head = head(git, &admin).await?;
        self.counted.insert(lane.id, Instant::now());
        Ok((head, changes))
    }

    async fn merged(&self, lane: &Lane) -> Result<bool, Failure> {
        let repo = self.repository(lane).await?;
        let git = self.workspaces.git().await?;
        let Some(tree) = &lane.tree else { return Ok(true) };
        let Some(tip) = head(git, &admin_dir(&repo, tree)).await? else { return Ok(true) };
        Ok(worktree::is_merged(git, &repo, &tip, &lane.order.branch.name, &lane.order.base).await?)
    }

    fn save_later(&self, entry: TrashEntry) {
        if let Err(error) = self.saves.try_send(entry) {
            tracing::warn!(%error, "too many trees wait for saving; the rest is saved after the next start");
        }
    }

    async fn save(&self, entry: TrashEntry) {
        let (id, workspace) = (entry.order.lane_id, entry.order.workspace_id);
        match self.try_save(&entry).await {
            Ok(saved) => {
                let mut draft =
                    Context::new(Actor::lanes()).draft("lane.worktree.saved", json!({ "saved": saved }));
                draft.workspace_id = Some(workspace);
                draft.lane_id = Some(id);
                if let Err(failure) = self.bus.publish(draft).await {
                    tracing::warn!(lane = %id, error = %failure, "the saving was not written down");
                }
            }
            Err(failure) => tracing::warn!(lane = %id, error = %failure, "the tree stays whole in the trash"),
        }
    }

    async fn try_save(&self, entry: &TrashEntry) -> Result<Saved, Failure> {
        let git = self.workspaces.git().await?;
        let workspaces = self.workspaces.all();
        let Some(workspace) = workspaces.iter().find(|workspace| workspace.id == entry.order.workspace_id)
        else {
            return Err(Failure::new(
                Code::NotARepository,
                "the repository of the lane cannot be opened now",
            ));
        };
        let repo = workspace.repo.clone();
        let root = entry.order.root.as_path();
        Ok(worktree::save(git, &repo, root, entry.order.lane_id, ARCHIVE_LIMIT).await?.saved)
    }
}

/// The admin directory of a tree.
fn admin_dir(repo: &Repository, tree: &Tree) -> PathBuf {
    repo.common_dir.join("worktrees").join(&tree.admin_id)
}

/// The commit that HEAD of a tree is at; none when its branch is unborn.
async fn head(git: &Git, admin: &Path) -> Result<Option<String>, Failure> {
    let answer =
        git.ask(Mode::Look, &Place::git_dir(admin), ["rev-parse", "--verify", "--quiet", "HEAD"]).await;
    let answer = answer.map_err(Failure::from)?;
    let text = answer.text();
    Ok((!text.is_empty()).then_some(text))
}

/// An argument list as it may be shown and kept.
fn redacted(argv: &[Raw]) -> Vec<String> {
    redact::arguments(argv).iter().map(ToString::to_string).collect()
}

/// The program that tasks may call us by.
fn program_of(choice: &KeeperChoice) -> Option<PathBuf> {
    match choice {
        KeeperChoice::Program(path) => Some(path.clone()),
        KeeperChoice::SelfExec => std::env::current_exe().ok(),
        KeeperChoice::InProcess => None,
    }
}

/// The end of a hook's output that goes into a message, in bytes.
const HOOK_TAIL: usize = 2000;

/// What became of the lane's work, for people.
fn what_is_kept(entry: &TrashEntry) -> Vec<String> {
    let mut notes = Vec::new();
    let branch = &entry.order.branch.name;
    if entry.order.branch.created && !entry.branch_deleted {
        notes.push(format!("the branch {branch} is kept: it has commits that no other branch has"));
    }
    notes.push(format!("lanes restore {} brings it back", entry.order.name));
    notes
}

/// Variables that would send a command's git to another repository, or that are ours to set.
fn passes(key: &Raw) -> bool {
    const REPOSITORY: [&[u8]; 12] = [
        b"GIT_DIR",
        b"GIT_WORK_TREE",
        b"GIT_INDEX_FILE",
        b"GIT_COMMON_DIR",
        b"GIT_PREFIX",
        b"GIT_OBJECT_DIRECTORY",
        b"GIT_ALTERNATE_OBJECT_DIRECTORIES",
        b"GIT_NAMESPACE",
        b"GIT_INTERNAL_SUPER_PREFIX",
        b"GIT_IMPLICIT_WORK_TREE",
        b"GIT_GRAFT_FILE",
        b"GIT_CEILING_DIRECTORIES",
    ];
    const OURS: [&[u8]; 8] = [
        b"LANES_LANE_ID",
        b"LANES_LANE_NAME",
        b"LANES_TASK_ID",
        b"LANES_HOME",
        b"LANES_SOCKET",
        b"LANES_BIN",
        b"LANES_TASK_SECRET",
        b"PWD",
    ];
    !REPOSITORY.contains(&key.as_bytes()) && !OURS.contains(&key.as_bytes())
}

/// Waits for the end of a task's command, as its keeper tells it or has written it down.
async fn ended(task: &Task) -> Exit {
    let run_dir = task.run_dir.as_path();
    loop {
        if let Some(exit) = task::read_exit(run_dir) {
            return exit;
        }
        if let Ok(link) = Link::connect(run_dir).await
            && let Ok(mut notices) = link.subscribe(u64::MAX).await
        {
            loop {
                match notices.next().await {
                    Notice::Exited(exit) => return exit,
                    Notice::Offset(_) => {}
                    Notice::Gone => break,
                }
            }
        }
        if let Some(exit) = task::read_exit(run_dir) {
            return exit;
        }
        if !keeper_lives(task) {
            // It may have written that and left since we looked.
            if let Some(exit) = task::read_exit(run_dir) {
                return exit;
            }
            // Its keeper was ended by force: what it marked is ended, how the command ended nobody knows.
            sweep(task).await;
            return lost(task);
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

/// Waits until the keeper of an ended task has left.
async fn gone(task: &Task) {
    while keeper_lives(task) {
        if let Ok(link) = Link::connect(task.run_dir.as_path()).await {
            link.gone().await;
        }
        if keeper_lives(task) {
            tokio::time::sleep(RECONNECT).await;
        }
    }
}

fn keeper_lives(task: &Task) -> bool {
    task.identity.as_ref().is_some_and(task::keeper_alive)
}

/// How long what a dead keeper left behind has between TERM and KILL.
const SWEEP_GRACE: Duration = Duration::from_secs(1);

async fn sweep(task: &Task) -> usize {
    match &task.identity {
        Some(identity) => task::sweep(identity, SWEEP_GRACE).await.len(),
        None => 0,
    }
}

fn lost(task: &Task) -> Exit {
    let now = clock::now();
    let started = task.identity.as_ref().map_or(task.asked_at, |identity| identity.started_at);
    Exit {
        status: ExitStatus::Lost(true),
        timed_out: false,
        at: now,
        ms: u64::try_from(started.age(now).as_millis()).unwrap_or(u64::MAX),
        max_rss_kb: 0,
        cpu_ms: 0,
        end: task::log_end(task.log_dir.as_path()),
    }
}

/// Ends one task with everything it started, gently first. True when force was needed.
///
/// # Errors
/// `BUSY` when something of it cannot be ended; asking again tries again.
async fn stop(task: &Task, config: &Config) -> Result<bool, Failure> {
    let grace = match task.kind() {
        TaskKind::Terminal => config.stop.terminal_grace,
        TaskKind::Run => config.stop.run_grace,
    };
    let asked = Instant::now();
    let ended = task::end(task.run_dir.as_path(), grace).await;
    // The run folder may have been removed under us; the record still knows who it was.
    if keeper_lives(task)
        && let Some(identity) = &task.identity
    {
        task::kill_keeper(identity);
    }
    let swept = sweep(task).await;
    if !ended.complete && keeper_lives(task) {
        return Err(Failure::new(Code::Busy, format!("something of task {} cannot be ended", task.id))
            .hint("look at its processes (lanes show), then clean up again"));
    }
    Ok(swept > 0 || !ended.swept.is_empty() || asked.elapsed() >= grace)
}

//! Requests about lanes: made, listed, shared, waited for, ended, brought back.

use std::sync::Arc;
use std::time::Duration;

use super::blocking::stopping;
use super::owner::Owner;
use super::resolve::Found;
use crate::api::{
    AgentRef, Block, Cleanup, Command, Create, CreateReply, LaneRef, LaneReply, LaneResult, LanesReply, List,
    Restore, ResultsReply, Wait, WaitReply,
};
use crate::bus::{Context, redact};
use crate::clock;
use crate::failure::{Code, Failure};
use crate::ids::{LaneId, SessionId, TaskKind, WorkspaceId};
use crate::lanes::Handle;
use crate::lanes::lane::{Lane, Task};
use crate::lanes::machine::{self, Input};
use crate::lanes::table::State;
use crate::lanes::workspace::Workspace;
use crate::raw::Raw;
use crate::worktree::{self, Base, Branch, Order};

/// How many lanes one `cleanup` ends at a time is not bounded: each is its own owner's work.
/// How long the numbers of `ls` may be old before they are counted again in the background.
const COUNT_EVERY: Duration = Duration::from_secs(2);

/// How long counting waits for the answer that it is not part of.
const ANSWER_FIRST: Duration = Duration::from_millis(20);

impl Owner {
    /// `lane.create`.
    pub(super) async fn create(&self, asked: Create, context: Context) -> Result<CreateReply, Failure> {
        let cwd = asked.cwd.to_path_buf();
        let workspace = self.workspace_at(&cwd).await?;
        if let Some(name) = &asked.name {
            worktree::lane_name(name)?;
            self.freed(workspace.id, name).await;
            if asked.ensure
                && let Some(handle) = self.registry.by_name(workspace.id, name)
            {
                return self.ensured(handle, &asked, context).await;
            }
        }
        self.may_start()?;
        let config = self.workspaces.trusted(&workspace.repo).await?;
        let (bytes, inodes) = config.disk.of_home();
        worktree::check_free(self.home.path(), worktree::Floors { bytes, inodes })?;
        let id = LaneId::generate();
        let name = asked.name.clone().unwrap_or_else(|| made_up_name(id));
        let reservation = self.registry.reserve(workspace.id, &name, id, config.lanes.capacity)?;
        let git = self.workspaces.git().await?;
        let branch = worktree::check_branch(
            git,
            &workspace.repo,
            &config.lanes.branch_prefix,
            &name,
            asked.branch.as_deref(),
        )
        .await?;
        // A tag or a commit of the same name is not the branch that was asked for.
        let of_branch = asked.branch.as_ref().map(|branch| format!("refs/heads/{branch}"));
        let base_rev = of_branch.as_deref().or(asked.base.as_deref());
        let mut base = worktree::resolve_base(git, &workspace.repo, &cwd, base_rev).await?;
        base.rev = asked.branch.clone().unwrap_or(base.rev);
        let order = self.order(&workspace, &config, id, name, base, branch)?;
        let mut lane = Lane::new(
            order,
            workspace.place().into(),
            workspace.repo.common_dir.clone().into(),
            clock::now(),
        );
        lane.created_by = context.from_lane;
        lane.grant_all = asked.grant_all;
        if asked.grant_all {
            self.guard(&context, None, "grant")?;
        }
        let handle = self.registry.own(lane, reservation, Vec::new());
        let lane = self.provision(&handle, context.clone()).await?;
        let notes = lane.tree.as_ref().map(|tree| tree.notes.clone()).unwrap_or_default();
        self.used(&lane);
        let task = match asked.command {
            Some(command) => {
                let kind = TaskKind::Terminal;
                match self.start_task(&handle, kind, command, Default::default(), context.clone()).await {
                    Ok((_lane, task)) => Some(task.view()),
                    Err(failure) => return Err(self.unmade(&handle, failure, context).await),
                }
            }
            None => None,
        };
        Ok(CreateReply { lane: self.view(&handle.lane()), task, existed: false, notes })
    }

    /// Closes a lane that was just made for a command which could not be started, and says so.
    async fn unmade(&self, handle: &Handle, failure: Failure, context: Context) -> Failure {
        let lane = handle.lane();
        let hint = failure.hint.clone().unwrap_or_default();
        let what = match self.end(handle, &lane, true, context).await {
            Ok(_notes) => format!("{hint}; the lane {} was closed again", lane.name()),
            Err(_it_stays) => format!("{hint}; the lane {} is there", lane.name()),
        };
        failure.hint(what.trim_start_matches("; "))
    }

    async fn ensured(
        &self,
        handle: Handle,
        asked: &Create,
        context: Context,
    ) -> Result<CreateReply, Failure> {
        handle.left(State::New).await?;
        handle.left(State::Provisioning).await?;
        let lane = handle.lane();
        if !lane.state().takes_tasks() {
            return Err(Failure::new(Code::Busy, format!("lane {} is {}", lane.name(), lane.state().name()))
                .hint("try again when it is closed"));
        }
        self.used(&lane);
        let task = match asked.command.clone() {
            Some(command) if lane.live_tasks().next().is_none() => Some(
                self.start_task(&handle, TaskKind::Terminal, command, Default::default(), context)
                    .await?
                    .1
                    .view(),
            ),
            Some(_) | None => None,
        };
        Ok(CreateReply { lane: self.view(&handle.lane()), task, existed: true, notes: Vec::new() })
    }

    /// Remembers that a lane was used, and has it written down in the background.
    pub(super) fn used(&self, lane: &Lane) {
        if let Some(writing) = self.workspaces.used(lane.workspace_id(), lane.id) {
            self.background.spawn(writing);
        }
    }

    /// Waits for the owner of a closed lane of that name, who still writes down what ended late: for
    /// everybody who looked, the name is free already.
    async fn freed(&self, workspace: WorkspaceId, name: &str) {
        if let Some(handle) = self.registry.by_name(workspace, name)
            && handle.lane().state() == State::Closed
        {
            handle.ended().await;
        }
    }

    /// Begins, and waits until the tree is there or could not be made.
    async fn provision(&self, handle: &Handle, context: Context) -> Result<Arc<Lane>, Failure> {
        handle.apply(Input::Create, context).await?;
        let ended = handle.left(State::Provisioning).await?;
        let lane = ended.unwrap_or_else(|| handle.lane());
        if lane.state() == State::Provisioning {
            return Err(Failure::new(Code::DaemonDown, "the runtime stopped before the lane was ready")
                .hint("try again"));
        }
        if let Some(failure) = &lane.provision_failure {
            handle.ended().await;
            return Err(failure.clone());
        }
        if !lane.state().takes_tasks() {
            let message = format!("lane {} was cleaned up while it was being made", lane.name());
            return Err(Failure::new(Code::InvalidTransition, message)
                .hint(format!("make it again, or bring it back: lanes restore {}", lane.name()))
                .details(serde_json::json!({ "lane_id": lane.id, "state": lane.state() })));
        }
        Ok(lane)
    }

    fn order(
        &self,
        workspace: &Workspace,
        config: &crate::config::Config,
        id: LaneId,
        name: String,
        base: Base,
        branch: Branch,
    ) -> Result<Order, Failure> {
        let root = self.root(workspace, config)?;
        Ok(Order {
            lane_id: id,
            path: root.join(&name).into(),
            name,
            workspace_id: workspace.id,
            token: Task::new_secret(),
            home: self.home.path().into(),
            root: root.into(),
            base,
            branch,
            lock_reason: format!("lanes {id} {} {}", self.boot_id, std::process::id()),
            submodules: config.worktree.submodules,
            copy: config.copy.clone(),
            link: config.link.clone(),
        })
    }

    /// `lane.list`.
    pub(super) async fn list(&self, asked: List, context: Context) -> Result<LanesReply, Failure> {
        let workspace = match self.workspace_at(asked.cwd.as_path()).await {
            Ok(workspace) => Some(workspace.id),
            Err(_elsewhere) if asked.everywhere => None,
            Err(failure) if failure.code == Code::NotARepository => {
                return Err(failure.hint("go into a repository, or add --everywhere"));
            }
            Err(failure) => return Err(failure),
        };
        let mut lanes: Vec<Arc<Lane>> = self.registry.all().iter().map(Handle::lane).collect();
        if asked.all {
            let open: std::collections::BTreeSet<LaneId> = lanes.iter().map(|lane| lane.id).collect();
            let records = self.records().await?;
            lanes.extend(records.into_iter().filter(|lane| !open.contains(&lane.id)).map(Arc::new));
            lanes.sort_by_key(|lane| lane.id);
        } else {
            lanes.retain(|lane| lane.state() != State::Closed);
            if self.safe_mode.is_some() {
                lanes.extend(self.waiting().await?);
                lanes.sort_by_key(|lane| lane.id);
            }
        }
        if !asked.everywhere {
            lanes.retain(|lane| Some(lane.workspace_id()) == workspace);
        }
        let notes = self.may_start().err().map(|refusal| refusal.message).into_iter().collect();
        let reply = LanesReply { lanes: lanes.iter().map(|lane| self.view(lane)).collect(), notes };
        self.count_stale(&lanes, &context);
        Ok(reply)
    }

    /// Open lanes without an owner: what a crash cut off waits in safe mode.
    async fn waiting(&self) -> Result<Vec<Arc<Lane>>, Failure> {
        let mut records = self.records().await?;
        records.retain(|lane| lane.state() != State::Closed && self.registry.get(lane.id).is_none());
        Ok(records.into_iter().map(Arc::new).collect())
    }

    /// A list is answered with the numbers there are; old ones are counted again in the background, after
    /// the answer: the calls of git would take the processor from it.
    fn count_stale(&self, lanes: &[Arc<Lane>], context: &Context) {
        let old = |lane: &&Arc<Lane>| {
            lane.state().takes_tasks() && self.live.counted_ago(lane.id).is_none_or(|age| age >= COUNT_EVERY)
        };
        let stale: Vec<Handle> =
            lanes.iter().filter(old).filter_map(|lane| self.registry.get(lane.id)).collect();
        let context = context.clone();
        self.background.spawn(async move {
            tokio::time::sleep(ANSWER_FIRST).await;
            for handle in stale {
                let _busy_or_gone = handle.count(context.clone()).await;
            }
        });
    }

    /// `lane.get`.
    pub(super) async fn get(&self, words: LaneRef, _context: Context) -> Result<LaneReply, Failure> {
        let found = self.find(&words).await?;
        let lane = found.lane();
        let mut view = self.view(&lane);
        if let (Found::Open(_), true) = (&found, lane.state().takes_tasks())
            && let Ok((head, changes)) = self.live.count_now(&lane).await
        {
            view.head = head.or(view.head);
            view.changes = Some(changes);
        }
        if lane.live_tasks().next().is_none() {
            view.guarantees = self.live.promised(&lane).await;
        }
        self.live.fill_descendants(&lane, &mut view).await;
        Ok(LaneReply { lane: view, notes: lane.closing_notes.clone() })
    }

    /// Requests that apply one input and answer with the lane.
    pub(super) async fn apply(
        &self,
        words: &LaneRef,
        input: Input,
        context: Context,
    ) -> Result<LaneReply, Failure> {
        let handle = self.open_lane(words).await?;
        self.guard(&context, Some(&handle.lane()), "change")?;
        let lane = handle.apply(input, context).await?;
        Ok(LaneReply { lane: self.view(&lane), notes: Vec::new() })
    }

    /// `lane.join`.
    pub(super) async fn join(&self, asked: AgentRef, context: Context) -> Result<LaneReply, Failure> {
        let agent = agent_name(asked.agent)?;
        self.apply(&asked.lane, Input::Join { agent, session_id: SessionId::generate() }, context).await
    }

    /// `lane.leave`.
    pub(super) async fn leave(&self, asked: AgentRef, context: Context) -> Result<LaneReply, Failure> {
        let agent = agent_name(asked.agent)?;
        self.apply(&asked.lane, Input::Leave { agent }, context).await
    }

    /// `lane.block`.
    pub(super) async fn block(&self, asked: Block, context: Context) -> Result<LaneReply, Failure> {
        // It becomes an event, and what an agent says of its own trouble may hold a key.
        let reason: String = redact::text(&asked.reason).chars().take(500).collect();
        self.apply(&asked.lane, Input::Block { reason }, context).await
    }

    /// `lane.wait`.
    pub(super) async fn wait(&self, asked: Wait, _context: Context) -> Result<WaitReply, Failure> {
        let wanted = match asked.until.as_str() {
            "exit" => None,
            name => Some(State::from_name(name).ok_or_else(|| {
                let names: Vec<&str> = State::ALL.iter().map(|state| state.name()).collect();
                Failure::new(Code::ValidationError, format!("{name:?} is neither exit nor a state"))
                    .hint(format!("one of exit, {}", names.join(", ")))
            })?),
        };
        let done = move |lane: &Lane| {
            let there = match wanted {
                None => lane.live_tasks().next().is_none() && lane.state() != State::Provisioning,
                Some(state) => lane.state() == state,
            };
            (there || lane.state() == State::Closed).then(|| Arc::new(lane.clone()))
        };
        let lane = match self.find(&asked.lane).await? {
            Found::Closed(lane) => Arc::new(*lane),
            Found::Open(handle) => {
                let until = handle.until(done);
                let ended = match asked.timeout_ms {
                    None => until.await,
                    Some(ms) => {
                        tokio::time::timeout(Duration::from_millis(ms), until).await.map_err(|_elapsed| {
                            let now = handle.lane().state().name();
                            Failure::new(
                                Code::Timeout,
                                format!(
                                    "lane {} is {now} after {ms} ms, not {}",
                                    handle.lane().name(),
                                    asked.until
                                ),
                            )
                            .hint(format!("see what it does with: lanes show {}", handle.lane().name()))
                        })?
                    }
                };
                ended.ok_or_else(stopping)?
            }
        };
        if wanted.is_some_and(|state| lane.state() != state) {
            return Err(Failure::new(Code::InvalidTransition, format!("lane {} is closed", lane.name()))
                .details(serde_json::json!({ "lane_id": lane.id, "state": lane.state() })));
        }
        let last = lane
            .tasks
            .values()
            .filter(|task| task.exit.is_some())
            .max_by_key(|task| (task.exit.as_ref().map(|exit| exit.at), task.id));
        let task = last.filter(|_| wanted.is_none()).map(crate::lanes::lane::Task::view);
        Ok(WaitReply { lane: self.view(&lane), task })
    }

    /// `lane.cleanup`.
    pub(super) async fn cleanup(
        self: &Arc<Self>,
        asked: Cleanup,
        context: Context,
    ) -> Result<ResultsReply, Failure> {
        let mut results = Vec::new();
        let mut handles: Vec<(Raw, Handle)> = Vec::new();
        if asked.all || asked.merged {
            let workspace = self.workspace_at(asked.cwd.as_path()).await?;
            for handle in self.registry.all() {
                let lane = handle.lane();
                if lane.workspace_id() == workspace.id && (asked.all || self.is_done(&lane).await) {
                    handles.push((lane.name().into(), handle));
                }
            }
        }
        for words in &asked.lanes {
            let reference = LaneRef { lane: words.clone(), cwd: asked.cwd.clone() };
            match self.find(&reference).await {
                Ok(Found::Open(handle)) => handles.push((words.clone(), handle)),
                Ok(Found::Closed(lane)) => results.push(LaneResult {
                    lane: lane.name().into(),
                    id: Some(lane.id),
                    ok: true,
                    error: None,
                    notes: vec!["it is closed already".into()],
                }),
                Err(failure) => results.push(LaneResult {
                    lane: words.clone(),
                    id: None,
                    ok: false,
                    error: Some(failure),
                    notes: Vec::new(),
                }),
            }
        }
        handles.sort_by_key(|(_words, handle)| handle.id());
        handles.dedup_by_key(|(_words, handle)| handle.id());
        // Side by side, in tasks of the runtime: a caller that goes away takes nothing back.
        let ending: Vec<_> = handles
            .into_iter()
            .map(|(_words, handle)| {
                let owner = Arc::clone(self);
                let context = context.clone();
                let (force, dry_run) = (asked.force, asked.dry_run);
                self.background.spawn(async move { owner.cleanup_one(handle, force, dry_run, context).await })
            })
            .collect();
        for one in ending {
            results.push(one.await.map_err(|_aborted| stopping())?);
        }
        Ok(ResultsReply { results })
    }

    async fn cleanup_one(&self, handle: Handle, force: bool, dry_run: bool, context: Context) -> LaneResult {
        let lane = handle.lane();
        let (name, id) = (Raw::from(lane.name()), Some(lane.id));
        let answer = if dry_run {
            match self.would_be_refused(&lane, force, &context) {
                Some(refusal) => Err(refusal),
                None => Ok(self.live.foretell(&lane).await),
            }
        } else {
            self.end(&handle, &lane, force, context).await
        };
        match answer {
            Ok(notes) => LaneResult { lane: name, id, ok: true, error: None, notes },
            Err(failure) => LaneResult { lane: name, id, ok: false, error: Some(failure), notes: Vec::new() },
        }
    }

    fn would_be_refused(&self, lane: &Lane, force: bool, context: &Context) -> Option<Failure> {
        let allowed = self.guard(context, Some(lane), "clean up");
        allowed.and_then(|()| machine::apply(lane, Input::Cleanup { force }, clock::now()).map(drop)).err()
    }

    /// Ends a lane and waits until it is closed.
    pub(super) async fn end(
        &self,
        handle: &Handle,
        lane: &Lane,
        force: bool,
        context: Context,
    ) -> Result<Vec<String>, Failure> {
        self.guard(&context, Some(lane), "clean up")?;
        // Whoever begins or joins a cleanup finds no failure; one that is there later is its own.
        match handle.apply(Input::Cleanup { force }, context).await {
            Ok(_accepted) => {}
            Err(_late) if handle.lane().state() == State::Closed => {}
            Err(refusal) => return Err(refusal),
        }
        let outcome = handle
            .until_told(|lane| match (&lane.cleanup_failure, lane.state()) {
                (_, State::Closed) => Some(Ok(lane.closing_notes.clone())),
                (Some(failure), State::Cleaning) => Some(Err(failure.clone())),
                (Some(_) | None, _) => None,
            })
            .await?;
        let notes = outcome.ok_or_else(|| {
            Failure::new(Code::DaemonDown, "the runtime is stopping; the cleanup goes on when it starts")
                .hint("lanes ls")
        })??;
        handle.ended().await;
        Ok(notes)
    }

    /// Merged, clean, and nothing runs: what `cleanup --merged` takes.
    async fn is_done(&self, lane: &Lane) -> bool {
        if lane.live_tasks().next().is_some() || lane.state() != State::Ready {
            return false;
        }
        self.live.is_merged_and_clean(lane).await.unwrap_or(false)
    }

    /// `lane.restore`.
    pub(super) async fn restore(&self, asked: Restore, context: Context) -> Result<LaneReply, Failure> {
        self.may_start()?;
        let (workspace, entry) = self.trash_entry(&asked.lane, asked.cwd.as_path()).await?;
        let config = self.workspaces.config(&workspace.repo).await?;
        let name = asked.name.clone().unwrap_or_else(|| entry.order.name.clone());
        worktree::lane_name(&name)?;
        self.freed(workspace.id, &name).await;
        let id = LaneId::generate();
        let reservation =
            self.registry.reserve(workspace.id, &name, id, config.lanes.capacity).map_err(|failure| {
                if failure.code == Code::NameTaken {
                    return failure.hint("bring it back under another name: lanes restore LANE --name OTHER");
                }
                failure
            })?;
        let branch = entry.order.branch.clone();
        let order = self.order(&workspace, &config, id, name, entry.order.base.clone(), branch)?;
        let mut lane = Lane::new(
            order,
            workspace.place().into(),
            workspace.repo.common_dir.clone().into(),
            clock::now(),
        );
        lane.restored_from = Some(entry.order.lane_id);
        lane.created_by = context.from_lane;
        let handle = self.registry.own(lane, reservation, Vec::new());
        let lane = self.provision(&handle, context).await?;
        self.used(&lane);
        let notes = lane.tree.as_ref().map(|tree| tree.notes.clone()).unwrap_or_default();
        Ok(LaneReply { lane: self.view(&lane), notes })
    }

    /// A task for `command` in a lane, started.
    pub(super) async fn start_command(
        &self,
        words: &LaneRef,
        kind: TaskKind,
        command: Command,
        options: super::task_requests::Options,
        context: Context,
    ) -> Result<(Arc<Lane>, crate::lanes::lane::Task), Failure> {
        let handle = self.open_lane(words).await?;
        let lane = handle.lane();
        self.guard(&context, Some(&lane), "run commands in")?;
        self.used(&lane);
        self.start_task(&handle, kind, command, options, context).await
    }
}

/// `lane-` and the last characters of its id, in lower case.
fn made_up_name(id: LaneId) -> String {
    let text = id.to_string().to_lowercase();
    format!("lane-{}", &text[text.len() - 5..])
}

/// An agent's name: printable, short.
pub(super) fn agent_name(name: String) -> Result<String, Failure> {
    let good = !name.is_empty() && name.chars().count() <= 64 && !name.chars().any(char::is_control);
    if good {
        return Ok(name);
    }
    Err(Failure::new(Code::ValidationError, "an agent's name has 1 to 64 printable characters")
        .hint("choose another --agent"))
}

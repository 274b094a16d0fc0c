//! The record of a lane: its state, and the facts beside it, as they are written down.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::phase::Phase;
use super::table::{Event, State};
use super::tasks::Tasks;
use crate::api::{AgentView, Guarantees, LaneView, SignalView, TaskView};
use crate::clock::Timestamp;
use crate::failure::{Code, Failure};
use crate::home::Home;
use crate::ids::{LaneId, TaskId, TaskKind, WorkspaceId};
use crate::keeper::{Exit, Identity, Shape};
use crate::raw::Raw;
use crate::worktree::{Changes, Order, Tree};

/// How many transitions a record carries; all of them are in the journal.
pub const HISTORY: usize = 20;
/// How many ended tasks a record carries: enough for `show`; all of them are in the store.
pub const ENDED_TASKS: usize = 20;
/// How many sent signals a terminal's record carries: what spec 007 asks for.
pub const SIGNALS: usize = 50;
/// How many agents may be in a shared lane: more than anybody runs, few enough to list.
pub const AGENTS: usize = 64;

/// One transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The state before.
    pub from: State,
    /// What happened.
    pub event: Event,
    /// The state after.
    pub to: State,
    /// When.
    pub at: Timestamp,
}

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its keeper is being started.
    Starting,
    /// Its command is alive.
    Live,
    /// Its command has ended, its keeper is there for what the command left running.
    Lingering,
    /// Nothing of it runs.
    Ended,
}

impl Stage {
    /// Its name for users.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Lingering => "lingering",
            Self::Ended => "ended",
        }
    }
}

/// Why nobody knows how a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lost {
    /// The machine was started anew.
    Reboot,
    /// Its keeper was ended by force.
    KeeperEnded,
}

impl Lost {
    /// Its name for users.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::KeeperEnded => "keeper_ended",
        }
    }
}

/// A task as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Whose.
    pub lane_id: LaneId,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// Terminal or pipes.
    pub shape: Shape,
    /// What runs, secrets redacted.
    pub command: Vec<String>,
    /// Who runs it.
    pub agent: Option<String>,
    /// Where it is in its life.
    pub stage: Stage,
    /// Its processes, once it has started.
    pub identity: Option<Identity>,
    /// What marks its processes.
    pub secret: String,
    /// The folder of its keeper's socket.
    pub run_dir: Raw,
    /// The folder of its recorded output.
    pub log_dir: Raw,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// How it ended.
    pub exit: Option<Exit>,
    /// It is ended when it neither writes nor beats for so long, in milliseconds.
    #[serde(default)]
    pub heartbeat_ms: Option<u64>,
    /// Where a terminal is; a run stays idle.
    #[serde(default)]
    pub phase: Phase,
    /// Why nobody knows how it ended.
    #[serde(default)]
    pub lost: Option<Lost>,
    /// What was started in its place after a reboot.
    #[serde(default)]
    pub revived_as: Option<TaskId>,
    /// The last signals that were sent to a terminal, oldest first.
    #[serde(default)]
    pub signals: VecDeque<SignalView>,
}

impl Task {
    /// The record of a task that is about to be started, of nobody in particular.
    pub fn asked_for(
        home: &Home,
        id: TaskId,
        (lane_id, workspace_id): (LaneId, WorkspaceId),
        shape: Shape,
        secret: String,
        asked_at: Timestamp,
    ) -> Self {
        Self {
            id,
            lane_id,
            workspace_id,
            shape,
            command: Vec::new(),
            agent: None,
            stage: Stage::Starting,
            identity: None,
            secret,
            run_dir: home.run_dir(id).into(),
            log_dir: home.log_dir(lane_id, id).into(),
            asked_at,
            exit: None,
            heartbeat_ms: None,
            phase: Phase::default(),
            lost: None,
            revived_as: None,
            signals: VecDeque::new(),
        }
    }

    /// What marks the processes of one task: nobody guesses it.
    pub fn new_secret() -> String {
        format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
    }

    /// Terminal or run.
    pub fn kind(&self) -> TaskKind {
        self.id.kind()
    }

    /// A live task in the sense of the state machine: asked for, or its command is alive.
    pub fn is_live(&self) -> bool {
        match self.stage {
            Stage::Starting | Stage::Live => true,
            Stage::Lingering | Stage::Ended => false,
        }
    }

    /// As users see it.
    pub fn view(&self) -> TaskView {
        TaskView {
            id: self.id,
            lane_id: self.lane_id,
            kind: self.kind(),
            command: self.command.clone(),
            pid: self.identity.as_ref().map(|identity| identity.pid),
            keeper_pid: self.identity.as_ref().map(|identity| identity.keeper_pid),
            state: self.stage.name().to_owned(),
            started_at: self.identity.as_ref().map_or(self.asked_at, |identity| identity.started_at),
            exit: self.exit.clone(),
            lost: self.lost.map(|lost| lost.name().to_owned()),
            revived_as: self.revived_as,
            phase: (self.kind() == TaskKind::Terminal).then(|| self.phase.name().to_owned()),
            signals: self.signals.iter().cloned().collect(),
            descendants: Vec::new(),
        }
    }
}

/// A lane as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    /// Its id.
    pub id: LaneId,
    /// Its state; assigned in `machine.rs` alone, as the table says.
    pub(super) state: State,
    /// What was asked for: name, branch, base, path, token.
    pub order: Order,
    /// The repository as it was when the lane was made: its main checkout, or the bare repository. Where it
    /// is now its workspace knows.
    pub repo: Raw,
    /// The repository's common git directory, likewise.
    pub common_dir: Raw,
    /// Its tree, once there is one.
    pub tree: Option<Tree>,
    /// The commit it was last seen at.
    pub head: Option<String>,
    /// Who is in it.
    pub agents: Vec<AgentView>,
    /// Why a live task of it waits for somebody.
    pub blocked: Option<String>,
    /// True when cleanup waits for provisioning to end.
    pub cleanup_pending: bool,
    /// How often cleanup was begun, and why the last attempt failed, if it did.
    pub cleanup_attempts: u32,
    /// Why the last attempt to clean up failed.
    pub cleanup_failure: Option<Failure>,
    /// Why provisioning failed.
    pub provision_failure: Option<Failure>,
    /// Why it is closed.
    pub close_reason: Option<String>,
    /// What was kept of it and how to get it back, for people; set when it is closed.
    pub closing_notes: Vec<String>,
    /// The lane it was brought back from.
    pub restored_from: Option<LaneId>,
    /// The lane whose process asked for it.
    pub created_by: Option<LaneId>,
    /// True when its processes may change other lanes.
    pub grant_all: bool,
    /// What it has changed, when it was last counted.
    pub changes: Option<Changes>,
    /// The last transitions.
    pub history: VecDeque<Transition>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When this record last changed.
    pub updated_at: Timestamp,
    /// Its tasks; written down on their own.
    #[serde(skip)]
    pub tasks: Tasks,
}

impl Lane {
    /// A lane that was asked for.
    pub fn new(order: Order, repo: Raw, common_dir: Raw, at: Timestamp) -> Self {
        Self {
            id: order.lane_id,
            state: State::New,
            order,
            repo,
            common_dir,
            tree: None,
            head: None,
            agents: Vec::new(),
            blocked: None,
            cleanup_pending: false,
            cleanup_attempts: 0,
            cleanup_failure: None,
            provision_failure: None,
            close_reason: None,
            closing_notes: Vec::new(),
            restored_from: None,
            created_by: None,
            grant_all: false,
            changes: None,
            history: VecDeque::new(),
            created_at: at,
            updated_at: at,
            tasks: Tasks::default(),
        }
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.order.name
    }

    /// Its workspace.
    pub fn workspace_id(&self) -> WorkspaceId {
        self.order.workspace_id
    }

    /// Its live tasks.
    pub fn live_tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values().filter(|task| task.is_live())
    }

    /// Its live runs.
    pub fn live_runs(&self) -> impl Iterator<Item = &Task> {
        self.live_tasks().filter(|task| task.kind() == TaskKind::Run)
    }

    /// As users see it.
    pub fn view(&self) -> LaneView {
        let mut tasks: Vec<&Task> = self.tasks.values().collect();
        tasks.sort_by_key(|task| (task.asked_at, task.id));
        LaneView {
            id: self.id,
            name: self.order.name.clone(),
            workspace_id: self.order.workspace_id,
            repo: self.repo.clone(),
            state: self.state.name().to_owned(),
            branch: self.order.branch.name.clone(),
            base: self.order.base.clone(),
            head: self.head.clone(),
            worktree: self.order.path.clone(),
            shared: self.state == State::Shared,
            agents: self.agents.clone(),
            tasks: tasks.into_iter().map(Task::view).collect(),
            guarantees: Guarantees::default(),
            changes: self.changes.clone(),
            blocked: self.blocked.clone(),
            last_output_at: None,
            cleanup_pending: self.cleanup_pending,
            close_reason: self.close_reason.clone(),
            restored_from: self.restored_from,
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }

    /// The refusal of an event in this state.
    pub fn refuse(&self, event: Event) -> Failure {
        let message = format!(
            "lane {} is {}, which does not allow {}",
            self.order.name,
            self.state.name(),
            event.name()
        );
        let name = &self.order.name;
        let hint = match event {
            Event::Block => format!("only a lane in which something runs can wait: lanes show {name}"),
            Event::Unblock => format!("it does not wait for anybody: lanes show {name}"),
            Event::Unshare => format!("it is not shared: lanes show {name}"),
            Event::Create
            | Event::ProvisionComplete
            | Event::ProvisionFailed
            | Event::StartRunning
            | Event::CommandComplete
            | Event::Share
            | Event::RequestCleanup
            | Event::CleanupComplete => format!("see what it does with: lanes show {name}"),
        };
        Failure::new(Code::InvalidTransition, message).hint(hint).details(json!({
            "lane_id": self.id,
            "state": self.state,
            "event": event,
        }))
    }
}

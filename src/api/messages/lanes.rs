//! Messages about lanes: made, shown, shared, waited for, ended.

use serde::{Deserialize, Serialize};

use super::shared::LaneRef;
use super::tasks::{Command, TaskView};
use crate::clock::Timestamp;
use crate::ids::{LaneId, SessionId, WorkspaceId};
use crate::raw::Raw;
use crate::worktree::{Base, Changes};

/// What a new lane is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Create {
    /// Where the client is.
    pub cwd: Raw,
    /// A name; made up when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it starts; the current branch's commit when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// An existing branch to work on instead of a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// True: an open lane of that name is the answer.
    #[serde(default)]
    pub ensure: bool,
    /// True: processes in this lane may change other lanes.
    #[serde(default)]
    pub grant_all: bool,
    /// A command for a terminal of the new lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Command>,
}

/// `{"lane": …, "task"?: …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CreateReply {
    /// The lane.
    pub lane: LaneView,
    /// Its terminal, when a command was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskView>,
    /// True when `ensure` found it.
    #[serde(default)]
    pub existed: bool,
    /// What did not go as asked but did no harm, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Which lanes to list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct List {
    /// Where the client is.
    pub cwd: Raw,
    /// With closed ones.
    #[serde(default)]
    pub all: bool,
    /// Of every workspace.
    #[serde(default)]
    pub everywhere: bool,
}

/// `{"lanes": […]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LanesReply {
    /// In order of creation.
    pub lanes: Vec<LaneView>,
    /// What holds for all of them, for people (safe mode).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// `{"lane": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LaneReply {
    /// The lane.
    pub lane: LaneView,
    /// What did not go as asked but did no harm, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// An agent in a lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AgentRef {
    /// The lane.
    #[serde(flatten)]
    pub lane: LaneRef,
    /// The agent's own name for itself.
    pub agent: String,
}

/// Which lanes to end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Cleanup {
    /// Where the client is.
    pub cwd: Raw,
    /// These.
    #[serde(default)]
    pub lanes: Vec<Raw>,
    /// All open lanes of the workspace.
    #[serde(default)]
    pub all: bool,
    /// All whose work is merged and whose tree is clean.
    #[serde(default)]
    pub merged: bool,
    /// Detaches the agents of shared lanes.
    #[serde(default)]
    pub force: bool,
    /// Says what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Where to start again what a reboot ended: terminals and detached runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReviveParams {
    /// Where the client is.
    pub cwd: Raw,
    /// These.
    #[serde(default)]
    pub lanes: Vec<Raw>,
    /// All open lanes of the workspace.
    #[serde(default)]
    pub all: bool,
    /// Says what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// The environment of what is started; the runtime's own when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<(Raw, Raw)>>,
}

/// Why a lane waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Block {
    /// The lane.
    #[serde(flatten)]
    pub lane: LaneRef,
    /// For people: approval, answer, quota.
    pub reason: String,
}

/// What to wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Wait {
    /// The lane.
    #[serde(flatten)]
    pub lane: LaneRef,
    /// A state's name, or `exit`: until no task is live.
    pub until: String,
    /// Then `TIMEOUT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// The lane then, and the last task that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct WaitReply {
    /// The lane.
    pub lane: LaneView,
    /// The task that ended last, for `exit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskView>,
}

/// A lane as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LaneView {
    /// Its id.
    pub id: LaneId,
    /// Its name.
    pub name: String,
    /// Its workspace.
    pub workspace_id: WorkspaceId,
    /// The repository: its main checkout, or the bare repository.
    pub repo: Raw,
    /// Its state.
    pub state: String,
    /// Its branch.
    pub branch: String,
    /// Where it started.
    pub base: Base,
    /// The commit it was last seen at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// Its tree.
    pub worktree: Raw,
    /// True while several agents may come.
    pub shared: bool,
    /// Who is there.
    pub agents: Vec<AgentView>,
    /// Its tasks, live ones and the last that ended.
    pub tasks: Vec<TaskView>,
    /// What holds for it on this machine.
    pub guarantees: Guarantees,
    /// What it has changed, when it was last counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// Why a task of it waits for somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked: Option<String>,
    /// When a task of it last wrote something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_output_at: Option<Timestamp>,
    /// True when cleanup waits for provisioning to end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cleanup_pending: bool,
    /// Why it is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_reason: Option<String>,
    /// The lane it was brought back from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_from: Option<LaneId>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its record last changed.
    pub updated_at: Timestamp,
}

/// An attached agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct AgentView {
    /// Its own name for itself.
    pub id: String,
    /// Its stay.
    pub session_id: SessionId,
    /// When it came.
    pub since: Timestamp,
}

/// What holds for a lane on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Guarantees {
    /// `cgroup`, `subreaper` or `process_group`.
    pub tree_kill: String,
    /// The weakest of what holds its limits: `cgroup_v2`, `cgroup_v1` or `rlimits`; `none` when it has none.
    pub limits: String,
    /// Its limits, for the running tasks as the system has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_force: Vec<LimitView>,
}

/// A limit that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LimitView {
    /// `memory` (bytes), `processes` (with threads), `cpu_weight` (100 is usual), `open_files`.
    pub limit: String,
    /// Its value; of a control group for the whole lane, of `rlimits` for each process.
    pub value: u64,
    /// `cgroup_v2`, `cgroup_v1` or `rlimits`.
    pub by: String,
}

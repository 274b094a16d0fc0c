//! What a keeper is told, and what it writes down for others.
//!
//! Files in the run folder of a task (`$LANES_HOME/run/<task id>/`, 0700): `keeper.sock`, `task.json`
//! (an [`Identity`]), `exit.json` (an [`Exit`], put there by rename). Its log folder is
//! `$LANES_HOME/logs/<lane id>/<task id>/`.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{CorrelationId, LaneId, TaskId, WorkspaceId};
use crate::raw::Raw;

/// Terminal or pipes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "shape", rename_all = "lowercase")]
pub enum Shape {
    /// A pseudo-terminal of this size.
    Terminal {
        /// Columns, 1 to 10,000.
        cols: u16,
        /// Rows, 1 to 10,000.
        rows: u16,
    },
    /// Pipes, standard output and standard error apart.
    Run {
        /// True: a pipe that clients write to and close. False: `/dev/null`.
        stdin: bool,
    },
}

/// A task's description: one JSON object on the keeper's standard input, to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Which task.
    pub id: TaskId,
    /// Whose.
    pub lane_id: LaneId,
    /// Where.
    pub workspace_id: WorkspaceId,
    /// The request that started it.
    pub correlation_id: CorrelationId,
    /// Terminal or pipes.
    pub shape: Shape,
    /// Program (looked up in the `PATH` of `env`) and arguments.
    pub argv: Vec<Raw>,
    /// Where it starts.
    pub cwd: Raw,
    /// Its whole environment, our own variables included.
    pub env: Vec<(Raw, Raw)>,
    /// What marks every process of the task: the value of `LANES_TASK_SECRET` in `env`.
    pub secret: String,
    /// After so long the tree is ended, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Between the first signal and SIGKILL, in milliseconds.
    pub grace_ms: u64,
    /// `$LANES_HOME/run/<task id>`.
    pub run_dir: Raw,
    /// `$LANES_HOME/logs/<lane id>/<task id>`.
    pub log_dir: Raw,
    /// The log keeps at most so many bytes; older segments go first.
    pub log_limit: u64,
    /// The control groups of the task; made, with their limits, before the keeper is told of them.
    #[serde(default)]
    pub groups: Groups,
    /// What each process of the command is held to besides.
    #[serde(default)]
    pub rlimits: Rlimits,
}

/// Control groups: those that are to be joined, or in an [`Identity`] those that were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Groups {
    /// Folders of groups that the command joins, one a hierarchy.
    pub command: Vec<Raw>,
    /// Folders of groups that the keeper joins; never one that is ended with the task.
    pub keeper: Vec<Raw>,
    /// The one of `command` that holds this task alone and has a `cgroup.kill`. The keeper removes it
    /// when it leaves.
    pub kill: Option<Raw>,
}

/// Limits of each process of a task by `setrlimit`, soft and hard; what is missing stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rlimits {
    /// Open files.
    pub open_files: Option<u64>,
    /// Open files, the soft limit alone: what it was before the runtime raised its own.
    pub open_files_soft: Option<u64>,
    /// Bytes of private memory (`RLIMIT_DATA`).
    pub memory: Option<u64>,
    /// Processes and threads of the user (`RLIMIT_NPROC`).
    pub processes: Option<u64>,
}

/// Who is there: the keeper and its command, each with pid and start time, because pids come again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Which task.
    pub id: TaskId,
    /// Whose.
    pub lane_id: LaneId,
    /// Where.
    pub workspace_id: WorkspaceId,
    /// The request that started it.
    pub correlation_id: CorrelationId,
    /// The command.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/<pid>/stat`).
    pub pid_start: u64,
    /// The keeper; our own process for tasks kept in process.
    pub keeper_pid: u32,
    /// When the keeper started, likewise.
    pub keeper_start: u64,
    /// The boot these numbers belong to.
    pub boot_id: String,
    /// What marks every process of the task.
    pub secret: String,
    /// When the command started.
    pub started_at: Timestamp,
    /// The control groups that were joined.
    #[serde(default)]
    pub groups: Groups,
    /// The limits that were set.
    #[serde(default)]
    pub rlimits: Rlimits,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExitStatus {
    /// It returned this status.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// Nobody knows: its keeper was ended by force, or the machine stopped.
    Lost(bool),
}

/// The end of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Exit {
    /// `{"code": 0}`, `{"signal": 9}` or `{"lost": true}`.
    #[serde(flatten)]
    pub status: ExitStatus,
    /// True when its time was up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub timed_out: bool,
    /// When it ended.
    pub at: Timestamp,
    /// How long it ran, in milliseconds.
    pub ms: u64,
    /// Peak resident memory of the command and the descendants it waited for, in KiB.
    pub max_rss_kb: u64,
    /// Processor time of the same, user and system, in milliseconds.
    pub cpu_ms: u64,
    /// Everything the command wrote lies before this offset of its log.
    pub end: u64,
}

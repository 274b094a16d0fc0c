//! Messages about tasks: started, typed into, signalled, read.

use serde::{Deserialize, Serialize};

use super::shared::LaneRef;
use crate::clock::Timestamp;
use crate::ids::{LaneId, TaskId, TaskKind};
use crate::keeper::Exit;
use crate::raw::Raw;

/// A command and what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Command {
    /// Program and arguments; empty for the user's shell (terminals only).
    pub argv: Vec<Raw>,
    /// Environment; the runtime's own when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<(Raw, Raw)>>,
    /// Below the lane's tree; the tree itself when missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<Raw>,
    /// Size of a terminal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// What `lane.revive` starts instead, to go on where it stopped; empty for the same command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resume: Vec<Raw>,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Size {
    /// Columns, 1 to 10,000.
    pub cols: u16,
    /// Rows, 1 to 10,000.
    pub rows: u16,
}

/// A run to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Exec {
    /// The lane.
    #[serde(flatten)]
    pub lane: LaneRef,
    /// What to run.
    pub command: Command,
    /// True: its standard input is written by clients; else it is empty.
    #[serde(default)]
    pub stdin: bool,
    /// After so long its whole tree is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// The agent that runs it (it joins a shared lane).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// True: nobody waits for it, so `lane.revive` starts it again after a reboot.
    #[serde(default)]
    pub detached: bool,
    /// Its whole tree is ended when it neither writes nor beats (`task.beat`) for so long; 100 at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_ms: Option<u64>,
}

/// Whose heart beats: a task, or every live task of a lane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Beat {
    /// The lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneRef>,
    /// Id or unique prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

/// A terminal to find or start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Attach {
    /// The lane.
    #[serde(flatten)]
    pub lane: LaneRef,
    /// This one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<String>,
    /// True: a new one.
    #[serde(default)]
    pub new: bool,
    /// What a new one runs.
    #[serde(default)]
    pub command: Command,
}

/// A task by its id, in its lane when one is named (else `TERMINAL_CONTEXT_MISMATCH`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TaskRef {
    /// Id or unique prefix.
    pub task: String,
    /// The lane it must belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneRef>,
}

/// `{"task": …}` and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TaskReply {
    /// The task.
    pub task: TaskView,
    /// The name of its lane.
    #[serde(default)]
    pub lane_name: String,
    /// The folder of its keeper's socket.
    pub run_dir: Raw,
    /// The folder of its recorded output.
    pub log_dir: Raw,
    /// False when `attach` found it running.
    #[serde(default)]
    pub started: bool,
}

/// What to type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Input {
    /// The lane: its terminal, when no task is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneRef>,
    /// The task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// The bytes.
    pub data: Raw,
    /// True: Enter afterwards.
    #[serde(default)]
    pub enter: bool,
}

/// How much was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct InputReply {
    /// Bytes; fewer than given when the program does not read.
    pub accepted: u64,
    /// The task that got them.
    pub task_id: TaskId,
}

/// A new size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Resize {
    /// The terminal.
    #[serde(flatten)]
    pub task: TaskRef,
    /// Its size.
    pub size: Size,
}

/// A signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Signal {
    /// The task.
    #[serde(flatten)]
    pub task: TaskRef,
    /// Its number.
    pub signal: i32,
}

/// Which output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Logs {
    /// The task.
    #[serde(flatten)]
    pub task: TaskRef,
    /// From this byte.
    #[serde(default)]
    pub since: u64,
    /// At most so many bytes (256 KiB at most, and by default).
    #[serde(default)]
    pub limit: u64,
}

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Chunk {
    /// Where it starts.
    pub offset: u64,
    /// `stdout`, `stderr` or `terminal`.
    pub stream: String,
    /// When it was read.
    pub at: Timestamp,
    /// The bytes.
    pub data: Raw,
}

/// Recorded output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogsReply {
    /// In order.
    pub chunks: Vec<Chunk>,
    /// What is gone of what was asked for, from (inclusive) and to (exclusive).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<(u64, u64)>,
    /// Where to go on.
    pub next: u64,
    /// Where the log ends now.
    pub end: u64,
}

/// A task as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TaskView {
    /// Its id.
    pub id: TaskId,
    /// Whose.
    pub lane_id: LaneId,
    /// Terminal or run.
    pub kind: TaskKind,
    /// What runs, secrets redacted.
    pub command: Vec<String>,
    /// The command's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its keeper's process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper_pid: Option<u32>,
    /// `starting`, `live`, `lingering` (descendants of an ended command live on) or `ended`.
    pub state: String,
    /// When it was asked for.
    pub started_at: Timestamp,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Why nobody knows how it ended: `reboot` (see `lane.revive`) or `keeper_ended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// What was started in its place after a reboot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revived_as: Option<TaskId>,
    /// A terminal's phase: `idle`, `spawning`, `active`, `throttled`, `errored` or `stopped`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The last 50 signals that were sent to a terminal, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<SignalView>,
    /// Processes that outlived the command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descendants: Vec<u32>,
}

/// A signal that was sent to a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SignalView {
    /// Its number.
    pub signal: i32,
    /// When.
    pub at: Timestamp,
    /// `delivered`, `failed`, or `escalated`: sent because an earlier one was not enough.
    pub outcome: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

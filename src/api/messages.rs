//! The messages: one type of parameters and one of reply for each method.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bus::Event;
use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::ids::{LaneId, SessionId, TaskId, TaskKind, WorkspaceId};
use crate::keeper::Exit;
use crate::raw::Raw;
use crate::worktree::{Base, Changes, Saved};

/// The oldest version of the protocol that this crate speaks.
pub const PROTOCOL_MIN: u32 = 1;
/// The newest version of the protocol that this crate speaks.
pub const PROTOCOL_MAX: u32 = 1;
/// The largest message, in bytes: the payload cap of the bus and room for its envelope.
pub const MAX_LINE: usize = (1 << 20) + (64 << 10);
/// The largest message from the runtime: lists have no page, and the runtime is trusted.
pub const MAX_REPLY: usize = 16 << 20;

/// One method of the protocol.
pub trait Method: Send + Sync + 'static {
    /// Its name on the wire.
    const NAME: &'static str;
    /// True when it changes something, so that an idempotency key has a meaning.
    const CHANGES: bool;
    /// What it takes.
    type Params: Serialize + DeserializeOwned + schemars::JsonSchema + Send + Sync + 'static;
    /// What it gives.
    type Reply: Serialize + DeserializeOwned + schemars::JsonSchema + Send + Sync + 'static;
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident = $wire:literal, $changes:literal, $params:ty => $reply:ty;)*) => {
        $(
            $(#[$doc])*
            pub struct $name;
            impl Method for $name {
                const NAME: &'static str = $wire;
                const CHANGES: bool = $changes;
                type Params = $params;
                type Reply = $reply;
            }
        )*

        /// Whether a method changes something; `None` when it is no method of the protocol.
        pub fn changes(method: &str) -> Option<bool> {
            match method {
                $($wire => Some($changes),)*
                _not_ours => None,
            }
        }

        /// Every method: name, whether it changes something, JSON Schema of its parameters and of its reply.
        pub fn schemas() -> Vec<(&'static str, bool, schemars::Schema, schemars::Schema)> {
            vec![$(($wire, $changes, schemars::schema_for!($params), schemars::schema_for!($reply))),*]
        }
    };
}

methods! {
    /// Says who is there and which versions are spoken; the first request of a connection.
    DaemonHello = "daemon.hello", false, Hello => HelloReply;
    /// Says how the runtime is.
    DaemonStatus = "daemon.status", false, Nothing => DaemonReply;
    /// Ends the runtime; lanes and their tasks go on.
    DaemonStop = "daemon.stop", true, Nothing => Nothing;
    /// Makes a lane; answers when it is ready.
    LaneCreate = "lane.create", true, Create => CreateReply;
    /// Lists lanes.
    LaneList = "lane.list", false, List => LanesReply;
    /// Shows one lane, with its changes counted now.
    LaneGet = "lane.get", false, LaneRef => LaneReply;
    /// Ends lanes; each answers for itself.
    LaneCleanup = "lane.cleanup", true, Cleanup => ResultsReply;
    /// Brings a lane back from the trash as a new lane.
    LaneRestore = "lane.restore", true, Restore => LaneReply;
    /// Starts again what a reboot ended.
    LaneRevive = "lane.revive", true, ReviveParams => ResultsReply;
    /// Lets several agents in.
    LaneShare = "lane.share", true, LaneRef => LaneReply;
    /// Ends sharing; refused while more than one agent or run is there.
    LaneUnshare = "lane.unshare", true, LaneRef => LaneReply;
    /// Attaches an agent.
    LaneJoin = "lane.join", true, AgentRef => LaneReply;
    /// Detaches an agent.
    LaneLeave = "lane.leave", true, AgentRef => LaneReply;
    /// Says that a live task waits for somebody.
    LaneBlock = "lane.block", true, Block => LaneReply;
    /// Says that it waits no more.
    LaneUnblock = "lane.unblock", true, LaneRef => LaneReply;
    /// Answers when the lane is in a state, or has no live task.
    LaneWait = "lane.wait", false, Wait => WaitReply;
    /// Starts a run.
    TaskExec = "task.exec", true, Exec => TaskReply;
    /// Finds the lane's terminal, or starts one.
    TaskAttach = "task.attach", true, Attach => TaskReply;
    /// Says that a task is alive although it writes nothing.
    TaskBeat = "task.beat", true, Beat => Nothing;
    /// Shows one task.
    TaskGet = "task.get", false, TaskRef => TaskReply;
    /// Types into a terminal, or writes to a run's standard input.
    TaskInput = "task.input", true, Input => InputReply;
    /// Sets the size of a terminal.
    TaskResize = "task.resize", true, Resize => Nothing;
    /// Sends a signal to the foreground of a task.
    TaskSignal = "task.signal", true, Signal => Nothing;
    /// Ends a task and everything it started.
    TaskKill = "task.kill", true, TaskRef => TaskReply;
    /// Reads recorded output.
    TaskLogs = "task.logs", false, Logs => LogsReply;
    /// Disconnects the clients attached to a lane's terminals.
    TaskDetach = "task.detach", true, LaneRef => Nothing;
    /// Lists what looks left over, as of now.
    OrphanList = "orphan.list", false, OrphanListParams => OrphansReply;
    /// Has what was suggested dealt with.
    OrphanConfirm = "orphan.confirm", true, OrphanRefs => OrphanResultsReply;
    /// Puts what was suggested off.
    OrphanDecline = "orphan.decline", true, OrphanRefs => OrphanResultsReply;
    /// Reads past events.
    EventReplay = "event.replay", false, Replay => ReplayReply;
    /// Starts notifications `event` on this connection.
    EventSubscribe = "event.subscribe", false, Subscribe => SubscribeReply;
    /// Ends them.
    EventUnsubscribe = "event.unsubscribe", false, Unsubscribe => Nothing;
    /// All lanes as of one offset, to follow from there without a hole.
    StateSnapshot = "state.snapshot", false, Nothing => SnapshotReply;
    /// Lists what can be restored.
    TrashList = "trash.list", false, At => TrashReply;
    /// Frees what can be restored, for good.
    TrashEmpty = "trash.empty", true, TrashEmptyParams => TrashReply;
    /// Compares what is written down with what is there, and repairs.
    Reconcile = "reconcile", true, ReconcileParams => RepairsReply;
    /// Shows or approves what the repository's configuration would run or open up.
    Trust = "trust", true, TrustParams => TrustReply;
}

/// No parameters, or nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Nothing {}

/// The folder a client is in; the repository is found from there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct At {
    /// Absolute path.
    pub cwd: Raw,
}

/// A lane as a person names it: name, id, unique id prefix, path, `.`, `-`, or `repo:name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LaneRef {
    /// The words.
    pub lane: Raw,
    /// Where they were said.
    #[serde(default)]
    pub cwd: Raw,
}

/// The first request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Hello {
    /// Who is there, such as `lanes-cli 0.1.0`.
    pub client: String,
    /// The oldest version the client speaks.
    pub protocol_min: u32,
    /// The newest version the client speaks.
    pub protocol_max: u32,
}

/// The answer to [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HelloReply {
    /// The version spoken from now on.
    pub protocol: u32,
    /// The version of the runtime.
    pub version: String,
    /// The epoch of its journal.
    pub epoch: String,
    /// What it can do besides.
    pub capabilities: Vec<String>,
}

/// How the runtime is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DaemonView {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// The newest protocol it speaks.
    pub protocol: u32,
    /// Its home.
    pub home: Raw,
    /// How long it has been up, in seconds.
    pub uptime_s: u64,
    /// Open lanes.
    pub lanes: u64,
    /// True when it starts nothing new.
    pub safe_mode: bool,
    /// What it found when it started, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// `{"daemon": …}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DaemonReply {
    /// The runtime.
    pub daemon: DaemonView,
}

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

/// `{"results": […]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ResultsReply {
    /// One for each lane.
    pub results: Vec<LaneResult>,
}

/// What became of one lane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LaneResult {
    /// Its name, or the words that were not understood.
    pub lane: Raw,
    /// Its id, when there is such a lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<LaneId>,
    /// True when done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What was kept and how to get it back, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

impl Eq for LaneResult {}

/// What to bring back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Restore {
    /// Name (its last closed lane) or id.
    pub lane: Raw,
    /// Where the client is.
    #[serde(default)]
    pub cwd: Raw,
    /// Another name for the new lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
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

/// Which past events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Replay {
    /// Only with a larger offset.
    #[serde(default)]
    pub since: u64,
    /// At most so many (1,000 at most, and by default).
    #[serde(default)]
    pub limit: u64,
    /// Exact topics, `lane.*`, `*`; none means all.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Only of this lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneRef>,
}

/// Past events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReplayReply {
    /// In order.
    pub events: Vec<Event>,
    /// What retention has trimmed of what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Span>,
    /// Where to go on.
    pub next: u64,
    /// The newest offset.
    pub head: u64,
    /// The epoch of these offsets.
    pub epoch: String,
}

/// Offsets, both inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Span {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// Which coming events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Subscribe {
    /// Past events with a larger offset come first; without it only new ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Exact topics, `lane.*`, `*`; none means all.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Only of this lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneRef>,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SubscribeReply {
    /// Its number on this connection.
    pub subscription: u64,
    /// The newest offset when it began.
    pub head: u64,
    /// The epoch of the offsets.
    pub epoch: String,
}

/// A subscription to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Unsubscribe {
    /// Its number.
    pub subscription: u64,
}

/// The parameters of the notification `event`: exactly one of event, lagged, gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Notification {
    /// Whose.
    pub subscription: u64,
    /// A fact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// What was not delivered because the reader fell behind; it may be replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lagged: Option<Span>,
    /// What retention has trimmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Span>,
}

/// All open lanes as of one offset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct SnapshotReply {
    /// The newest event that the lanes include.
    pub offset: u64,
    /// The epoch of that offset.
    pub epoch: String,
    /// The lanes.
    pub lanes: Vec<LaneView>,
}

/// Which trash to free.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TrashEmptyParams {
    /// Where the client is.
    pub cwd: Raw,
    /// Names or ids; none means all of the workspace.
    #[serde(default)]
    pub lanes: Vec<Raw>,
    /// Only what was closed longer ago than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than_ms: Option<u64>,
    /// Only says what would be freed.
    #[serde(default)]
    pub dry_run: bool,
}

/// `{"trash": […]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TrashReply {
    /// What can be restored, or what was freed.
    pub trash: Vec<TrashView>,
    /// The bytes of it all on the disk.
    #[serde(default)]
    pub bytes: u64,
    /// What lies in the trash and cannot be restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<LeftoverView>,
    /// What could not be freed, and what helps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Something in the trash that cannot be restored: an entry that cannot be read, or what could not be freed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LeftoverView {
    /// Where it lies.
    pub path: Raw,
    /// The lane it was of, when its folder is named after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<LaneId>,
    /// Bytes on disk.
    pub bytes: u64,
    /// What is wrong with it.
    pub reason: String,
}

/// A lane in the trash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TrashView {
    /// The lane's id.
    pub id: LaneId,
    /// Its name.
    pub name: String,
    /// Its branch.
    pub branch: String,
    /// The commit it was at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// When it was retired.
    pub at: Timestamp,
    /// When it will be freed.
    pub expires: Timestamp,
    /// What became of its files.
    pub saved: Saved,
    /// Why saving or freeing them has to wait, and what helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stays: Option<String>,
    /// What was not as expected when it was closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Where it lies.
    pub path: Raw,
}

/// What to reconcile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReconcileParams {
    /// Only says what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// `{"repairs": […]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RepairsReply {
    /// In the order they are done.
    pub repairs: Vec<RepairView>,
    /// How much looks left over besides, and waits for the user (`orphan.list`).
    #[serde(default)]
    pub suggestions: u64,
}

/// One repair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct RepairView {
    /// What is done.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// False for a dry run, or when it failed.
    pub done: bool,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Which suggestions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OrphanListParams {
    /// With those that were declined.
    #[serde(default)]
    pub all: bool,
}

/// `{"orphans": […]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OrphansReply {
    /// The riskiest first.
    pub orphans: Vec<OrphanView>,
    /// How often the watchdog has looked since the store was made.
    pub cycles: u64,
    /// How long this look took, in milliseconds.
    pub ms: u64,
}

/// Something that looks left over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OrphanView {
    /// Its id: the same for the same thing.
    pub id: String,
    /// `worktree`, `admin_entry`, `process`, `keeper`, `run_folder`, `log_folder`, `undo_rest` or `socket`.
    pub kind: String,
    /// A path, or a process.
    pub resource: Raw,
    /// The id of the lane it was of, or `unknown`.
    pub owner: String,
    /// Since when it is there.
    pub since: Timestamp,
    /// How long that is now, in seconds.
    pub age_s: u64,
    /// `low` (younger than an hour, owner known), `medium` (up to a day), `high` (older, or nobody knows whose).
    pub risk: String,
    /// Why it is taken for left over.
    pub reason: String,
    /// What confirming does.
    pub action: String,
    /// The task it was of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Not suggested before this, because it was declined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declined_until: Option<Timestamp>,
}

/// Suggestions by id, or the unique start of one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OrphanRefs {
    /// Which.
    pub orphans: Vec<String>,
}

/// `{"results": […]}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OrphanResultsReply {
    /// In the order asked for.
    pub results: Vec<OrphanResult>,
}

/// What became of one suggestion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OrphanResult {
    /// Its id, or the words when there is no such one.
    pub orphan: String,
    /// True when done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What was done and kept, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Approvals.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TrustParams {
    /// Where the client is.
    pub cwd: Raw,
    /// The fingerprint that was shown, to approve exactly that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<String>,
    /// True: takes an approval back.
    #[serde(default)]
    pub revoke: bool,
}

/// What asks for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TrustReply {
    /// What the repository's configuration would run or open up: key and value, in TOML.
    pub items: Vec<String>,
    /// Changes when any of them changes.
    pub fingerprint: String,
    /// True when approved as it is now.
    pub approved: bool,
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

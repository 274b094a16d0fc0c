//! The methods: each with its name, its parameters and its reply.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::daemon::{DaemonReply, Hello, HelloReply};
use super::events::{Replay, ReplayReply, SnapshotReply, Subscribe, SubscribeReply, Unsubscribe};
use super::gc::{GcParams, GcReply};
use super::lanes::{
    AgentRef, Block, Cleanup, Create, CreateReply, LaneReply, LanesReply, List, ReviveParams, Wait, WaitReply,
};
use super::recovery::{
    OrphanListParams, OrphanRefs, OrphanResultsReply, OrphansReply, ReconcileParams, RepairsReply,
};
use super::shared::{At, LaneRef, Nothing, ResultsReply};
use super::tasks::{
    Attach, Beat, Exec, Input, InputReply, Logs, LogsReply, Resize, Signal, TaskRef, TaskReply,
};
use super::trash::{Restore, TrashEmptyParams, TrashReply};
use super::trust::{TrustParams, TrustReply};

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
    /// Frees what nobody needs any more.
    Gc = "gc", true, GcParams => GcReply;
    /// Compares what is written down with what is there, and repairs.
    Reconcile = "reconcile", true, ReconcileParams => RepairsReply;
    /// Shows or approves what the repository's configuration would run or open up.
    Trust = "trust", true, TrustParams => TrustReply;
}

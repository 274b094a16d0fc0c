//! The envelope: a fact as it is written down and told.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Timestamp;
use crate::ids::{CorrelationId, EventId, LaneId, SessionId, TaskId, WorkspaceId};

/// The version of the payloads this crate writes.
pub const SCHEMA: u32 = 1;

/// Who asked for what happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Actor {
    /// `user`, `agent`, `lanes` (ourselves), `embedder`.
    pub kind: String,
    /// Which one: an agent's name, a session id, `daemon`.
    pub id: String,
}

impl Actor {
    /// Ourselves: what nobody asked for, such as an exit or a recovery.
    pub fn lanes() -> Self {
        Self { kind: "lanes".into(), id: "runtime".into() }
    }

    /// A person or script at the command line.
    pub fn user() -> Self {
        Self { kind: "user".into(), id: "cli".into() }
    }
}

/// What travels with a request to everything it causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The request that caused the chain.
    pub correlation_id: CorrelationId,
    /// The event that caused this step, when one did.
    pub causation_id: Option<EventId>,
    /// Who asked.
    pub actor: Actor,
    /// The lane whose keeper the asking process descends from, when it does.
    pub from_lane: Option<LaneId>,
    /// How many requests deep in its chain this one is; 0 for one from outside.
    pub depth: u8,
}

impl Context {
    /// The start of a chain by `actor`.
    pub fn new(actor: Actor) -> Self {
        Self {
            correlation_id: CorrelationId::generate(),
            causation_id: None,
            actor,
            from_lane: None,
            depth: 0,
        }
    }

    /// A draft in this chain, without a scope yet.
    pub fn draft(&self, topic: &'static str, payload: Value) -> Draft {
        Draft {
            topic: topic.into(),
            workspace_id: None,
            lane_id: None,
            task_id: None,
            session_id: None,
            actor: self.actor.clone(),
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            payload,
        }
    }
}

/// A fact on its way to the journal: an event without id, time, offset and seq.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// `[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*`.
    pub topic: std::borrow::Cow<'static, str>,
    /// Scope.
    pub workspace_id: Option<WorkspaceId>,
    /// Scope.
    pub lane_id: Option<LaneId>,
    /// Scope.
    pub task_id: Option<TaskId>,
    /// Scope.
    pub session_id: Option<SessionId>,
    /// Who caused it.
    pub actor: Actor,
    /// The request that caused the chain.
    pub correlation_id: CorrelationId,
    /// The event that caused it.
    pub causation_id: Option<EventId>,
    /// An object; its schema is the topic's.
    pub payload: Value,
}

impl Draft {
    /// The event of this draft, before it has its place: `offset` and `seq` are 0.
    pub(crate) fn into_event(self, id: EventId, ts: Timestamp, epoch: &str) -> Event {
        Event {
            id,
            topic: self.topic.into_owned(),
            ts,
            offset: 0,
            epoch: epoch.to_owned(),
            seq: 0,
            workspace_id: self.workspace_id,
            lane_id: self.lane_id,
            task_id: self.task_id,
            session_id: self.session_id,
            actor: self.actor,
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            schema: SCHEMA,
            payload: self.payload,
        }
    }
}

/// One fact on the bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    /// Its own id.
    pub id: EventId,
    /// What kind of fact it is.
    pub topic: String,
    /// When it was written, RFC 3339.
    pub ts: Timestamp,
    /// Its place in the journal: global, without gaps within an epoch, the first is 1.
    pub offset: u64,
    /// Changes when the journal was rebuilt.
    pub epoch: String,
    /// Its place among the events of its topic, from 1.
    pub seq: u64,
    /// The workspace it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<WorkspaceId>,
    /// The lane it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane_id: Option<LaneId>,
    /// The task it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// The session it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Who caused it.
    pub actor: Actor,
    /// The request that caused the chain.
    pub correlation_id: CorrelationId,
    /// The event that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<EventId>,
    /// The version of the payload.
    pub schema: u32,
    /// The fact itself.
    pub payload: Value,
}

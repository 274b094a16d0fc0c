//! Messages about events: past ones, coming ones, the state to follow from.

use serde::{Deserialize, Serialize};

use super::lanes::LaneView;
use super::shared::LaneRef;
use crate::bus::Event;

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

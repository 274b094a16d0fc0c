//! Messages about recovery: what is repaired, what looks left over.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::failure::Failure;
use crate::ids::TaskId;
use crate::raw::Raw;

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

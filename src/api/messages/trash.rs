//! Messages about the trash: brought back, listed, freed.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::LaneId;
use crate::raw::Raw;
use crate::worktree::Saved;

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

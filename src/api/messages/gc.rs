//! Messages about what nobody needs any more: said, and freed.

use serde::{Deserialize, Serialize};

use crate::ids::LaneId;
use crate::raw::Raw;

/// What to free of what nobody needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GcParams {
    /// Where the client is.
    pub cwd: Raw,
    /// Every spare tree too, also those that the next lanes would be made from.
    #[serde(default)]
    pub all: bool,
    /// Only says what would be freed.
    #[serde(default)]
    pub dry_run: bool,
}

/// What was freed, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct GcReply {
    /// In the order in which it was freed.
    pub freed: Vec<FreedView>,
    /// The bytes of it all on the disk.
    pub bytes: u64,
    /// The inodes of it all.
    pub inodes: u64,
    /// What could not be freed, and what helps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What kind of thing was freed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FreedKind {
    /// What is left of a spare tree that came to nothing, or was being deleted.
    Rubbish,
    /// A tree that spares are copied from.
    Template,
    /// A ready tree that no lane has.
    Pooled,
    /// A copy of the program of the keeper.
    Program,
    /// A closed lane in the trash: it cannot be restored any more.
    Trash,
    /// The tree of a closed lane that is in an archive, too.
    Retired,
}

impl FreedKind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rubbish => "rubbish",
            Self::Template => "template",
            Self::Pooled => "pooled",
            Self::Program => "program",
            Self::Trash => "trash",
            Self::Retired => "retired",
        }
    }
}

/// One thing that was freed, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FreedView {
    /// What it was.
    pub kind: FreedKind,
    /// Where it lay.
    pub path: Raw,
    /// The lane it was of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lane: Option<LaneId>,
    /// Why nobody needs it.
    pub reason: String,
    /// Bytes on the disk, as measured.
    pub bytes: u64,
    /// Inodes, as counted.
    pub inodes: u64,
}

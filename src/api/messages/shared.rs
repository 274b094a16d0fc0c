//! What the messages of several subjects have in common.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::ids::LaneId;
use crate::raw::Raw;

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

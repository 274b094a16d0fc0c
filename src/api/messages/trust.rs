//! Messages about what a repository may run or open up.

use serde::{Deserialize, Serialize};

use crate::raw::Raw;

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

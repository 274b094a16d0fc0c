//! Messages about the runtime: who is there, how it is.

use serde::{Deserialize, Serialize};

use crate::raw::Raw;

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

//! Arguments of the commands about lanes: made, listed, shared, waited for, ended.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration::duration;

/// A lane.
#[derive(Debug, Args)]
pub struct LaneArg {
    /// The lane.
    #[arg(value_name = "LANE", default_value = ".")]
    pub lane: OsString,
}

/// `create`
#[derive(Debug, Args)]
pub struct CreateArgs {
    /// Its name; made up when missing.
    pub name: Option<String>,
    /// Where it starts; default: the commit of the current branch.
    #[arg(long, value_name = "REV", allow_hyphen_values = true)]
    pub base: Option<String>,
    /// An existing branch instead of a new one.
    #[arg(long, value_name = "BRANCH", allow_hyphen_values = true)]
    pub branch: Option<String>,
    /// An open lane of that name is fine.
    #[arg(long, requires = "name")]
    pub ensure: bool,
    /// Attaches this terminal at once.
    #[arg(long)]
    pub attach: bool,
    /// Lets what runs in the lane change other lanes.
    #[arg(long, value_name = "WHAT")]
    pub grant: Option<Grant>,
    /// A command for a terminal of the lane.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// What may be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Grant {
    /// Everything.
    All,
}

/// `ls`
#[derive(Debug, Args)]
pub struct LsArgs {
    /// With closed lanes.
    #[arg(long)]
    pub all: bool,
    /// Of every repository.
    #[arg(long)]
    pub everywhere: bool,
}

/// `wait`
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The lane.
    pub lane: OsString,
    /// A state, or `exit`: until nothing runs.
    #[arg(long, value_name = "STATE")]
    pub until: Until,
    /// Then exit code 124.
    #[arg(long, value_name = "DUR", value_parser = duration)]
    pub timeout: Option<Duration>,
}

/// What may be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names are those of the states")]
pub enum Until {
    Provisioning,
    Ready,
    Running,
    Blocked,
    Shared,
    Cleaning,
    Closed,
    /// Nothing runs.
    Exit,
}

/// `join` and `leave`
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The lane.
    #[arg(value_name = "LANE")]
    pub lane: OsString,
    /// The agent's name for itself.
    #[arg(long, value_name = "AGENT")]
    pub agent: String,
}

/// `block`
#[derive(Debug, Args)]
pub struct BlockArgs {
    /// The lane.
    #[arg(value_name = "LANE")]
    pub lane: OsString,
    /// What it waits for.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: String,
}

/// `cleanup`
#[derive(Debug, Args)]
pub struct CleanupArgs {
    /// The lanes.
    #[arg(value_name = "LANE", required_unless_present_any = ["all", "merged"])]
    pub lanes: Vec<OsString>,
    /// All open lanes of the repository.
    #[arg(long, conflicts_with_all = ["lanes", "merged"])]
    pub all: bool,
    /// All whose work is merged and whose tree is clean.
    #[arg(long, conflicts_with = "lanes")]
    pub merged: bool,
    /// Also shared lanes with agents in them.
    #[arg(long)]
    pub force: bool,
    /// Only says what would be done.
    #[arg(long)]
    pub dry_run: bool,
}

/// `revive`
#[derive(Debug, Args)]
pub struct ReviveArgs {
    /// The lanes.
    #[arg(value_name = "LANE", required_unless_present = "all")]
    pub lanes: Vec<OsString>,
    /// All open lanes of the repository.
    #[arg(long, conflicts_with = "lanes")]
    pub all: bool,
    /// Only says what would be done.
    #[arg(long)]
    pub dry_run: bool,
}

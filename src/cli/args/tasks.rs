//! Arguments of the commands about tasks: started, attached to, typed into, read.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::duration::duration;

/// `attach`
#[derive(Debug, Args)]
pub struct AttachArgs {
    /// The lane.
    pub lane: OsString,
    /// This terminal.
    #[arg(long, value_name = "ID", conflicts_with = "new")]
    pub terminal: Option<String>,
    /// Only looks.
    #[arg(long)]
    pub read_only: bool,
    /// A new terminal.
    #[arg(long)]
    pub new: bool,
    /// What the new terminal runs; default: your shell.
    #[arg(last = true, value_name = "CMD", requires = "new")]
    pub command: Vec<OsString>,
}

/// `exec`
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The lane.
    pub lane: OsString,
    /// Ends it and all it started after so long.
    #[arg(long, value_name = "DUR", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Ends it and all it started when it neither writes nor beats (lanes beat) for so long.
    #[arg(long, value_name = "DUR", value_parser = duration)]
    pub heartbeat: Option<Duration>,
    /// Does not wait; prints the id of the run.
    #[arg(long)]
    pub detach: bool,
    /// The agent that runs it.
    #[arg(long, value_name = "AGENT")]
    pub agent: Option<String>,
    /// Program and arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `beat`
#[derive(Debug, Args)]
pub struct BeatArgs {
    /// All of this lane; default: the task that this is called from, else the lane we are in.
    #[arg(value_name = "LANE")]
    pub lane: Option<OsString>,
    /// Only this one.
    #[arg(long, value_name = "ID")]
    pub task: Option<String>,
}

/// `send`
#[derive(Debug, Args)]
pub struct SendArgs {
    /// The lane, then the text; only the text with --all.
    #[arg(required = true, num_args = 1..=2, value_names = ["LANE", "TEXT"])]
    pub words: Vec<OsString>,
    /// To every open lane of the repository that has a live terminal.
    #[arg(long)]
    pub all: bool,
    /// This terminal.
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    pub terminal: Option<String>,
    /// Without Enter at the end.
    #[arg(long)]
    pub no_enter: bool,
}

/// `logs`
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The lane.
    pub lane: OsString,
    /// Of this terminal.
    #[arg(long, value_name = "ID", conflicts_with = "run")]
    pub terminal: Option<String>,
    /// Of this run.
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// Goes on until the command has ended.
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// From this byte.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    pub since: u64,
    /// As recorded, also to a terminal.
    #[arg(long)]
    pub raw: bool,
}

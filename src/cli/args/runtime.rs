//! Arguments of the commands about the runtime: its events, its approvals, its process, its protocol.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// `events`
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only those after this offset; default: all, or with --follow the coming ones.
    #[arg(long, value_name = "OFFSET")]
    pub since: Option<u64>,
    /// Goes on with what comes.
    #[arg(short = 'f', long)]
    pub follow: bool,
    /// `lane.created`, `lane.*` or `*`; may be given several times.
    #[arg(long, value_name = "PATTERN")]
    pub topic: Vec<String>,
    /// Only of this lane.
    #[arg(long, value_name = "LANE")]
    pub lane: Option<OsString>,
    /// Another form, one JSON object a line.
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<EventFormat>,
}

/// Forms of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EventFormat {
    /// CloudEvents 1.0.
    Cloudevents,
}

/// `trust`
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// Does not ask.
    #[arg(long, conflicts_with = "revoke")]
    pub yes: bool,
    /// Takes the approval back.
    #[arg(long)]
    pub revoke: bool,
}

/// `daemon …`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum DaemonCommand {
    /// Runs it here, in the foreground.
    Run,
    /// Starts it in the background.
    Start,
    /// Stops it; lanes and what runs in them go on.
    Stop,
    /// Stops and starts it.
    Restart,
    /// Says how it is.
    Status,
}

/// Shells with a `cd` function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names of shells")]
pub enum CdShell {
    Bash,
    Zsh,
    Fish,
    Sh,
}

/// `api …`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum ApiCommand {
    /// Prints the JSON Schema of every method and event.
    Schema,
    /// Speaks the protocol on standard input and output, for SSH.
    Stdio,
}

/// `quickstart`
#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// A repository of yours: only lanes are made in it, and taken away again.
    #[arg(long, value_name = "PATH")]
    pub repo: Option<PathBuf>,
    /// Leaves the scratch repository and its lanes' trash there to look at.
    #[arg(long)]
    pub keep: bool,
}

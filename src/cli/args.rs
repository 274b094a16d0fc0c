//! The command line as clap reads it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config;

/// Fifty coding agents in one git repository, each in its own lane.
#[derive(Debug, Parser)]
#[command(name = "lanes", version, about, max_term_width = 100, disable_help_subcommand = true)]
#[command(after_help = "LANE is a name, an id or a unique start of one, a path, `.`, `-` or `repo:name`.\n\
    Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 not found, 124 timed out, 130 interrupted.")]
pub struct Cli {
    /// What all commands take.
    #[command(flatten)]
    pub globals: Globals,
    /// Which command.
    #[command(subcommand)]
    pub command: Command,
}

/// What all commands take.
#[derive(Clone, Debug, Default, Args)]
pub struct Globals {
    /// Works as if started in DIR.
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub dir: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// The state folder; default: $LANES_HOME, else `lanes` in the XDG state folder.
    #[arg(long, value_name = "DIR", global = true)]
    pub home: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a lane and prints its path.
    Create(CreateArgs),
    /// Lists lanes.
    Ls(LsArgs),
    /// Shows one lane.
    Show(LaneArg),
    /// Prints the path of a lane.
    Path(LaneArg),
    /// Prints what a lane changed: from the merge base to its tree, untracked files included.
    Diff(LaneArg),
    /// Opens a lane in $LANES_EDITOR, $VISUAL or $EDITOR.
    Open(LaneArg),
    /// Connects this terminal to a terminal of a lane.
    Attach(AttachArgs),
    /// Disconnects those who are attached to a lane.
    Detach(LaneArg),
    /// Runs a command in a lane.
    Exec(ExecArgs),
    /// Says that a task is alive although it writes nothing (see exec --heartbeat).
    Beat(BeatArgs),
    /// Types into the terminal of a lane.
    Send(SendArgs),
    /// Prints recorded output.
    Logs(LogsArgs),
    /// Waits for a state of a lane, or until nothing runs in it.
    Wait(WaitArgs),
    /// Lets several agents into a lane.
    Share(LaneArg),
    /// Ends sharing.
    Unshare(LaneArg),
    /// Attaches an agent.
    Join(AgentArgs),
    /// Detaches an agent.
    Leave(AgentArgs),
    /// Says that a lane waits for somebody.
    Block(BlockArgs),
    /// Says that it waits no more.
    Unblock(LaneArg),
    /// Ends lanes; what they held can be restored.
    Cleanup(CleanupArgs),
    /// Brings a lane back.
    Restore(RestoreArgs),
    /// Starts again what a reboot ended: terminals and detached runs.
    Revive(ReviveArgs),
    /// What can be restored.
    #[command(subcommand)]
    Trash(TrashCommand),
    /// Prints events.
    Events(EventsArgs),
    /// Compares what is written down with what is there, and repairs.
    Reconcile(ReconcileArgs),
    /// What looks left over: nothing of it is touched before you say so.
    #[command(subcommand)]
    Orphans(OrphansCommand),
    /// Looks at the machine, the home and the repository, and says what is wrong.
    Doctor(DoctorArgs),
    /// Shows and approves what the configuration of this repository would run or open up.
    Trust(TrustArgs),
    /// The process that looks after the lanes.
    #[command(subcommand)]
    Daemon(DaemonCommand),
    /// Prints a completion script.
    Completions {
        /// For which shell.
        shell: clap_complete::Shell,
    },
    /// Prints a shell function `lcd LANE` that goes into a lane.
    ShellInit {
        /// For which shell.
        shell: CdShell,
    },
    /// The protocol.
    #[command(subcommand)]
    Api(ApiCommand),
    /// Shows all of it in one minute: five lanes at once, in a scratch repository.
    Quickstart(QuickstartArgs),
}

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

/// `restore`
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Name (its last closed lane) or id.
    #[arg(value_name = "LANE")]
    pub lane: OsString,
    /// Another name for it.
    #[arg(long)]
    pub name: Option<String>,
}

/// `trash …`
#[derive(Debug, Subcommand)]
pub enum TrashCommand {
    /// Lists what can be restored.
    Ls,
    /// Frees it for good.
    Empty(EmptyArgs),
}

/// `trash empty`
#[derive(Debug, Args)]
pub struct EmptyArgs {
    /// These; default: all of the repository.
    #[arg(value_name = "LANE")]
    pub lanes: Vec<OsString>,
    /// Only what was closed longer ago, such as 7d.
    #[arg(long, value_name = "DUR", value_parser = duration)]
    pub older_than: Option<Duration>,
    /// Does not ask.
    #[arg(long)]
    pub yes: bool,
    /// Only says what would be freed.
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}

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

/// `reconcile`
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// Only says what would be done.
    #[arg(long)]
    pub dry_run: bool,
}

/// `orphans …`
#[derive(Debug, Subcommand)]
pub enum OrphansCommand {
    /// Lists it, the riskiest first.
    Ls {
        /// With what was declined.
        #[arg(long)]
        all: bool,
    },
    /// Has it dealt with: trees go to the trash, processes are ended, the rest is removed.
    Confirm {
        /// Ids, or the unique start of one.
        #[arg(value_name = "ID", required = true)]
        orphans: Vec<String>,
    },
    /// Does not suggest it again for a day (`watchdog.cooldown`).
    Decline {
        /// Ids, or the unique start of one.
        #[arg(value_name = "ID", required = true)]
        orphans: Vec<String>,
    },
}

/// `doctor`
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Mends what is ours and safe to mend; each thing is said.
    #[arg(long)]
    pub fix: bool,
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

fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).ok_or_else(|| "a duration has a unit, such as 500ms, 2s or 1h".into())
}

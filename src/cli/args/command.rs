//! The command line and its commands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::lanes::{AgentArgs, BlockArgs, CleanupArgs, CreateArgs, LaneArg, LsArgs, ReviveArgs, WaitArgs};
use super::recovery::{DoctorArgs, GcArgs, OrphansCommand, ReconcileArgs, RestoreArgs, TrashCommand};
use super::runtime::{ApiCommand, CdShell, DaemonCommand, EventsArgs, QuickstartArgs, TrustArgs};
use super::tasks::{AttachArgs, BeatArgs, ExecArgs, LogsArgs, SendArgs};

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
    /// Frees what nobody needs any more: spare trees, trash past its time. Nothing of a lane.
    Gc(GcArgs),
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

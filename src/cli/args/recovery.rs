//! Arguments of the commands that bring back, free, repair and look after what is left over.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::duration::duration;

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

/// `reconcile`
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// Only says what would be done.
    #[arg(long)]
    pub dry_run: bool,
}

/// `gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Only says what would be freed.
    #[arg(long)]
    pub dry_run: bool,
    /// Every spare tree too: the next lanes take longer.
    #[arg(long)]
    pub all: bool,
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

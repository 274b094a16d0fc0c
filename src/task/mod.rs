//! Tasks as the runtime sees them: who they are, how they are started, reached and ended.
//!
//! ```text
//!   Launcher --Spec on stdin--> keeper          Link <--one unix socket per task--> keeper
//!   LogReader <-- log segments (written by the keeper alone)
//!   sweep: what a keeper that was ended by force left behind
//! ```
//!
//! What never happens here: a SIGCHLD handler or a wait for somebody else's child, a keeper ended
//! because it was slow to answer, a process ended that is not provably of the task.

mod end;
mod error;
mod follow;
mod found;
mod glance;
mod identity;
mod launch;
mod link;
mod pidfd;
mod program;
mod recipe;
mod room;
mod screen;
mod stale;
mod stray;
mod stream;
mod sweep;
mod watchdog;
mod watcher;

pub use crate::keeper::{Chunk, LogReader, Piece};
pub use end::{EndedTask, end};
pub use error::TaskError;
pub use follow::{Follow, follow};
pub use found::{Sought, found};
pub use glance::{boot_id, keeper_alive, kill_keeper, last_output, log_end, tail};
pub use identity::{alive, find_identity, is_kept, kept_by, peer_lane, read_exit, read_identity};
pub use launch::{KeeperChoice, KeeperGone, Launcher, START_DEADLINE, Started};
pub use link::{Link, Notice, Subscription};
pub use program::unused_copies;
pub use recipe::{RECIPE, Recipe};
pub use room::Room;
pub use screen::{MAX_TAIL, Screen, rebuild};
pub use stale::{EVERY, Look, Suspicion, Verdict};
pub use stray::{end_keeper, end_process};
pub use stream::Stream;
pub use sweep::{Swept, sweep};
pub use watchdog::{LADDER_GRACE, end_stale, observe};
pub use watcher::Watcher;

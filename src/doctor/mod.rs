//! The doctor: looks at the machine, the home and the repository, says what is wrong, and mends what is
//! provably ours.
//!
//! ```text
//!   survey* (looks, each part with a deadline) -> facts -> machine, disk, state, trees, settings (pure) -> checks
//!   check.mend -> repair (one by one, only when asked to)
//! ```
//!
//! What never happens here: a daemon started, a byte changed by looking, a wait for a file system that
//! hangs, something mended behind the back of a daemon that owns it, anything of another home touched.

mod check;
mod disk;
mod machine;
mod repair;
mod settings;
mod spares;
mod state;
mod survey;
mod survey_home;
mod survey_machine;
mod survey_repository;
mod survey_spares;
mod trees;

pub use check::{Check, Mend, Status};
pub use disk::{Disk, FileSystem, Place, judge_disk};
pub use machine::{GitFacts, MachineFacts, judge_git, judge_machine};
pub use repair::mend;
pub use settings::{SHARED, Setting, SettingsFacts, judge_settings, parse_settings};
pub use spares::{SpareFacts, judge_spares};
pub use state::{
    Copies, DaemonFacts, HomeFacts, Mode, RunFacts, RunSeen, StoreFacts, judge_daemon, judge_home,
    judge_runs, judge_store,
};
pub use survey::{Subject, examine, within};
pub use trees::{
    LaneTree, Lock, TrashFacts, TreeFacts, VaultFacts, judge_lanes, judge_locks, judge_trash, judge_trees,
    judge_vault,
};

//! Configuration: what the user and a repository ask for, and what of it needs the user's approval.
//!
//! ```text
//!   user file < lanes.toml of the main checkout < .lanes.local.toml there
//!   text -> parse (pure) -> merge (pure) -> Loaded { config, asks, fingerprint }
//!   asks + fingerprint -> the user -> Approvals ($LANES_HOME/trust.json)
//! ```
//!
//! What never happens here: a key that is ignored because it was misspelt, a file of the repository
//! that runs or opens up something without being listed among the asks, a symlink of the repository
//! that is followed.

mod error;
mod files;
mod keys;
mod model;
mod parse;
mod trust;
mod units;

pub use error::ConfigError;
pub use files::{LOCAL_FILE, PROJECT_FILE, load};
pub use keys::{KEYS, needs_approval};
pub use model::{
    Attach, Backend, Config, Daemon, Disk, Events, Git, HOME_MIN_FREE, HOME_MIN_INODES, Hook, Hooks, Lanes,
    Limits, Pool, Stop, Task, Trash, Watchdog, Worktree,
};
pub use parse::{Ask, Layer, Loaded, Origin, fingerprint, merge};
pub use trust::Approvals;
pub use units::{parse_duration, parse_keys, parse_size, size_text};

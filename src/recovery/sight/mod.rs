//! Looks for what may be left over, and changes nothing.
//!
//! ```text
//!   trees (roots, git's entries) + home (run, logs, agents) + processes (one pass over /proc) -> Seen
//! ```
//!
//! What never happens here: a followed link, a tree walked into, git started, anything written.

mod home;
mod place;
mod processes;
mod trees;

use std::path::PathBuf;

use super::seen::{Known, Seen};
use crate::worktree::Repository;

pub use place::still_there;
pub use processes::Marks;

/// The folders of one repository's trees.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The repository.
    pub repo: Repository,
    /// Each root, and whether all in it is ours: a root that the user chose may hold other things.
    pub folders: Vec<(PathBuf, bool)>,
}

/// Looks everywhere once. `marks` are what is known of processes since the last look. Blocks; files and
/// processes that come or go meanwhile are seen or not.
pub fn look(known: &Known, roots: &[Roots], marks: &mut Marks) -> Seen {
    let mut seen = Seen { trash_listed: true, ..Seen::default() };
    for one in roots {
        trees::look(one, known, &mut seen);
    }
    let table = processes::Table::read();
    home::look(known, &table, &mut seen);
    processes::look(known, roots, &table, marks, &mut seen);
    seen
}

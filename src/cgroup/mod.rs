//! Control groups: which there are, what may be limited by them, and the folders of lanes and tasks.
//!
//! ```text
//!   <our own group>/lanes/<hash of the home>/keepers          keepers, out of the daemon's group
//!   <our own group>/lanes/<hash of the home>/<lane>           limits of the lane
//!   <our own group>/lanes/<hash of the home>/<lane>/<task>    v2 only: cgroup.kill ends the task whole
//! ```
//!
//! Version 2 is used wherever a folder can be made below our own group; version 1 (memory, pids, cpu)
//! only where our own group is the root: who put us into another one limits or counts us there, and
//! version 1 has no delegation.
//!
//! What never happens here: a process moved (a command and a keeper move themselves), one taken out of a
//! group that somebody else has put us into, a group removed that somebody is in.

mod control;
mod find;

pub use control::{Control, Prepared};
pub use find::{Bases, Controller, Limit, Way, bases, limit_files};

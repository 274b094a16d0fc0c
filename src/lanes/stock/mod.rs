//! The stock of each workspace: trees that no lane has yet, who hands them out and who refills them.
//!
//! ```text
//!   request -> provide -> plan::way -> claim | retarget | copy | overlay | git
//!   background (refill) -> plan::next -> make, refill, follow the base, verify, prepare, set aside, drop
//!   watch (inotify) -> suspect -> examine -> available again | set aside
//! ```
//!
//! What never happens here: a tree handed out that somebody may have touched and nobody has looked at since,
//! a spare that two have, one that is removed without having been seen to be as it was made, a lock across work.

mod examine;
mod free;
mod keep;
pub mod plan;
pub mod prepare;
mod provide;
mod refill;
pub mod shelf;
pub mod surplus;
pub mod watch;
mod weigh;

pub use free::Cleared;
pub use keep::Stock;
pub use refill::Hands;

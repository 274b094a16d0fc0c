//! Recovery: look, plan, repair; and the watchdog, which only suggests.
//!
//! ```text
//!   survey (looks, changes nothing) -> plan (pure, each repair with its reason) -> repair (safe to repeat)
//!       \______________________ Outside: git, the trash, keepers ______________________/
//!   watchdog: sight (looks) -> judge (pure) -> memory (pure: what is told) -> runtime/orphans.rs (confirm, decline)
//! ```
//!
//! The runtime runs this over real trees and keepers (`runtime/recover.rs`), the simulation over a model of
//! them.
//!
//! What never happens here: a tree, branch or process removed that is not provably ours, or that holds
//! work. What cannot be placed is left alone, and suggested.

pub mod judge;
pub mod memory;
pub mod orphan;
mod outside;
pub mod plan;
pub mod records;
mod repair;
pub mod seen;
pub mod sight;
mod survey;
pub mod watchdog;

pub use outside::{FoundLane, Outlook, Outside, Run, TreeAt};
pub use plan::{LeftAlone, Plan, Planned, Repair, Survey, plan};
pub use repair::Recovery;
pub use survey::{Found, survey};

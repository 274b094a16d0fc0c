//! Recovery: look, plan, repair.
//!
//! ```text
//!   survey (looks, changes nothing) -> plan (pure, each repair with its reason) -> repair (runtime/recover.rs)
//! ```
//!
//! What never happens here: a tree, branch or process removed that is not provably ours, or that holds
//! work. What cannot be placed is left alone.

pub mod plan;
pub mod survey;

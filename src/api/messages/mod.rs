//! The messages: one type of parameters and one of reply for each method, by subject.
//!
//! `methods.rs` lists the methods; a name is the same wherever its file is.

mod daemon;
mod events;
mod gc;
mod lanes;
mod methods;
mod recovery;
mod shared;
mod tasks;
mod trash;
mod trust;

pub use daemon::*;
pub use events::*;
pub use gc::*;
pub use lanes::*;
pub use methods::*;
pub use recovery::*;
pub use shared::*;
pub use tasks::*;
pub use trash::*;
pub use trust::*;

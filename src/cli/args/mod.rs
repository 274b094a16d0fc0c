//! The command line as clap reads it, by subject.

mod command;
mod duration;
mod lanes;
mod recovery;
mod runtime;
mod tasks;

pub use command::*;
pub use lanes::*;
pub use recovery::*;
pub use runtime::*;
pub use tasks::*;

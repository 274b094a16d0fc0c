//! What several tests need: builders of real things, and fakes of outside ones.

pub mod git;
pub mod server;
pub mod task;
pub mod work;

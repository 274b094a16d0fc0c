//! What several tests need: builders of real things, and fakes of outside ones.

pub mod task;

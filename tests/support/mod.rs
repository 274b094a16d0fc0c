//! What several tests need: builders of real things, and fakes of outside ones.

pub mod attached;
pub mod copied;
pub mod doctor;
pub mod e2e;
pub mod fault;
pub mod fault_case;
pub mod git;
pub mod leftovers;
pub mod overlay;
pub mod server;
pub mod spare;
pub mod stage;
pub mod state;
pub mod task;
pub mod tmux;
pub mod tty;
pub mod work;

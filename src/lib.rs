//! Many coding agents, builds or people in one git repository at once, each in its own *lane*: a
//! worktree on its own branch, its terminals, its supervised processes, its events.

pub mod api;
pub mod bus;
pub mod cgroup;
#[cfg(feature = "cli")]
pub mod cli;
pub mod clock;
pub mod config;
#[cfg(feature = "serve")]
pub mod daemon;
pub mod doctor;
pub mod failure;
pub mod fault;
pub mod files;
pub mod home;
pub mod ids;
pub mod keeper;
pub mod lanes;
mod memory;
pub mod proc;
pub mod pty;
pub mod raw;
pub mod recovery;
pub mod runtime;
pub mod store;
pub mod task;
pub mod worktree;

pub use keeper::main_if_invoked as keeper_main_if_invoked;

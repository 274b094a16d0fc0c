//! Many coding agents, builds or people in one git repository at once, each in its own *lane*: a
//! worktree on its own branch, its terminals, its supervised processes, its events.

pub mod clock;
pub mod config;
pub mod failure;
pub mod files;
pub mod home;
pub mod ids;
pub mod proc;
pub mod raw;

